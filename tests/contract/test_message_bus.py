"""What every MessageBus promises: the rows of the expected behaviour that are about publishing and subscribing."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.contract.conftest import MakeBus
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    BusNotConnectedError,
    InvalidChannelError,
    InvalidMessageError,
    MessageBus,
    MessageBusError,
    MessageTooLargeError,
    Priority,
)
from trunkline.limits import MAX_MESSAGE_BYTES


def test_constructed_without_arguments_and_outside_an_event_loop(new_bus: MakeBus, channel: str) -> None:
    """Constructed without arguments and outside an event loop; connect() binds to the loop."""
    bus = new_bus()
    assert not bus.is_connected

    async def use() -> list[object]:
        inbox = Inbox()
        async with bus:
            await bus.subscribe(channel, inbox)
            await bus.publish(channel, numbered(1))
            await inbox.have(1)
        return inbox.numbers

    assert asyncio.run(use()) == [1]


async def test_publish_delivers_to_every_callback(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """publish: delivers to every callback."""
    inboxes = [Inbox(), Inbox(), Inbox()]
    await bus.subscribe(channel, inboxes[0])
    await bus.subscribe(channel, inboxes[1])
    await other.subscribe(channel, inboxes[2])
    message = numbered(1)
    await bus.publish(channel, message)
    for inbox in inboxes:
        assert (await inbox.have(1)) == [message]


async def test_publish_needs_connect(new_bus: MakeBus, channel: str) -> None:
    """publish: needs connect. Not connected: publish, subscribe, unsubscribe and request raise BUS_NOT_CONNECTED."""
    bus = new_bus()

    async def refused() -> None:
        for attempt in (
            bus.publish(channel, numbered(1)),
            bus.subscribe(channel, Inbox()),
            bus.unsubscribe(channel),
            bus.request(channel, numbered(1)),
            bus.flush(),
            anext(bus.messages(channel)),
        ):
            with pytest.raises(MessageBusError) as caught:
                await attempt
            assert isinstance(caught.value, BusNotConnectedError)
            assert caught.value.error_code == "BUS_NOT_CONNECTED"

    await refused()
    await bus.connect()
    await bus.disconnect()
    await refused()


async def test_an_expired_message_is_dropped_and_not_counted(
    bus: MessageBus, channel: str, expired: AgentMessage
) -> None:
    """publish: an expired message is dropped and not counted."""
    inbox = Inbox()
    await bus.subscribe(channel, inbox)
    await bus.publish(channel, expired)
    await bus.publish(channel, numbered("after"))
    await inbox.have(1)
    assert inbox.numbers == ["after"]
    assert bus.published_count == 1


async def test_a_message_within_its_ttl_arrives_with_it(bus: MessageBus, channel: str) -> None:
    """A TTL that is not over changes nothing."""
    inbox = Inbox()
    await bus.subscribe(channel, inbox)
    message = numbered(1, ttl_seconds=3600)
    await bus.publish(channel, message)
    assert await inbox.have(1) == [message]


async def test_a_callbacks_exception_is_logged_and_hits_nobody_else(
    bus: MessageBus, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    """publish: a callback's exception is logged and hits nobody else."""
    inbox, calls = Inbox(), Inbox()

    async def fails(message: AgentMessage) -> None:
        await calls(message)
        raise RuntimeError("this callback is broken")

    await bus.subscribe(channel, fails)
    await bus.subscribe(channel, inbox)
    with caplog.at_level(logging.ERROR):
        await bus.publish(channel, numbered(1))
        await bus.publish(channel, numbered(2))
        await inbox.have(2)
        await calls.have(2)
        await bus.flush()
    assert inbox.numbers == [1, 2]
    assert "this callback is broken" in caplog.text


async def test_no_subscriber_is_no_error(bus: MessageBus, channel: str) -> None:
    """publish: no subscriber is no error."""
    await bus.publish(channel, numbered(1))
    await bus.flush()
    assert bus.published_count == 1


