"""What every MessageBus promises of durable subscriptions: made by name, kept until acked, shared by their group."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from tests.contract.durables import AT_ONCE, numbers, store, take
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    BusNotConnectedError,
    DurableMessage,
    DurableSettings,
    MessageBus,
    SubscriptionExistsError,
    SubscriptionNotFoundError,
)


async def test_it_keeps_what_matches_while_nobody_takes(
    bus: MessageBus, other: MessageBus, channel: str, name: str
) -> None:
    """It keeps every stored message that matches, and only those, from when it was made until somebody takes them."""
    base = channel.rpartition(":")[0]
    await store(bus, channel, numbered("before"))
    assert await bus.create_durable(name, f"{base}:>")
    await store(bus, channel, numbered(0), numbered(1))
    await bus.publish(channel, numbered("live"))
    await store(other, f"{base}:deep:er", numbered(2))
    await store(bus, f"elsewhere:{name}", numbered("elsewhere"))
    await store(bus, channel, numbered(3))
    taken = await take(other, f"{base}:>", name, 4)
    assert numbers(taken) == [0, 1, 2, 3]
    assert [message.channel for message in taken] == [channel, channel, f"{base}:deep:er", channel]
    assert [message.attempt for message in taken] == [1, 1, 1, 1]


async def test_a_message_arrives_whole(bus: MessageBus, channel: str, name: str) -> None:
    """What is handed out equals what was published, and nobody sees another's changes."""
    await bus.create_durable(name, channel)
    message = AgentMessage(
        message_type="x", sender_id="tests", recipient_id="r", payload={"deep": [1, {"er": "ä"}]}, metadata={"m": 1}
    )
    await bus.publish(channel, message, stored=True)
    taken = (await take(bus, channel, name, 1))[0]
    assert taken.model_dump() == message.model_dump()
    assert isinstance(taken, DurableMessage)


async def test_subscribers_of_one_name_share_its_messages(
    bus: MessageBus, other: MessageBus, channel: str, name: str
) -> None:
    """Each message to one of them; another name gets them all."""
    inboxes = [Inbox() for _ in range(4)]
    for n, inbox in enumerate(inboxes):
        await (bus, other)[n % 2].subscribe(channel, inbox, durable=name)
    everything = Inbox()
    await other.subscribe(channel, everything, durable=f"{name}-2")
    await asyncio.gather(*(bus.publish(channel, numbered(n), stored=True) for n in range(200)))
    await everything.have(200)
    await store(bus, channel, numbered("end"))
    await everything.have(201)
    async with asyncio.timeout(PATIENCE):
        while sum(len(each.messages) for each in inboxes) < 201:  # noqa: ASYNC110  # many inboxes, no one event
            await asyncio.sleep(0.005)
    came = [n for inbox in inboxes for n in inbox.numbers if n != "end"]
    assert sorted(came) == list(range(200))
    assert all(inbox.messages for inbox in inboxes), "each had its share"
    assert everything.numbers == [*range(200), "end"]


async def test_a_lone_message_goes_to_who_is_free(bus: MessageBus, other: MessageBus, channel: str, name: str) -> None:
    """Of two subscribers with room, one of which has a callback that runs: nothing waits behind that."""
    may_go_on, came = asyncio.Event(), Inbox()

    async def work(message: DurableMessage) -> None:
        await came(message)
        if message.payload["n"] == 0:
            await may_go_on.wait()

    for each in (bus, other):
        await each.subscribe(channel, work, durable=name)
    for n in range(2):
        await store(bus, channel, numbered(n))
        await came.have(n + 1)
    may_go_on.set()


@pytest.mark.parametrize("start", ["new", "all", "sequence", "time"])
async def test_it_starts_where_it_is_told(bus: MessageBus, channel: str, name: str, start: str) -> None:
    """Start: what comes, all that is kept, a sequence, a time."""
    receipts = await store(bus, channel, numbered(0), numbered(1))
    await asyncio.sleep(0.01)
    receipts += await store(bus, channel, numbered(2), numbered(3))
    where: dict[str, Any] = {
        "new": "new",
        "all": "all",
        "sequence": receipts[1].sequence,
        "time": receipts[2].time - timedelta(milliseconds=2),
    }
    inbox = Inbox()
    await bus.subscribe(channel, inbox, durable=name, start=where[start])
    await store(bus, channel, numbered("new"))
    expected = {"new": [], "all": [0, 1, 2, 3], "sequence": [1, 2, 3], "time": [2, 3]}[start]
    await inbox.have(len(expected) + 1)
    assert inbox.numbers == [*expected, "new"]


