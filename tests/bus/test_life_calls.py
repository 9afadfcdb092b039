"""Requests with a life on the wire, as agents in other languages ask and answer: through a bus and a sidecar."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from tests.bus.calls import message, refused
from tests.bus.conftest import OPTIONS
from tests.bus.durable.calls import eventually
from tests.patience import PATIENCE
from trunkline.limits import MAX_MESSAGE_BYTES, PART_CREDIT
from trunkline.v1 import bus_pb2, bus_pb2_grpc
from trunkline.v1.bus_pb2 import RespondRequest, SubscribeRequest
from trunkline.v1.life_pb2 import LifeEvent

INVALID = grpc.StatusCode.INVALID_ARGUMENT
MISSING = grpc.StatusCode.NOT_FOUND
RESULT = LifeEvent(result={"message": {"json": "1"}})
PART = LifeEvent(part={"message": {"json": "0"}})


@pytest.fixture(params=["bus", "sidecar"])
async def either(request: pytest.FixtureRequest, bus_address: str, sidecar_address: str) -> AsyncIterator[Any]:
    """A raw stub of the bus, and one through the sidecar."""
    async with grpc.aio.insecure_channel(
        bus_address if request.param == "bus" else sidecar_address, options=OPTIONS
    ) as line:
        yield bus_pb2_grpc.BusServiceStub(line)


class Responder:
    """A Subscribe stream that answers requests."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.id = 0
        self._requested: list[tuple[str, Any]] = []

    async def read(self) -> Any:
        """The next frame."""
        return await asyncio.wait_for(self.call.read(), PATIENCE)

    async def requested(self) -> tuple[str, Any]:
        """The next request's id, and what is said of it."""
        while not self._requested:
            deliveries = (await self.read()).deliveries
            self._requested += [(deliveries.messages[each.index].correlation_id, each) for each in deliveries.requests]
        return self._requested.pop(0)

    async def say(self, request_id: str, *events: LifeEvent) -> None:
        await self.call.write(SubscribeRequest(respond=RespondRequest(request_id=request_id, events=events)))

    async def refusal(self) -> Any:
        """The error of what was refused."""
        return (await self.read()).refused_response.error


@asynccontextmanager
async def responding(stub: Any, pattern: str, group: str = "") -> AsyncIterator[Responder]:
    """A responder that has started."""
    call = stub.Subscribe()
    try:
        await call.write(SubscribeRequest(start={"pattern": pattern, "group": group, "responder": True}))
        responder = Responder(call)
        responder.id = (await responder.read()).started.subscription_id
        yield responder
    finally:
        call.cancel()


def ask(stub: Any, channel: str, credit: int | None = None, **fields: Any) -> Any:
    """A RequestStream call."""
    request = bus_pb2.RequestRequest(channel=channel, message=message(1), **fields)
    return stub.RequestStream(bus_pb2.RequestStreamRequest(request=request, credit=credit), timeout=PATIENCE)


async def kinds(call: Any) -> list[str]:
    """The events that came, to the end."""
    return [event.WhichOneof("event") async for response in call for event in response.events]


async def test_a_life_by_frames_of_one_stream(either: Any, channel: str) -> None:
    """Accepted by the first event if nobody says so; numbers rise from 1 without a gap; the end ends the stream."""
    async with responding(either, channel) as responder:
        call = ask(either, channel)
        id, requested = await responder.requested()
        assert (requested.credit, requested.attempt, requested.traceback) == (PART_CREDIT, 1, False)
        assert 0 < requested.timeout.seconds <= PATIENCE
        await responder.say(id, LifeEvent(progress={"fraction": 0.5}), PART, PART)
        await responder.say(id, RESULT)
        events = [event async for response in call for event in response.events]
        found = [event.WhichOneof("event") for event in events]
        assert found == ["accepted", "progress", "part", "part", "result"]
        assert [event.number for event in events] == [1, 2, 3, 4, 5]
        assert all(event.HasField("time") for event in events)
        assert events[2].part.message.message_id
        assert events[-1].result.message.json == "1"