async def test_subscribe_is_in_effect_on_return(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """subscribe: in effect on return, for whoever publishes next."""
    for round_ in range(20):
        inbox = Inbox()
        await bus.subscribe(f"{channel}:{round_}", inbox)
        await other.publish(f"{channel}:{round_}", numbered(round_))
        await other.flush()
        await inbox.have(1)


async def test_unsubscribe_removes_this_bus_objects_callbacks(
    bus: MessageBus, other: MessageBus, channel: str, bus_kind: str
) -> None:
    """unsubscribe(channel): removes this bus object's callbacks of it, and nobody else's."""
    gone, also_gone, kept, theirs = Inbox(), Inbox(), Inbox(), Inbox()
    await bus.subscribe(channel, gone)
    await bus.subscribe(channel, also_gone)
    await bus.subscribe(f"{channel.rpartition(':')[0]}:*", kept)
    if bus_kind != "memory":
        await other.subscribe(channel, theirs)
    await bus.unsubscribe(channel)
    await bus.publish(channel, numbered(1))
    await kept.have(1)
    if bus_kind != "memory":
        await theirs.have(1)
    assert gone.messages == also_gone.messages == []


async def test_unsubscribing_an_unknown_channel_is_fine(bus: MessageBus, channel: str) -> None:
    """unsubscribe(channel): an unknown channel is fine."""
    await bus.unsubscribe(channel)
    await bus.unsubscribe(channel)


async def test_a_callback_that_unsubscribes_itself_ends_its_work(bus: MessageBus, channel: str) -> None:
    """A callback may unsubscribe its own channel and go on: one that runs is not torn off in the middle."""
    finished = Inbox()

    async def once(message: AgentMessage) -> None:
        await bus.unsubscribe(channel)
        await asyncio.sleep(0)
        await bus.flush()
        await finished(message)

    await bus.subscribe(channel, once)
    await bus.publish(channel, numbered(1))
    await finished.have(1)
    await bus.publish(channel, numbered(2))
    await bus.flush()
    assert finished.numbers == [1]


async def test_callbacks_may_publish_without_a_deadlock(bus: MessageBus, channel: str) -> None:
    """Callbacks may publish without a deadlock, also on their own channel."""
    inbox = Inbox()

    async def count_down(message: AgentMessage) -> None:
        await inbox(message)
        left = message.payload["n"]
        assert isinstance(left, int)
        if left:
            await bus.publish(channel, numbered(left - 1))

    await bus.subscribe(channel, count_down)
    await bus.publish(channel, numbered(20))
    await inbox.have(21)
    assert inbox.numbers == list(range(20, -1, -1))


async def test_connect_starts_clean(bus: MessageBus, channel: str) -> None:
    """connect starts clean (also the count): no subscriptions of the time before."""
    old, new = Inbox(), Inbox()
    await bus.subscribe(channel, old)
    await bus.publish(channel, numbered(1))
    await old.have(1)
    await bus.disconnect()
    await bus.connect()
    assert bus.published_count == 0
    await bus.subscribe(channel, new)
    await bus.publish(channel, numbered(2))
    await new.have(1)
    await bus.flush()
    assert old.numbers == [1]
    assert bus.published_count == 1


async def test_connect_and_disconnect_are_idempotent(new_bus: MakeBus, channel: str, bus_kind: str) -> None:
    """connect on a connected bus changes nothing, but in memory starts clean; disconnect is idempotent; is_connected
    tells the truth."""
    bus, inbox = new_bus(), Inbox()
    await bus.disconnect()
    await asyncio.gather(bus.connect(), bus.connect())
    assert bus.is_connected
    await bus.subscribe(channel, inbox)
    await bus.publish(channel, numbered(1))
    await inbox.have(1)
    await bus.connect()
    assert bus.published_count == (0 if bus_kind == "memory" else 1)
    await bus.publish(channel, numbered(2))
    await bus.flush()
    if bus_kind == "memory":
        assert inbox.numbers == [1]
    else:
        await inbox.have(2)
    await asyncio.gather(bus.disconnect(), bus.disconnect())
    await bus.disconnect()
    assert not bus.is_connected


async def test_published_count_counts_what_this_bus_object_published(
    bus: MessageBus, other: MessageBus, channel: str, bus_kind: str
) -> None:
    """published_count counts what this bus object published."""
    for n in range(5):
        await bus.publish(channel, numbered(n))
    await bus.flush()
    assert bus.published_count == 5
    assert other.published_count == (5 if bus_kind == "memory" else 0)


async def test_patterns_choose_channels(bus: MessageBus, channel: str) -> None:
    """'*' stands for one token and a last '>' for one or more."""
    base = channel.rpartition(":")[0]
    patterns = [f"{base}:a:b", f"{base}:*:b", f"{base}:a:*", f"{base}:>", f"{base}:a:>", f"{base}:a", f"{base}:*"]
    inboxes = {pattern: Inbox() for pattern in patterns}
    for pattern, inbox in inboxes.items():
        await bus.subscribe(pattern, inbox)
    for published in ("a", "a:b", "a:b:c", "x:b", "x"):
        await bus.publish(f"{base}:{published}", numbered(published))
    for inbox in inboxes.values():
        await inbox.have(1)
    await inboxes[f"{base}:>"].have(5)
    await bus.flush()
    assert {pattern.removeprefix(base): inbox.numbers for pattern, inbox in inboxes.items()} == {
        ":a:b": ["a:b"],
        ":*:b": ["a:b", "x:b"],
        ":a:*": ["a:b"],
        ":>": ["a", "a:b", "a:b:c", "x:b", "x"],
        ":a:>": ["a:b", "a:b:c"],
        ":a": ["a"],
        ":*": ["a", "x"],
    }


async def test_one_publishers_messages_arrive_in_order(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """One publisher's messages of equal priority on one channel arrive in order, also while it uses others."""
    inbox, everything = Inbox(), Inbox()
    await other.subscribe(channel, inbox)
    await other.subscribe(f"{channel}:>", everything)
    for n in range(3_000):
        await bus.publish(channel, numbered(n))
        if n % 7 == 0:
            await bus.publish(f"{channel}:{n}", numbered(n))
    await inbox.have(3_000)
    assert inbox.numbers == list(range(3_000))
    await everything.have(429)
    assert everything.numbers == list(range(0, 3_000, 7))


async def test_of_what_waits_the_higher_priority_goes_first(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Of what waits for one subscriber, the higher goes first; equal ones keep the order of publication."""
    stream = other.messages(channel)
    first = asyncio.ensure_future(anext(stream))
    await _registered(bus, channel, first)
    wanted: list[tuple[int, int]] = []
    for n in range(40):
        priority = list(Priority)[n * 7 % 4]
        wanted.append((-list(Priority).index(priority), n))
        await bus.publish(channel, numbered(n, priority=priority))
    last = numbered("last", priority=Priority.LOW)
    await bus.publish(channel, last)
    await bus.flush()
    await _settled(bus, other, channel)
    got: list[object] = []
    while len(got) < 41:
        number = (await anext(stream)).payload["n"]
        if not str(number).startswith("probe"):  # of which one more may have been on its way
            got.append(number)
    assert got == [*(n for _, n in sorted(wanted)), "last"]
    await stream.aclose()


async def _registered(bus: MessageBus, channel: str, first: asyncio.Future[AgentMessage]) -> None:
    """Publishes until a stream's first step is answered: then its interest is known to be registered."""
    for n in range(1_000):
        await bus.publish(channel, numbered(f"probe {n}"))
        await bus.flush()
        done, _ = await asyncio.wait({first}, timeout=0.01)
        if done:
            return
    raise AssertionError("the stream never began")


async def _settled(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Returns when what `bus` published has reached `other`: a marker behind it has."""
    marker = Inbox()
    await other.subscribe(f"{channel}:marker", marker)
    await bus.publish(f"{channel}:marker", numbered("marker"))
    await marker.have(1)


async def test_messages_is_an_iterator_of_what_is_published(bus: MessageBus, channel: str) -> None:
    """messages(): an async iterator; closing it ends the interest."""
    stream = bus.messages(channel)
    first = asyncio.ensure_future(anext(stream))
    await _registered(bus, channel, first)
    await bus.publish(channel, numbered("mine"))
    async with asyncio.timeout(PATIENCE):
        async for message in stream:
            if message.payload["n"] == "mine":
                break
    await stream.aclose()
    with pytest.raises(MessageBusError, match="nobody subscribes"):
        await bus.request(channel, numbered("question"), timeout=1)


async def test_unsubscribe_ends_the_iterators_of_its_pattern(bus: MessageBus, channel: str) -> None:
    """unsubscribe(channel) ends the iterators of this bus object too: nothing would ever come of them."""
    stream = bus.messages(channel)
    first = asyncio.ensure_future(anext(stream))
    await _registered(bus, channel, first)
    waiting = asyncio.ensure_future(_drain(stream))
    await asyncio.sleep(0)
    await bus.unsubscribe(channel)
    await asyncio.wait_for(waiting, PATIENCE)


async def test_messages_ends_when_the_bus_is_disconnected(bus: MessageBus, channel: str) -> None:
    """messages(): ends with BusNotConnectedError when the bus is disconnected."""
    stream = bus.messages(channel)
    first = asyncio.ensure_future(anext(stream))
    await _registered(bus, channel, first)
    waiting = asyncio.ensure_future(_drain(stream))
    await asyncio.sleep(0)
    await bus.disconnect()
    with pytest.raises(BusNotConnectedError):
        await waiting


async def _drain(stream: object) -> None:
    async for _ in stream:  # type: ignore[attr-defined]
        pass


async def test_a_message_that_expires_while_it_waits_is_not_delivered(
    bus: MessageBus, other: MessageBus, channel: str, nearly_expired: AgentMessage
) -> None:
    """A message past its TTL is never delivered, also where it was within it when it was published."""
    stream = other.messages(channel)
    first = asyncio.ensure_future(anext(stream))
    await _registered(bus, channel, first)
    await bus.publish(channel, nearly_expired)
    await bus.publish(channel, numbered("stays"))
    await bus.flush()
    await _settled(bus, other, channel)
    left = 5.0 - (datetime.now(UTC) - nearly_expired.timestamp).total_seconds()
    await asyncio.sleep(left + 0.05)  # nothing but time makes it expire
    async with asyncio.timeout(PATIENCE):
        async for message in stream:
            assert message.payload["n"] != nearly_expired.payload["n"]
            if message.payload["n"] == "stays":
                break
    await stream.aclose()


@pytest.mark.parametrize("bad", ["", "a::b", ":a", "a:", "a b", "a:é", "x" * 256, "a:*", "a:>", "a\n", "a:b\n"])
async def test_a_malformed_channel_is_refused(bus: MessageBus, bad: str) -> None:
    """Empty, overlong and malformed channels answer INVALID_CHANNEL, and the bus goes on."""
    with pytest.raises(InvalidChannelError) as caught:
        await bus.publish(bad, numbered(1))
    assert caught.value.error_code == "INVALID_CHANNEL"
    assert caught.value.details["field"] == "channel"
    with pytest.raises(InvalidChannelError):
        await bus.request(bad, numbered(1))
    assert bus.published_count == 0


@pytest.mark.parametrize("bad", ["", "a::b", "a:>:b", ">:a", "a*", "a:b>", "**", "x" * 256])
async def test_a_malformed_pattern_is_refused(bus: MessageBus, bad: str) -> None:
    """Empty, overlong and malformed patterns answer INVALID_CHANNEL."""
    with pytest.raises(InvalidChannelError):
        await bus.subscribe(bad, Inbox())
    with pytest.raises(InvalidChannelError):
        await bus.unsubscribe(bad)
    with pytest.raises(InvalidChannelError):
        await anext(bus.messages(bad))


async def test_bad_options_of_a_subscription_are_refused(bus: MessageBus, channel: str) -> None:
    """Negative or zero concurrency and credit, and a malformed group, are refused; so is the iterator's credit."""
    refused: tuple[dict[str, Any], ...] = ({"concurrency": 0}, {"concurrency": -1}, {"credit": 0}, {"credit": -5})
    for options in refused:
        with pytest.raises(ValueError, match="at least 1"):
            await bus.subscribe(channel, Inbox(), **options)
    with pytest.raises(ValueError, match="at least 1"):
        await anext(bus.messages(channel, credit=0))
    for group in ("a b", "a:b", "*", "x" * 256, ""):
        with pytest.raises(InvalidChannelError):
            await bus.subscribe(channel, Inbox(), group=group)


async def test_a_message_over_the_limit_is_refused_with_both_sizes(bus: MessageBus, channel: str) -> None:
    """MESSAGE_TOO_LARGE: over the limit (default 4 MiB), with both sizes; the largest that fits arrives."""
    inbox = Inbox()
    await bus.subscribe(channel, inbox)
    with pytest.raises(MessageTooLargeError) as caught:
        await bus.publish(channel, numbered("x" * MAX_MESSAGE_BYTES))
    assert caught.value.details["limit"] == MAX_MESSAGE_BYTES
    assert caught.value.details["size"] > MAX_MESSAGE_BYTES
    with pytest.raises(MessageTooLargeError):
        await bus.request(channel, numbered("x" * MAX_MESSAGE_BYTES))
    assert bus.published_count == 0
    fits = numbered("x" * (MAX_MESSAGE_BYTES - 1_000))
    await bus.publish(channel, fits)
    assert await inbox.have(1) == [fits]


async def test_text_that_is_no_utf_8_is_refused(bus: MessageBus, channel: str) -> None:
    """Lone surrogates cannot be written: INVALID_MESSAGE, never altered."""
    for message in (numbered("\ud800"), AgentMessage(message_type="x", sender_id="\udfff")):
        with pytest.raises(InvalidMessageError):
            await bus.publish(channel, message)
    assert bus.published_count == 0


async def test_a_payload_changed_into_no_json_is_refused(bus: MessageBus, channel: str) -> None:
    """A payload that was made no JSON after its message was made is refused with a clear error, not late."""
    message = numbered(1)
    message.payload["n"] = object()  # type: ignore[assignment]
    with pytest.raises(InvalidMessageError):
        await bus.publish(channel, message)
    assert bus.published_count == 0


async def test_values_are_copied_at_the_border(bus: MessageBus, channel: str) -> None:
    """Messages are not passed by reference: nobody sees what another changes, before or after."""
    first, second = Inbox(), Inbox()

    async def spoils(message: AgentMessage) -> None:
        message.payload["list"].append("spoiled")  # type: ignore[union-attr]
        message.metadata["spoiled"] = True
        await first(message)

    await bus.subscribe(channel, spoils)
    await bus.subscribe(channel, second)
    message = AgentMessage(message_type="x", sender_id="s", payload={"list": [1, {"deep": []}]}, metadata={"m": {}})
    before = message.model_copy(deep=True)
    await bus.publish(channel, message)
    message.payload["list"].append("changed after publish")  # type: ignore[union-attr]
    await first.have(1)
    assert await second.have(1) == [before]
    assert message.metadata == {"m": {}}


async def test_every_field_arrives_unchanged(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Each message carries what AgentMessage carries: strange text, big numbers and nesting included."""
    inbox = Inbox()
    await other.subscribe(channel, inbox)
    messages = [
        AgentMessage(
            message_type="a type of its own",
            sender_id="",
            recipient_id="später 🦊 \x00 \u2028",
            payload={"big": 2**70, "small": -(10**30), "float": 1e-7, "null": None, "deep": [[{"": [True]}]], "": ""},
            correlation_id="c" * 5_000,
            priority=Priority.CRITICAL,
            ttl_seconds=2**31 - 1,
            metadata={"trace": {"id": "ü"}},
        ),
        AgentMessage(message_type="control", sender_id="bytes", data=bytes(range(256)), content_type="image/png"),
        AgentMessage(message_type="", sender_id="x", data=b""),
        AgentMessage(message_type="x", sender_id="x"),
    ]
    for message in messages:
        await bus.publish(channel, message)
    for sent in messages:
        received = next(each for each in await inbox.have(len(messages)) if each.message_id == sent.message_id)
        wanted = sent.model_dump()
        if sent.data is not None and sent.content_type is None:
            wanted["content_type"] = "application/octet-stream"
        assert received.model_dump() == wanted


async def test_a_slow_callback_delays_no_other_subscription(bus: MessageBus, channel: str, bus_kind: str) -> None:
    """Isolation: a slow subscriber never delays another subscriber (of the same client too)."""
    release, quick = asyncio.Event(), Inbox()

    async def slow(message: AgentMessage) -> None:
        await release.wait()

    await bus.subscribe(channel, slow)
    await bus.subscribe(channel, quick)
    publishing = [asyncio.ensure_future(bus.publish(channel, numbered(n))) for n in range(100)]
    await quick.have(100)
    assert quick.numbers == list(range(100))
    release.set()
    await asyncio.gather(*publishing)


@pytest.mark.parametrize("bus_kind", ["memory"])
async def test_in_memory_publish_returns_when_all_callbacks_are_done(bus: MessageBus, channel: str) -> None:
    """publish: in memory, it returns when all callbacks are done. The others say nothing about callbacks."""
    done: list[object] = []

    async def takes_a_while(message: AgentMessage) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        done.append(message.payload["n"])

    await bus.subscribe(channel, takes_a_while)
    await bus.subscribe(channel, takes_a_while)
    await bus.publish(channel, numbered(1))
    assert done == [1, 1]


@pytest.mark.parametrize("bus_kind", ["grpc", "sidecar"])
async def test_disconnecting_right_after_publishing_loses_nothing(
    new_bus: MakeBus, bus: MessageBus, channel: str
) -> None:
    """disconnect sends what was published before it: `async with bus: await bus.publish(...)` is enough."""
    inbox = Inbox()
    await bus.subscribe(channel, inbox)
    for n in range(20):
        async with new_bus() as brief:
            await brief.publish(channel, numbered(n))
    await inbox.have(20)
    assert inbox.numbers == list(range(20))