async def test_it_starts_with_the_message_whose_receipt_says_that_time(
    bus: MessageBus, channel: str, name: str
) -> None:
    """Whatever the fraction of a microsecond: never behind it."""
    for n in range(30):
        (receipt,) = await store(bus, f"{channel}:{n}", numbered(n))
        await bus.create_durable(f"{name}-{n}", f"{channel}:{n}", start=receipt.time)
        await store(bus, f"{channel}:{n}", numbered("end"))
        assert numbers(await take(bus, f"{channel}:{n}", f"{name}-{n}", 2)) == [n, "end"]


async def test_a_start_is_of_no_effect_where_it_is_there(bus: MessageBus, channel: str, name: str) -> None:
    """Whoever joins an existing one takes what waits, wherever they would have started."""
    await bus.create_durable(name, channel)
    await store(bus, channel, numbered(0), numbered(1))
    assert numbers(await take(bus, channel, name, 2, start="new")) == [0, 1]


async def test_making_it_again_finds_it(bus: MessageBus, other: MessageBus, channel: str, name: str) -> None:
    """The same name with the same pattern and settings is the one that is there; else it is refused, with both."""
    settings = DurableSettings(ack_wait=5)
    assert await bus.create_durable(name, channel, settings=settings)
    assert not await other.create_durable(name, channel, settings=settings)
    assert not await other.create_durable(name, channel)
    for attempt in (
        other.create_durable(name, f"{channel}:*"),
        other.subscribe(f"{channel}:*", Inbox(), durable=name),
        anext(other.messages(f"{channel}:*", durable=name)),
    ):
        with pytest.raises(SubscriptionExistsError) as caught:
            await attempt
        assert caught.value.details["pattern"] == f"{channel}:*"
        assert caught.value.details["existing_pattern"] == channel
    with pytest.raises(SubscriptionExistsError) as caught:
        await bus.create_durable(name, channel, settings=DurableSettings(ack_wait=6))
    assert caught.value.details["field"] == "ack_wait"
    assert (caught.value.details["value"], caught.value.details["existing_value"]) == ("6", "5")


async def test_deleting_it_tells_who_takes_and_forgets_what_waits(
    bus: MessageBus, other: MessageBus, channel: str, name: str
) -> None:
    """Deleted: an iterator raises; made anew it is empty; an unknown name is refused."""
    stream = bus.messages(channel, durable=name)
    waiting = asyncio.ensure_future(anext(stream))
    await _made(other, name)
    await other.delete_durable(name)
    with pytest.raises(SubscriptionNotFoundError) as caught:
        await asyncio.wait_for(waiting, PATIENCE)
    assert caught.value.details["durable"] == name
    for unknown in (bus.delete_durable(name), bus.seek_durable(name, "all")):
        with pytest.raises(SubscriptionNotFoundError):
            await unknown
    await bus.create_durable(name, channel)
    await store(bus, channel, numbered("waits"))
    await bus.delete_durable(name)
    assert await bus.create_durable(name, channel)
    await store(bus, channel, numbered("end"))
    assert numbers(await take(bus, channel, name, 1)) == ["end"]


