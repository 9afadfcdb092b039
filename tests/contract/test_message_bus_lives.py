"""Requests with a life: accepted, progress, parts, one end; for every bus."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise

import pytest

from tests.contract.conftest import MakeBus
from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from trunkline import (
    Accepted,
    AgentMessage,
    BusDisconnectedError,
    Cancellation,
    Failure,
    InvalidMessageError,
    LifeEvent,
    MessageBus,
    MessageTooLargeError,
    NoRespondersError,
    Part,
    Progress,
    Request,
    RequestCancelledError,
    RequestFailedError,
    RequestNotFoundError,
    RequestTimeoutError,
    Result,
)
from trunkline.limits import MAX_MESSAGE_BYTES, MAX_REPORTED_EVENTS, PART_CREDIT


async def life_of(bus: MessageBus, channel: str, **wished: object) -> list[LifeEvent]:
    """Asks, and returns all events."""
    async with asyncio.timeout(PATIENCE):
        return [event async for event in bus.request_stream(channel, numbered(1), PATIENCE, **wished)]  # type: ignore[arg-type]


async def test_a_handlers_return_is_the_result(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """`request` returns it; `request_stream` yields it behind who accepted it."""

    async def answer_it(request: Request) -> dict[str, object]:
        return {"got": request.payload["n"], "n": 2}

    await other.respond(channel, answer_it, name="answer_itr")
    reply = await bus.request(channel, numbered(21), PATIENCE)
    assert reply.payload == {"got": 21, "n": 2}
    assert reply.sender_id == "answer_itr"
    accepted, result = await life_of(bus, channel)
    assert isinstance(accepted, Accepted)
    assert (accepted.number, accepted.responder, accepted.attempt) == (1, "answer_itr", 1)
    assert isinstance(result, Result)
    assert (result.number, result.payload, result.channel, result.is_end) == (2, {"got": 1, "n": 2}, "", True)


async def test_yields_are_parts_in_order_and_progress_rises(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Text, payloads and bytes; numbers rise, times do not go back; the end is last."""

    async def stream(request: Request) -> AsyncIterator[object]:
        request.progress(0.5, "half")
        yield "one"
        yield {"two": 2}
        yield b"three"
        request.progress(text="nearly")
        request.set_result({"parts": 3})

    await other.respond(channel, stream)  # type: ignore[arg-type]
    events = await life_of(bus, channel)
    assert [type(event) for event in events] == [Accepted, Progress, Part, Part, Part, Progress, Result]
    assert [event.number for event in events] == list(range(1, 8))
    assert all(before.time <= after.time for before, after in pairwise(events))
    progress = [event for event in events if isinstance(event, Progress)]
    assert [(each.fraction, each.text) for each in progress] == [(0.5, "half"), (None, "nearly")]
    parts = [event for event in events if isinstance(event, Part)]
    assert parts[0].text == "one"
    assert parts[1].payload == {"two": 2}
    assert parts[2].message.data == b"three"
    assert isinstance(events[-1], Result)
    assert events[-1].payload == {"parts": 3}