async def test_an_answer_by_one_call(either: Any, channel: str) -> None:
    """Respond, by a subscription and by nobody in particular: as with grpcurl."""
    async with responding(either, channel) as responder:
        for subscription_id in (responder.id, 0):
            asked = asyncio.ensure_future(
                either.Request(bus_pb2.RequestRequest(channel=channel, message=message(1)), timeout=PATIENCE)
            )
            id, requested = await responder.requested()
            assert not requested.HasField("credit")
            said = RespondRequest(request_id=id, events=[PART, RESULT], subscription_id=subscription_id)
            await either.Respond(said, timeout=PATIENCE)
            assert (await asked).message.json == "1"
            if not subscription_id:  # it hears that somebody else accepted it
                assert (await responder.read()).called_off.request_id == id
            await refused(either.Respond(said, timeout=PATIENCE), MISSING, "REQUEST_NOT_FOUND")


@pytest.mark.parametrize(
    ("events", "reason", "field"),
    [
        ((RESULT, PART), "REQUEST_NOT_FOUND", None),
        ((RESULT, RESULT), "REQUEST_NOT_FOUND", None),
        ((RESULT, LifeEvent(failure={"text": "x"})), "REQUEST_NOT_FOUND", None),
        ((LifeEvent(progress={"fraction": 0.5}), LifeEvent(progress={"fraction": 0.4})), "INVALID_MESSAGE", "fraction"),
        ((LifeEvent(progress={"fraction": 1.5}),), "INVALID_MESSAGE", "fraction"),
        ((LifeEvent(progress={"fraction": float("nan")}),), "INVALID_MESSAGE", "fraction"),
        ((LifeEvent(),), "INVALID_MESSAGE", "event"),
        ((LifeEvent(number=1, part={}),), "INVALID_MESSAGE", "number"),
        ((LifeEvent(result={"channel": "a"}),), "INVALID_MESSAGE", "channel"),
        ((LifeEvent(part={"message": {"priority": 9}}),), "INVALID_MESSAGE", "priority"),
        ((LifeEvent(part={"message": {"data": bytes(MAX_MESSAGE_BYTES + 1)}}),), "MESSAGE_TOO_LARGE", None),
        ((PART,) * (PART_CREDIT + 1), "OVERLOADED", None),
    ],
    ids=[
        *("part after the end", "two ends", "two unlike ends", "back", "above 1", "nan", "empty", "number"),
        *("channel", "priority", "too large", "beyond the credit"),
    ],
)
async def test_what_a_responder_may_not_say_is_refused_to_it(
    either: Any, channel: str, events: tuple[LifeEvent, ...], reason: str, field: str | None
) -> None:
    """It hears the reason; who asked is not harmed, and gets its end; nobody else waits."""
    async with responding(either, channel) as responder:
        call = ask(either, channel)
        id, _ = await responder.requested()
        await responder.say(id, LifeEvent(accepted={"responder": "raw"}))
        await responder.say(id, *events)
        frame = await responder.read()
        while frame.WhichOneof("frame") == "part_credit":
            frame = await responder.read()
        error = frame.refused_response.error
        assert error.reason == reason
        assert field is None or error.metadata["field"] == field
        if reason != "REQUEST_NOT_FOUND":
            await responder.say(id, RESULT)
        found = await kinds(call)
        assert (found[0], found[-1]) == ("accepted", "result")
        assert found.count("result") == 1


async def test_only_who_accepted_it_may_speak(either: Any, channel: str) -> None:
    """Another that got the request is called off; what it says then is refused, and not passed on."""
    async with responding(either, channel) as first, responding(either, channel) as second:
        call = ask(either, channel)
        id, _ = await first.requested()
        await second.requested()
        await first.say(id, LifeEvent(accepted={"responder": "first"}))
        called_off = (await second.read()).called_off
        assert called_off.request_id == id
        await second.say(id, RESULT)
        assert (await second.refusal()).metadata["why"] == "accepted by another"
        await first.say(id, PART, RESULT)
        assert await kinds(call) == ["accepted", "part", "result"]


