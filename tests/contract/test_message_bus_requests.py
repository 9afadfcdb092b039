"""What every MessageBus promises: the rows of the expected behaviour that are about request and reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.contract.conftest import MakeBus
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE, Stopwatch
from trunkline import (
    AgentMessage,
    BusDisconnectedError,
    InvalidMessageError,
    MessageBus,
    MessageBusError,
    MessageType,
    NoRespondersError,
    Priority,
    RequestTimeoutError,
)

Callback = Callable[[AgentMessage], Awaitable[None]]


def echo(bus: MessageBus, reply_channel: str | None = None) -> Callback:
    """A responder that answers on the channel of the request's sender, or on another."""

    async def answer(message: AgentMessage) -> None:
        reply = message.create_response("responder", MessageType.TASK_RESULT, {"echo": message.payload["n"]})
        await bus.publish(reply_channel or "conductor:response", reply)

    return answer


async def silence(message: AgentMessage) -> None:
    """A responder that never answers."""


async def test_a_request_gets_its_reply(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """request: the first other message with its correlation id."""
    await other.subscribe(channel, echo(other))
    request = numbered(7, priority=Priority.HIGH)
    reply = await bus.request(channel, request, timeout=10)
    assert reply.payload == {"echo": 7}
    assert (reply.sender_id, reply.recipient_id, reply.priority) == ("responder", "tests", Priority.HIGH)


async def test_sets_the_correlation_id_on_a_copy(bus: MessageBus, channel: str) -> None:
    """request: sets correlation_id = message_id on a copy where unset."""
    seen = Inbox()
    await bus.subscribe(channel, seen)
    await bus.subscribe(channel, echo(bus))
    request = numbered(1)
    reply = await bus.request(channel, request, timeout=10)
    assert request.correlation_id is None
    assert reply.correlation_id == request.message_id
    assert (await seen.have(1))[0].correlation_id == request.message_id
    assert (await seen.have(1))[0].message_id == request.message_id


async def test_reply_on_any_channel(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """request: reply on any channel; its channel's subscribers get it too."""
    listeners = Inbox()
    await bus.subscribe(f"{channel}:replies", listeners)
    await other.subscribe(channel, echo(other, f"{channel}:replies"))
    reply = await bus.request(channel, numbered(1), timeout=10)
    assert await listeners.have(1) == [reply]


async def test_publish_resolves_a_pending_request(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """publish: resolves a pending request whose correlation id matches, whoever publishes it, once."""
    seen = Inbox()
    await other.subscribe(channel, seen)
    pending = asyncio.ensure_future(bus.request(channel, numbered("q"), timeout=10))
    question = (await seen.have(1))[0]
    await other.publish(f"{channel}:elsewhere", numbered("unrelated", correlation_id="something else"))
    first = question.create_response("a", "x", {"n": "first"})
    await other.publish(f"{channel}:elsewhere", first)
    await other.publish(f"{channel}:elsewhere", question.create_response("a", "x", {"n": "second"}))
    assert await pending == first


async def test_a_preset_correlation_id_does_not_return_the_request_itself(bus: MessageBus, channel: str) -> None:
    """A request with a preset correlation id never resolves with itself: it waits for the reply."""
    await bus.subscribe(channel, echo(bus))
    reply = await bus.request(channel, numbered(1, correlation_id="preset"), timeout=10)
    assert (reply.sender_id, reply.correlation_id) == ("responder", "preset")
    await bus.unsubscribe(channel)
    await bus.subscribe(channel, silence)
    with pytest.raises(RequestTimeoutError):
        await bus.request(channel, numbered(2, correlation_id="preset"), timeout=0.3)


async def test_the_request_published_again_does_not_answer_itself(
    bus: MessageBus, other: MessageBus, channel: str
) -> None:
    """unless the message is the request itself: a copy that somebody passes on is no reply."""
    await other.subscribe(channel, silence)
    request = numbered(1, correlation_id=None)
    again = request.model_copy(update={"correlation_id": request.message_id})
    pending = asyncio.ensure_future(bus.request(channel, request, timeout=0.5))
    await asyncio.sleep(0)
    await other.publish(f"{channel}:bridge", again)
    with pytest.raises(RequestTimeoutError):
        await pending


async def test_at_the_deadline_it_raises(bus: MessageBus, channel: str) -> None:
    """At the deadline: MessageBusError, REQUEST_TIMEOUT, details channel, correlation_id, timeout_seconds."""
    await bus.subscribe(channel, silence)
    request = numbered(1)
    with pytest.raises(MessageBusError) as caught:
        await bus.request(channel, request, timeout=0.25)
    assert isinstance(caught.value, RequestTimeoutError)
    assert caught.value.error_code == "REQUEST_TIMEOUT"
    assert caught.value.details == {
        "channel": channel,
        "correlation_id": request.message_id,
        "timeout_seconds": 0.25,
    }


async def test_the_deadline_counts_from_the_call(bus: MessageBus, channel: str) -> None:
    """The deadline counts from the call, whatever subscribers do: slow callbacks do not prolong it."""
    release, started = asyncio.Event(), Inbox()

    async def slow(message: AgentMessage) -> None:
        await started(message)
        await release.wait()

    await bus.subscribe(channel, slow)

    async def ask() -> None:
        with pytest.raises(RequestTimeoutError):
            await bus.request(channel, numbered(1), timeout=0.3)

    await Stopwatch(0.25, 3).measure_async(ask)
    await started.have(1)
    release.set()


async def test_no_responders_fails_at_once(bus: MessageBus, channel: str) -> None:
    """With no subscriber a request fails at once with NO_RESPONDERS."""

    async def ask() -> None:
        with pytest.raises(NoRespondersError) as caught:
            await bus.request(channel, numbered(1), timeout=30)
        assert caught.value.error_code == "NO_RESPONDERS"
        assert caught.value.details == {"channel": channel}

    await Stopwatch(0, 5).measure_async(ask)


async def test_pattern_and_group_subscribers_are_responders(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Who subscribes by a pattern or in a group answers as well."""
    await other.subscribe(f"{channel}:*", echo(other), group="workers")
    assert (await bus.request(f"{channel}:a", numbered(1), timeout=10)).payload == {"echo": 1}


async def test_a_cancelled_request_leaves_nothing_behind(bus: MessageBus, channel: str) -> None:
    """A cancelled request leaves nothing behind: its correlation id is free at once."""
    seen = Inbox()
    await bus.subscribe(channel, seen)
    for n in range(3):
        pending = asyncio.ensure_future(bus.request(channel, numbered(n, correlation_id="mine"), timeout=30))
        await seen.have(n + 1)
        pending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pending
    late = asyncio.ensure_future(bus.request(channel, numbered(9, correlation_id="mine"), timeout=10))
    await seen.have(4)
    await bus.publish(f"{channel}:r", numbered("reply", correlation_id="mine"))
    assert (await late).payload == {"n": "reply"}


async def test_a_correlation_id_in_use_is_refused(bus: MessageBus, channel: str) -> None:
    """Another pending request with the same correlation id is refused with INVALID_MESSAGE; the first goes on."""
    seen = Inbox()
    await bus.subscribe(channel, seen)
    first = asyncio.ensure_future(bus.request(channel, numbered(1, correlation_id="same"), timeout=10))
    await seen.have(1)
    with pytest.raises(InvalidMessageError) as caught:
        await bus.request(channel, numbered(2, correlation_id="same"), timeout=10)
    assert caught.value.details["field"] == "correlation_id"
    await bus.publish(f"{channel}:r", numbered("reply", correlation_id="same"))
    assert (await first).payload == {"n": "reply"}


async def test_callbacks_may_request_without_a_deadlock(bus: MessageBus, channel: str) -> None:
    """Callbacks may publish, also inside a request, and request themselves: without a deadlock."""
    base = channel.rpartition(":")[0]

    async def middle(message: AgentMessage) -> None:
        deeper = await bus.request(f"{base}:deep", numbered(message.payload["n"]), timeout=10)
        await bus.publish(f"{base}:r", message.create_response("middle", "x", {"via": deeper.payload}))

    await bus.subscribe(f"{base}:middle", middle)
    await bus.subscribe(f"{base}:deep", echo(bus))
    reply = await bus.request(f"{base}:middle", numbered(3), timeout=10)
    assert reply.payload == {"via": {"echo": 3}}


async def test_a_callback_may_request_on_its_own_channel(bus: MessageBus, channel: str) -> None:
    """With concurrency, a callback may even ask its own channel and answer itself."""

    async def recursive(message: AgentMessage) -> None:
        left = message.payload["n"]
        assert isinstance(left, int)
        if left:
            deeper = await bus.request(channel, numbered(left - 1), timeout=10)
            await bus.publish(f"{channel}:r", message.create_response("r", "x", {"depth": deeper.payload["depth"]}))
        else:
            await bus.publish(f"{channel}:r", message.create_response("r", "x", {"depth": "bottom"}))

    await bus.subscribe(channel, recursive, concurrency=5)
    assert (await bus.request(channel, numbered(3), timeout=10)).payload == {"depth": "bottom"}


async def test_many_requests_at_once_each_get_their_own_reply(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Concurrent requests do not see one another's replies."""
    await other.subscribe(channel, echo(other))
    replies = await asyncio.gather(*(bus.request(channel, numbered(n), timeout=20) for n in range(200)))
    assert [reply.payload["echo"] for reply in replies] == list(range(200))


async def test_disconnect_fails_what_is_pending(bus: MessageBus, channel: str) -> None:
    """disconnect fails what is pending with BUS_DISCONNECTED."""
    seen = Inbox()
    await bus.subscribe(channel, seen)
    pending = [asyncio.ensure_future(bus.request(channel, numbered(n), timeout=30)) for n in range(3)]
    await seen.have(3)
    await bus.disconnect()
    for request in pending:
        with pytest.raises(BusDisconnectedError) as caught:
            await request
        assert caught.value.error_code == "BUS_DISCONNECTED"


async def test_a_request_and_its_reply_by_the_same_object_count_two(bus: MessageBus, channel: str) -> None:
    """published_count: a request and its reply by the same object: 2. A failed one counts what it published."""
    await bus.subscribe(channel, echo(bus))
    await bus.request(channel, numbered(1), timeout=10)
    assert bus.published_count == 2


async def test_requests_that_published_nothing_are_not_counted(
    bus: MessageBus, channel: str, expired: AgentMessage
) -> None:
    """published_count counts what was published: neither a request that nobody hears nor an expired one was."""
    with pytest.raises(NoRespondersError):
        await bus.request(channel, numbered(1), timeout=10)
    assert bus.published_count == 0
    seen = Inbox()
    await bus.subscribe(channel, seen)
    with pytest.raises(RequestTimeoutError):
        await bus.request(channel, expired, timeout=0.2)
    assert bus.published_count == 0
    assert seen.messages == []


@pytest.mark.parametrize("timeout", [0, -1, 86_401, float("nan"), float("inf")])
async def test_a_timeout_out_of_bounds_is_refused(bus: MessageBus, channel: str, timeout: float) -> None:
    """Deadlines of zero, below it, beyond a day and not a number answer INVALID_MESSAGE."""
    await bus.subscribe(channel, silence)
    with pytest.raises(InvalidMessageError) as caught:
        await bus.request(channel, numbered(1), timeout=timeout)
    assert caught.value.details["field"] == "timeout"


async def test_a_reply_past_its_ttl_is_no_reply(
    bus: MessageBus, other: MessageBus, channel: str, expired: AgentMessage
) -> None:
    """A message past its TTL is never delivered, also not as a reply."""
    seen = Inbox()
    await other.subscribe(channel, seen)
    pending = asyncio.ensure_future(bus.request(channel, numbered(1), timeout=0.5))
    question = (await seen.have(1))[0]
    await other.publish(f"{channel}:r", expired.model_copy(update={"correlation_id": question.message_id}))
    with pytest.raises(RequestTimeoutError):
        await pending


async def test_a_request_after_reconnecting_works(new_bus: MakeBus, channel: str) -> None:
    """After disconnect and connect, requests work again and nothing of before disturbs them."""
    bus = new_bus()
    for n in range(3):
        async with bus:
            await bus.subscribe(channel, echo(bus))
            assert (await bus.request(channel, numbered(n), timeout=10)).payload == {"echo": n}


async def test_an_observer_is_no_responder(bus: MessageBus, channel: str) -> None:
    """Who only looks on gets the messages, but a request that only it would hear still fails at once."""
    seen = bus.messages(f"{channel}:>", observer=True)
    first = asyncio.ensure_future(anext(seen))
    async with asyncio.timeout(PATIENCE):
        while not first.done():  # interest is registered at the first step: publish until it is heard
            await bus.publish(f"{channel}:news", numbered(1))
            await asyncio.wait({first}, timeout=0.01)
    assert (await first).payload == {"n": 1}
    with pytest.raises(NoRespondersError):
        await bus.request(f"{channel}:work", numbered(2), timeout=5)
    await seen.aclose()