async def test_more_parts_at_once_than_one_answer_brings(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Of a plain request nobody grants parts, so all of them may wait to be said when the handler ends."""

    async def stream(request: Request) -> AsyncIterator[object]:
        for number in range(MAX_REPORTED_EVENTS + 1):
            yield {"n": number}
        request.set_result({"parts": MAX_REPORTED_EVENTS + 1})

    await other.respond(channel, stream)  # type: ignore[arg-type]
    reply = await bus.request(channel, numbered(1), PATIENCE)
    assert reply.payload == {"parts": MAX_REPORTED_EVENTS + 1}


async def test_who_asked_hears_that_the_answer_was_refused_with_its_end(
    bus: MessageBus, other: MessageBus, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else of the request comes: without it, it would wait for its whole timeout."""
    monkeypatch.setattr("trunkline.bus.grpc.responder.MAX_REPORTED_EVENTS", 10 * MAX_REPORTED_EVENTS)

    async def stream(request: Request) -> AsyncIterator[object]:
        for number in range(MAX_REPORTED_EVENTS + 1):
            yield {"n": number}

    await other.respond(channel, stream)  # type: ignore[arg-type]
    with pytest.raises(RequestFailedError, match="events") as failed:
        await bus.request(channel, numbered(1), PATIENCE)
    assert failed.value.details["code"] == "INVALID_MESSAGE"


async def test_a_handler_may_return_nothing(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """The result has an empty payload."""

    async def nothing(_: Request) -> None:
        return

    await other.respond(channel, nothing)
    assert (await bus.request(channel, numbered(1), PATIENCE)).payload == {}
    result = (await life_of(bus, channel))[-1]
    assert isinstance(result, Result)
    assert result.payload == {}


async def test_what_a_handler_raises_is_told_at_once(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """With type, text, code and whether it may be tried again; a traceback where it is asked for."""

    class ModelBusyError(Exception):
        error_code = "MODEL_BUSY"
        retryable = True

    async def fail(request: Request) -> None:
        raise ModelBusyError("come back")

    await other.respond(channel, fail)
    with pytest.raises(RequestFailedError) as caught:
        await bus.request(channel, numbered(1), PATIENCE)
    details = caught.value.details
    assert (details["type"], details["text"], details["code"]) == ("ModelBusyError", "come back", "MODEL_BUSY")
    assert details["retryable"] is True
    assert "traceback" not in details
    failure = (await life_of(bus, channel, traceback=True))[-1]
    assert isinstance(failure, Failure)
    assert failure.is_end
    assert "come back" in failure.traceback
    assert "in fail" in failure.traceback


async def test_what_cannot_be_an_answer_fails_the_request(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Neither an answer of another type nor one over the limit is sent; who asked hears why."""

    async def wrong(request: Request) -> object:
        return 7 if request.payload["n"] == 1 else "x" * (MAX_MESSAGE_BYTES + 1)

    await other.respond(channel, wrong)  # type: ignore[arg-type]
    for n, code in ((1, "INVALID_MESSAGE"), (2, "MESSAGE_TOO_LARGE")):
        with pytest.raises(RequestFailedError) as caught:
            await bus.request(channel, numbered(n), PATIENCE)
        assert caught.value.details["code"] == code


async def test_a_part_over_the_limit_is_refused_and_the_request_goes_on(
    bus: MessageBus, other: MessageBus, channel: str
) -> None:
    """The handler gets MESSAGE_TOO_LARGE, and may go on."""

    async def large(request: Request) -> None:
        with pytest.raises(MessageTooLargeError):
            await request.part(b"x" * (MAX_MESSAGE_BYTES + 1))
        await request.part("small")

    await other.respond(channel, large)
    events = await life_of(bus, channel)
    assert [type(event) for event in events] == [Accepted, Part, Result]


@pytest.mark.parametrize("fraction", [0.4, -0.1, 1.1, math.nan, math.inf])
async def test_progress_that_cannot_be_is_refused(
    bus: MessageBus, other: MessageBus, channel: str, fraction: float
) -> None:
    """Backwards, below 0, above 1 and no number: INVALID_MESSAGE with the field, in the handler."""
    seen: list[InvalidMessageError] = []

    async def back(request: Request) -> None:
        request.progress(0.5)
        try:
            request.progress(fraction)
        except InvalidMessageError as error:
            seen.append(error)

    await other.respond(channel, back)
    events = await life_of(bus, channel)
    assert seen[0].details["field"] == "fraction"
    assert [event.fraction for event in events if isinstance(event, Progress)] == [0.5]
    assert isinstance(events[-1], Result)


async def test_a_published_reply_is_the_result_too(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """The way without `respond` stays: any message with the correlation id, on any channel."""

    async def reply(message: AgentMessage) -> None:
        await other.publish(f"{channel}:r", message.create_response("plain", "x", {"n": 1}))

    await other.subscribe(channel, reply)
    (result,) = await life_of(bus, channel)
    assert isinstance(result, Result)
    assert (result.payload, result.channel) == ({"n": 1}, f"{channel}:r")


async def test_an_asker_that_does_not_read_keeps_the_responder_waiting(
    bus: MessageBus, other: MessageBus, channel: str
) -> None:
    """No more parts are made than may wait; as they are read, more are."""
    made = 0
    stalled = asyncio.Event()

    async def endless(_: Request) -> AsyncIterator[dict[str, int]]:
        nonlocal made
        for made in range(1_000):
            if made == PART_CREDIT:
                stalled.set()
            yield {"n": made}

    await other.respond(channel, endless)
    events = bus.request_stream(channel, numbered(1), PATIENCE)
    assert isinstance(await anext(events), Accepted)
    async with asyncio.timeout(PATIENCE):
        await stalled.wait()
        for _ in range(20):  # what could come would come now
            await bus.flush()
        assert made == PART_CREDIT
        parts = [event async for event in events if isinstance(event, Part)]
    assert [part.payload["n"] for part in parts] == list(range(1_000))


async def test_three_askers_at_once_get_each_their_parts_in_order(
    bus: MessageBus, other: MessageBus, channel: str
) -> None:
    """1,000 parts of text each."""

    async def count(request: Request) -> AsyncIterator[str]:
        for n in range(1_000):
            yield f"{request.payload['n']}:{n}"

    await other.respond(channel, count, concurrency=3)

    async def ask(n: int) -> list[str]:
        events = bus.request_stream(channel, numbered(n), PATIENCE)
        return [event.text async for event in events if isinstance(event, Part)]

    async with asyncio.timeout(PATIENCE):
        lives = await asyncio.gather(*(ask(n) for n in range(3)))
    assert lives == [[f"{n}:{part}" for part in range(1_000)] for n in range(3)]


class Worker:
    """Works until it is called off, and cleans up."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cleaned_up = asyncio.Event()

    async def __call__(self, request: Request) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            assert request.is_called_off
            self.cleaned_up.set()


async def test_cancelling_who_waits_cancels_the_handler(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Of `request` and of `request_stream`; also closing the stream. The handler may clean up; the next is served."""
    for way in ("request", "stream", "close"):
        worker = Worker()
        await other.respond(channel, worker)
        async with asyncio.timeout(PATIENCE):
            if way == "close":
                events = bus.request_stream(channel, numbered(1), PATIENCE)
                await anext(events)
                await worker.begun.wait()
                await events.aclose()
            else:
                asked = asyncio.ensure_future(
                    bus.request(channel, numbered(1), PATIENCE) if way == "request" else life_of(bus, channel)
                )
                await worker.begun.wait()
                asked.cancel()
                with suppress(asyncio.CancelledError):
                    await asked
            await worker.cleaned_up.wait()
            worker.begun.clear()
            asked = asyncio.ensure_future(bus.request(channel, numbered(2), PATIENCE))
            await worker.begun.wait()  # its worker takes the next one
            asked.cancel()
            await other.unsubscribe(channel)


async def test_anybody_may_cancel_a_request_by_its_id(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """The handler is cancelled; who asked hears by whom and why: as an error, or as the last event."""
    worker = Worker()
    await other.respond(channel, worker)
    message = numbered(1)
    asked = asyncio.ensure_future(bus.request(channel, message, PATIENCE))
    async with asyncio.timeout(PATIENCE):
        await worker.begun.wait()
        await other.cancel(message.message_id, by="operator", reason="too dear")
        with pytest.raises(RequestCancelledError) as caught:
            await asked
        assert (caught.value.details["by"], caught.value.details["reason"]) == ("operator", "too dear")
        await worker.cleaned_up.wait()
        worker.begun.clear()
        message = numbered(2)
        events = bus.request_stream(channel, message, PATIENCE)
        assert isinstance(await anext(events), Accepted)
        await other.cancel(message.message_id, by="operator", reason="again")
        last = await anext(events)
        assert isinstance(last, Cancellation)
        assert (last.by, last.reason, last.is_end) == ("operator", "again", True)
        assert [event async for event in events] == []


async def test_cancelling_what_is_unknown_or_over_is_refused(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """REQUEST_NOT_FOUND with the id."""

    async def nothing(_: Request) -> None:
        return

    await other.respond(channel, nothing)
    message = numbered(1)
    await bus.request(channel, message, PATIENCE)
    for id in (message.message_id, "never-heard-of"):
        with pytest.raises(RequestNotFoundError) as caught:
            await bus.cancel(id)
        assert caught.value.details["request_id"] == id


async def test_a_responder_that_leaves_is_told_of_at_once(
    bus: MessageBus, other: MessageBus, channel: str, new_bus: MakeBus, bus_kind: str
) -> None:
    """What nobody has begun goes to another, or fails as if nobody had been there."""

    async def nothing(_: Request) -> None:
        return

    await other.respond(channel, nothing)
    await other.unsubscribe(channel)
    await other.flush()
    with pytest.raises(NoRespondersError):
        await bus.request(channel, numbered(1), PATIENCE)


async def test_unsubscribing_lets_what_runs_end(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """The handler that runs answers; nothing more is taken, and others do not wait for it."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Request) -> dict[str, bool]:
        begun.set()
        await go_on.wait()
        return {"done": True}

    await other.respond(channel, slow)
    asked = asyncio.ensure_future(bus.request(channel, numbered(1), PATIENCE))
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        await other.unsubscribe(channel)
        await other.flush()
        with pytest.raises(NoRespondersError):
            await bus.request(channel, numbered(2), PATIENCE)
        go_on.set()
        assert (await asked).payload == {"done": True}


async def test_a_request_may_wait_for_a_responder(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """It is handed out when somebody comes; without that it fails at once; its deadline counts."""

    async def answer(request: Request) -> dict[str, object]:
        return {"n": request.payload["n"]}

    with pytest.raises(NoRespondersError):
        await life_of(bus, channel)
    with pytest.raises(RequestTimeoutError):
        await bus.request(channel, numbered(1), 0.1, wait_for_responder=True)
    asked = asyncio.ensure_future(bus.request(channel, numbered(2), PATIENCE, wait_for_responder=True))
    streamed = asyncio.ensure_future(life_of(bus, channel, wait_for_responder=True))
    await bus.flush()
    await other.respond(channel, answer, group="late")
    async with asyncio.timeout(PATIENCE):
        assert (await asked).payload == {"n": 2}
        assert isinstance((await streamed)[-1], Result)


async def test_of_several_responders_one_answers(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Who accepts first; the others are called off before or while they work."""
    answered: list[int] = []
    begun = asyncio.Event()

    def numbered_handler(n: int) -> object:
        async def handle(_: Request) -> dict[str, int]:
            begun.set()
            await asyncio.sleep(0)
            answered.append(n)
            return {"who": n}

        return handle

    for n in range(3):
        await other.respond(channel, numbered_handler(n))  # type: ignore[arg-type]
    events = await life_of(bus, channel)
    assert [type(event) for event in events] == [Accepted, Result]


async def test_a_group_shares_requests(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Each goes to one of them, and each is answered once."""
    taken = [0, 0]

    def counting(n: int) -> object:
        async def handle(request: Request) -> dict[str, object]:
            taken[n] += 1
            await asyncio.sleep(0)
            return {"n": request.payload["n"]}

        return handle

    for n in range(2):
        await other.respond(channel, counting(n), group="workers")  # type: ignore[arg-type]
    async with asyncio.timeout(PATIENCE):
        replies = await asyncio.gather(*(bus.request(channel, numbered(n), PATIENCE) for n in range(50)))
    assert [reply.payload["n"] for reply in replies] == list(range(50))
    assert sum(taken) == 50


async def test_what_is_only_published_is_no_request(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """A responder passes it over, and goes on."""
    seen: list[object] = []

    async def note(request: Request) -> None:
        seen.append(request.payload["n"])

    await other.respond(channel, note)
    for n in range(5):
        await bus.publish(channel, numbered(n))
    await bus.request(channel, numbered(9), PATIENCE)
    assert seen == [9]


async def test_signs_of_life_keep_a_request_alive(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """A handler that works for longer than the idle timeout is not cut off: its client says that it works."""
    finish = asyncio.Event()

    async def slow(_: Request) -> dict[str, bool]:
        await finish.wait()
        return {"done": True}

    await other.respond(channel, slow)
    idle = 2.0
    asked = asyncio.ensure_future(bus.request(channel, numbered(1), PATIENCE, idle_timeout=idle))
    await asyncio.wait({asked}, timeout=1.5 * idle)
    assert not asked.done()
    finish.set()
    assert (await asked).payload == {"done": True}


async def test_silence_is_noticed(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """A subscriber that says nothing: REQUEST_TIMEOUT, with the idle timeout."""

    async def silence(_: AgentMessage) -> None:
        return

    await other.subscribe(channel, silence)
    with pytest.raises(RequestTimeoutError) as caught:
        await bus.request(channel, numbered(1), PATIENCE, idle_timeout=0.2)
    assert caught.value.details["idle_timeout_seconds"] == 0.2


@pytest.mark.parametrize("seconds", [0, -1, 86_401, math.nan])
async def test_an_idle_timeout_out_of_bounds_is_refused(bus: MessageBus, channel: str, seconds: float) -> None:
    """INVALID_MESSAGE with the field, of both ways to ask."""
    for ask in (bus.request(channel, numbered(1), idle_timeout=seconds), life_of(bus, channel, idle_timeout=seconds)):
        with pytest.raises(InvalidMessageError) as caught:
            await ask
        assert caught.value.details["field"] == "idle_timeout"


async def test_a_request_that_times_out_calls_its_handler_off(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Nobody waits any more: the handler is cancelled."""
    worker = Worker()
    await other.respond(channel, worker)
    with pytest.raises(RequestTimeoutError):
        await bus.request(channel, numbered(1), 0.5)
    async with asyncio.timeout(PATIENCE):
        if worker.begun.is_set():
            await worker.cleaned_up.wait()


async def test_disconnect_ends_what_is_streamed(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """BUS_DISCONNECTED at the next step."""
    worker = Worker()
    await other.respond(channel, worker)
    events = bus.request_stream(channel, numbered(1), PATIENCE)
    async with asyncio.timeout(PATIENCE):
        await anext(events)
        await bus.disconnect()
        with pytest.raises(BusDisconnectedError):
            await anext(events)


@pytest.mark.parametrize("handler", [len, lambda request: None, Worker, 7])
async def test_a_handler_that_is_no_async_function_is_refused(bus: MessageBus, channel: str, handler: object) -> None:
    """TypeError, and nothing is registered."""
    with pytest.raises(TypeError):
        await bus.respond(channel, handler)  # type: ignore[arg-type]
    with pytest.raises(NoRespondersError):
        await bus.request(channel, numbered(1), PATIENCE)