async def test_who_never_reads_gets_no_more_than_its_credit(either: Any, channel: str) -> None:
    """Parts beyond it are refused; what is read is granted again, and told to the responder."""
    async with responding(either, channel) as responder:
        call = ask(either, channel, credit=2)
        id, requested = await responder.requested()
        assert requested.credit == 2
        await responder.say(id, PART, PART)
        granted = 0
        while granted < 2:  # the service has written both: gRPC takes some ahead of who reads
            granted += (await responder.read()).part_credit.parts
        await responder.say(id, PART, RESULT)
        assert await kinds(call) == ["accepted", "part", "part", "part", "result"]


@pytest.mark.parametrize("credit", [0, -1, 1_025])
async def test_a_credit_out_of_bounds_is_refused(either: Any, channel: str, credit: int) -> None:
    """INVALID_MESSAGE with the field."""
    error = await refused(ask(either, channel, credit).read(), INVALID, "INVALID_MESSAGE")
    assert error.details["field"] == "credit"


@pytest.mark.parametrize("other", ["observer", "durable"])
async def test_a_responder_is_live_and_takes_part(either: Any, channel: str, other: str) -> None:
    """Not together with `observer` or `durable`."""
    call = either.Subscribe()
    value = True if other == "observer" else "name"
    await call.write(SubscribeRequest(start={"pattern": channel, "responder": True, other: value}))
    error = await refused(call.read(), INVALID, "INVALID_MESSAGE")
    assert error.details["field"] == f"start.{other}"


async def test_who_is_no_responder_may_not_answer_by_frames(either: Any, channel: str) -> None:
    """INVALID_MESSAGE with the field ends that stream alone."""
    call = either.Subscribe()
    await call.write(SubscribeRequest(start={"pattern": channel}))
    await call.read()
    await call.write(SubscribeRequest(respond=RespondRequest(request_id="x", events=[RESULT])))
    error = await refused(call.read(), INVALID, "INVALID_MESSAGE")
    assert error.details["field"] == "respond"


async def test_a_responder_whose_stream_ends_loses_its_request(either: Any, channel: str) -> None:
    """RESPONDER_LOST with the channel, the id and the name that it gave itself."""
    async with responding(either, channel) as responder:
        call = ask(either, channel)
        id, _ = await responder.requested()
        await responder.say(id, LifeEvent(accepted={"responder": "raw-1"}))
        await call.read()
    error = await refused(call.read(), grpc.StatusCode.ABORTED, "RESPONDER_LOST")
    assert (error.details["request_id"], error.details["responder"]) == (id, "raw-1")


async def test_who_stops_reading_leaves_nothing_behind(either: Any, channel: str) -> None:
    """The responder is told, and nothing is pending."""
    async with responding(either, channel) as responder:
        call = ask(either, channel)
        id, _ = await responder.requested()
        await responder.say(id, PART)
        await call.read()
        call.cancel()
        frame = await responder.read()
        while frame.WhichOneof("frame") == "part_credit":
            frame = await responder.read()
        assert frame.called_off.request_id == id
        await refused(
            either.Cancel(bus_pb2.CancelRequest(request_id=id), timeout=PATIENCE), MISSING, "REQUEST_NOT_FOUND"
        )


async def test_many_open_requests_are_bounded_and_refused_beyond(small: Any, channel: str) -> None:
    """OVERLOADED beyond the limit; when they are gone, others are taken."""
    async with responding(small, channel) as responder:
        calls = [ask(small, channel) for _ in range(3)]
        ids = [(await responder.requested())[0] for _ in range(3)]
        await refused(ask(small, channel).read(), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        for id in ids:
            await responder.say(id, RESULT)
        for call in calls:
            assert await kinds(call) == ["accepted", "result"]
        last = ask(small, channel)
        id, _ = await responder.requested()
        await responder.say(id, RESULT)
        assert await kinds(last) == ["accepted", "result"]

        async def pending() -> int:
            return int((await small.GetStats(bus_pb2.GetStatsRequest())).pending_requests)

        assert await eventually(pending, lambda count: count == 0) == 0
