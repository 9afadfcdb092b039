"""Request on the wire: deadlines, nobody there, correlation ids, and callers that give up."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.bus.calls import message, publish, reached, refused, start, subscribed
from tests.patience import TRIES
from trunkline.v1 import bus_pb2
from trunkline.v1.message_pb2 import Message

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def asked(channel: str, what: Message | None = None, seconds: float | None = None) -> bus_pb2.RequestRequest:
    wanted = bus_pb2.RequestRequest(channel=channel, message=what or message("?"))
    if seconds is not None:
        wanted.timeout.FromNanoseconds(int(seconds * 1e9))
    return wanted


async def question(subscription: Any) -> Message:
    """The next message that comes."""
    while True:
        frame = await subscription.read()
        if frame.WhichOneof("frame") == "deliveries":
            found: Message = frame.deliveries.messages[0]
            return found


async def test_the_reply_and_its_channel_come_back(stub: Any, channel: str) -> None:
    """One reply: the first other message with the correlation id, on any channel, with the channel it was said on."""
    async with subscribed(stub, channel) as responder, subscribed(stub, f"{channel}:r") as listener:
        call = stub.Request(asked(channel), timeout=10)
        asking = asyncio.ensure_future(_await(call))
        came = await question(responder)
        assert came.correlation_id == came.message_id != ""
        await publish(stub, f"{channel}:r", message("unrelated", correlation_id="x"))
        await publish(stub, f"{channel}:r", message("reply", correlation_id=came.correlation_id))
        await publish(stub, f"{channel}:r", message("too late", correlation_id=came.correlation_id))
        answer = await asking
        assert (answer.message.json, answer.channel) == ("reply", f"{channel}:r")
        assert await listener.have(3) == ["unrelated", "reply", "too late"]


async def _await(call: Any) -> Any:
    return await call


async def test_no_responders_is_said_at_once(stub: Any, channel: str) -> None:
    """With no subscriber it fails at once with NO_RESPONDERS (FAILED_PRECONDITION), and is counted."""
    before = (await stub.GetStats(bus_pb2.GetStatsRequest())).no_responders
    began = time.monotonic()
    error = await refused(
        stub.Request(asked(channel), timeout=30), grpc.StatusCode.FAILED_PRECONDITION, "NO_RESPONDERS"
    )
    assert time.monotonic() - began < 5
    assert error.details == {"channel": channel}
    assert (await stub.GetStats(bus_pb2.GetStatsRequest())).no_responders == before + 1


@pytest.mark.parametrize("by", ["timeout", "deadline", "both"])
async def test_at_the_deadline_it_fails_with_its_figures(stub: Any, channel: str, by: str) -> None:
    """REQUEST_TIMEOUT (DEADLINE_EXCEEDED) with channel, correlation_id and timeout_seconds; whichever is earlier."""
    async with subscribed(stub, channel):
        wanted = asked(channel, message(message_id="m"), 60 if by == "deadline" else 0.4)
        seconds = pytest.approx(0.95, abs=0.06) if by == "deadline" else 0.4
        for _ in range(TRIES):
            began = time.monotonic()
            call = stub.Request(wanted, timeout={"timeout": None, "deadline": 1.0, "both": 30}[by])
            error = await refused(call, grpc.StatusCode.DEADLINE_EXCEEDED, "REQUEST_TIMEOUT")
            assert 0.3 < time.monotonic() - began < 5
            if by != "deadline" or error.details.get("timeout_seconds") == seconds:
                break  # else the call was late, or gRPC's own error came first: a few milliseconds before the deadline
        assert (error.details["channel"], error.details["correlation_id"]) == (channel, "m")
        assert error.details["timeout_seconds"] == seconds
        await reached(stub, lambda figures: figures.pending_requests == 0)


@pytest.mark.parametrize(
    "timeout",
    [Duration(), Duration(seconds=-1), Duration(nanos=-1), Duration(seconds=86_401), Duration(seconds=2**62)],
    ids=["zero", "negative", "a nanosecond below zero", "over a day", "huge"],
)
async def test_a_timeout_out_of_bounds_is_refused(stub: Any, channel: str, timeout: Duration) -> None:
    """Deadlines of zero, or below, or over a day answer INVALID_MESSAGE."""
    async with subscribed(stub, channel):
        wanted = bus_pb2.RequestRequest(channel=channel, message=message(), timeout=timeout)
        error = await refused(stub.Request(wanted, timeout=10), INVALID, "INVALID_MESSAGE")
        assert error.details["field"] == "timeout"


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (bus_pb2.RequestRequest(channel="wire:x"), "INVALID_MESSAGE"),
        (asked("", message()), "INVALID_CHANNEL"),
        (asked("a:*", message()), "INVALID_CHANNEL"),
        (asked("wire:x", message(priority=99)), "INVALID_MESSAGE"),
        (asked("wire:x", message(ttl_seconds=0)), "INVALID_MESSAGE"),
    ],
    ids=["no message", "no channel", "wildcard", "priority 99", "ttl 0"],
)
async def test_bad_requests_are_refused(stub: Any, wanted: bus_pb2.RequestRequest, reason: str) -> None:
    """INVALID_ARGUMENT as Publish."""
    await refused(stub.Request(wanted, timeout=10), INVALID, reason)


async def test_a_correlation_id_in_use_is_refused(stub: Any, channel: str) -> None:
    """A correlation id that another pending request uses: INVALID_MESSAGE; the pending one is not disturbed."""
    async with subscribed(stub, channel) as responder:
        same = f"{channel}-same"
        first = asyncio.ensure_future(_await(stub.Request(asked(channel, message(1, correlation_id=same)), timeout=10)))
        await question(responder)
        error = await refused(
            stub.Request(asked(channel, message(2, correlation_id=same)), timeout=10), INVALID, "INVALID_MESSAGE"
        )
        assert error.details["field"] == "correlation_id"
        await publish(stub, f"{channel}:r", message("reply", correlation_id=same))
        assert (await first).message.json == "reply"


async def test_a_request_never_resolves_with_itself(stub: Any, channel: str) -> None:
    """Also where its caller preset the correlation id, and where the same message is published again by another."""
    async with subscribed(stub, channel) as responder:
        preset = message("q", message_id=f"{channel}-m", correlation_id=f"{channel}-c")
        asking = asyncio.ensure_future(_await(stub.Request(asked(channel, preset), timeout=10)))
        assert (await question(responder)).json == "q"
        await publish(stub, f"{channel}:bridge", preset)
        assert not asking.done()
        await publish(stub, f"{channel}:r", message("reply", correlation_id=f"{channel}-c"))
        assert (await asking).message.json == "reply"


async def test_a_reply_past_its_ttl_is_no_reply(stub: Any, channel: str) -> None:
    """A message past its TTL is never delivered, also not as a reply."""
    async with subscribed(stub, channel) as responder:
        asking = asyncio.ensure_future(_await(stub.Request(asked(channel), timeout=10)))
        came = await question(responder)
        old = message("old", correlation_id=came.correlation_id, ttl_seconds=1, timestamp={"seconds": 1})
        await publish(stub, f"{channel}:r", old)
        await publish(stub, f"{channel}:r", message("new", correlation_id=came.correlation_id))
        assert (await asking).message.json == "new"


async def test_a_cancelled_request_leaves_nothing_behind(stub: Any, channel: str) -> None:
    """A cancelled request leaves nothing behind: no pending request, and its correlation id is free."""
    async with subscribed(stub, channel) as responder:
        mine = f"{channel}-mine"
        for _ in range(3):
            call = stub.Request(asked(channel, message(correlation_id=mine)), timeout=60)
            asking = asyncio.ensure_future(_await(call))
            await question(responder)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await reached(stub, lambda figures: figures.pending_requests == 0)
        asking = asyncio.ensure_future(_await(stub.Request(asked(channel, message(correlation_id=mine)), timeout=10)))
        await question(responder)
        await publish(stub, f"{channel}:r", message("reply", correlation_id=mine))
        assert (await asking).message.json == "reply"


async def test_too_many_pending_requests_are_refused(small: Any, channel: str) -> None:
    """OVERLOADED says which limit; when one is done, another may come."""
    async with subscribed(small, channel) as responder:
        waiting = [asyncio.ensure_future(_await(small.Request(asked(channel), timeout=30))) for _ in range(3)]
        questions = [await question(responder)]
        await reached(small, lambda figures: figures.pending_requests == 3)
        error = await refused(
            small.Request(asked(channel), timeout=10), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"
        )
        assert error.details == {"limit": "max_pending_requests", "maximum": 3}
        await publish(small, f"{channel}:r", message("reply", correlation_id=questions[0].correlation_id))
        done, pending = await asyncio.wait(waiting, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert [each.result().message.json for each in done] == ["reply"]
        for each in pending:
            each.cancel()
        await reached(small, lambda figures: figures.pending_requests == 0)


async def test_the_responder_that_vanishes_lets_the_request_time_out(stub: Any, channel: str) -> None:
    """A responder that takes the request and vanishes: the caller's deadline holds."""
    call = stub.Subscribe()
    await call.write(start(channel))
    await call.read()
    asking = asyncio.ensure_future(_await(stub.Request(asked(channel, seconds=0.5), timeout=30)))
    await call.read()
    call.cancel()
    await refused(asking, grpc.StatusCode.DEADLINE_EXCEEDED, "REQUEST_TIMEOUT")