async def _made(bus: MessageBus, name: str) -> None:
    """Returns when somebody else has made it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await bus.seek_durable(name, "new")
            except SubscriptionNotFoundError:
                await asyncio.sleep(0.01)
            else:
                return


async def test_seek_moves_it_back_and_forth(bus: MessageBus, channel: str, name: str) -> None:
    """Back: what was done comes again. Forward: what waits is passed over."""
    await bus.create_durable(name, channel)
    receipts = await store(bus, channel, *(numbered(n) for n in range(5)))
    assert numbers(await take(bus, channel, name, 5)) == [0, 1, 2, 3, 4]
    await bus.seek_durable(name, receipts[3].sequence)
    again = await take(bus, channel, name, 2)
    assert numbers(again) == [3, 4]
    await bus.seek_durable(name, "all")
    assert numbers(await take(bus, channel, name, 5)) == [0, 1, 2, 3, 4]
    await bus.seek_durable(name, "all")
    await bus.seek_durable(name, "new")
    await store(bus, channel, numbered("end"))
    assert numbers(await take(bus, channel, name, 1)) == ["end"]


async def test_what_was_held_when_it_moved_is_given_up(
    bus: MessageBus, channel: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An ack of what was held before a seek is refused, which is logged, and changes nothing."""
    stream = bus.messages(channel, durable=name, start="all", credit=1)
    await store(bus, channel, numbered(0), numbered(1))
    held = await asyncio.wait_for(anext(stream), PATIENCE)
    await bus.seek_durable(name, "all")
    with caplog.at_level(logging.WARNING):
        await held.ack()
        await stream.aclose()
        assert numbers(await take(bus, channel, name, 2)) == [0, 1]
    assert name in caplog.text


async def test_what_was_not_started_is_given_back_when_it_is_left(
    bus: MessageBus, other: MessageBus, channel: str, name: str
) -> None:
    """unsubscribe gives back what waits for the callback, without counting an attempt; a callback that runs goes on,
    and what it has is acked when it is done."""
    release, slow = asyncio.Event(), Inbox()

    async def stuck(message: AgentMessage) -> None:
        await slow(message)
        await release.wait()

    await bus.subscribe(channel, stuck, durable=name, credit=10)
    await store(bus, channel, *(numbered(n) for n in range(10)))
    await slow.have(1)
    await bus.unsubscribe(channel)
    taken = await take(other, channel, name, 9)
    assert numbers(taken) == list(range(1, 10))
    assert {message.attempt for message in taken} == {1}
    release.set()
    await store(bus, channel, numbered("end"))
    assert numbers(await take(other, channel, name, 1)) == ["end"]
    assert slow.numbers == [0]


async def test_a_callback_may_publish_stored_on_its_own_channel(bus: MessageBus, channel: str, name: str) -> None:
    """No deadlock: a durable callback runs in a task of its own."""
    inbox = Inbox()

    async def count_down(message: AgentMessage) -> None:
        await inbox(message)
        n = message.payload["n"]
        assert isinstance(n, int)
        if n:
            await bus.publish(channel, numbered(n - 1), stored=True)

    await bus.subscribe(channel, count_down, durable=name)
    await bus.publish(channel, numbered(5), stored=True)
    await inbox.have(6)
    assert inbox.numbers == [5, 4, 3, 2, 1, 0]


async def test_concurrency_says_how_many_callbacks_run(bus: MessageBus, channel: str, name: str) -> None:
    """As many callbacks at once as were asked for, and no more."""
    inbox, release = Inbox(), asyncio.Event()
    running = highest = 0

    async def work(message: AgentMessage) -> None:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await inbox(message)
        await release.wait()
        running -= 1

    await bus.subscribe(channel, work, durable=name, concurrency=3)
    await store(bus, channel, *(numbered(n) for n in range(9)))
    await inbox.have(3)
    release.set()
    await inbox.have(9)
    assert highest == 3


async def test_disconnect_ends_the_iterator_and_the_callbacks(bus: MessageBus, channel: str, name: str) -> None:
    """disconnect: an iterator raises BusNotConnectedError, a callback that runs is torn off."""
    began, torn = asyncio.Event(), asyncio.Event()

    async def endless(_: AgentMessage) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            torn.set()
            raise

    await bus.subscribe(channel, endless, durable=name, settings=AT_ONCE)
    waiting = asyncio.ensure_future(anext(bus.messages(channel, durable=f"{name}-2")))
    await _made(bus, f"{name}-2")
    await store(bus, f"{channel}", numbered(1))
    await asyncio.wait_for(began.wait(), PATIENCE)
    assert (await asyncio.wait_for(waiting, PATIENCE)).payload == {"n": 1}
    idle = asyncio.ensure_future(anext(bus.messages(channel, durable=f"{name}-3")))
    await _made(bus, f"{name}-3")
    await bus.disconnect()
    await asyncio.wait_for(torn.wait(), PATIENCE)
    with pytest.raises(BusNotConnectedError):
        await asyncio.wait_for(idle, PATIENCE)
