"""Times and durations on the bus's wire: what no language can say is refused with its field, and what an older bus
stored is shown."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from tests.bus.calls import refused, start
from tests.bus.conftest import OPTIONS
from tests.bus.durable.calls import eventually
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import command
from trunkline import GrpcMessageBus
from trunkline.delivery import DurableSettings
from trunkline.limits import MAX_MESSAGE_BYTES
from trunkline.priority import MEDIUM_LEVEL
from trunkline.v1 import (
    bus_pb2,
    bus_pb2_grpc,
    dead_letter_pb2,
    durable_pb2,
    inspection_pb2,
    message_pb2,
    task_pb2,
    waiting_pb2,
)
from trunklined.bus.app import make_broker
from trunklined.bus.config import Settings
from trunklined.bus.journal.publication import Publication
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.wire.servicer import BusServicer

INVALID = grpc.StatusCode.INVALID_ARGUMENT
LAST_SECOND: Final = 253_402_300_799
LONGEST: Final = 315_576_000_000
TIMES = ({"seconds": LAST_SECOND + 1}, {"seconds": 2**63 - 1}, {"seconds": -(2**63)}, {"nanos": -1}, {"nanos": 10**9})
DURATIONS = ({"seconds": LONGEST + 1}, {"seconds": 2**63 - 1}, {"seconds": 1, "nanos": -1}, {"nanos": 10**9})

Call = Callable[[Any, Any], Awaitable[Any]]


def _publish(stored: bool, **fields: Any) -> bus_pb2.PublishRequest:
    durability = bus_pb2.DURABILITY_STORED if stored else bus_pb2.DURABILITY_MEMORY
    return bus_pb2.PublishRequest(
        channel="times:a", messages=[{"json": "0"}, {"json": "1", **fields}], durability=durability
    )


def _request(**fields: Any) -> bus_pb2.RequestRequest:
    return bus_pb2.RequestRequest(**{"channel": "times:nobody", "message": {"json": "0"}} | fields)


def _create(**fields: Any) -> durable_pb2.CreateDurableSubscriptionRequest:
    return durable_pb2.CreateDurableSubscriptionRequest(name="times", pattern="times:a", **fields)


async def _subscribe(stub: Any, **fields: Any) -> Any:
    call = stub.Subscribe()
    wanted = start("times:a")
    wanted.start.MergeFrom(bus_pb2.SubscribeRequest.Start(durable="times", **fields))
    await call.write(wanted)
    return await call.read()


async def _streamed(stub: Any, request: bus_pb2.PublishRequest) -> Any:
    """As a status, to be told like the others."""
    call = stub.OpenStream()
    await call.write(bus_pb2.OpenStreamRequest(items=[{"id": 1, "publish": request}]))
    said = (await call.read()).items[0].error
    call.cancel()
    return said


CALLS: Final[dict[str, dict[str, Call]]] = {
    "Message.timestamp": {
        "timestamp": lambda stub, it: stub.Publish(_publish(False, timestamp=it)),
        "timestamp ": lambda stub, it: stub.Publish(_publish(True, timestamp=it)),
        "timestamp  ": lambda stub, it: stub.Request(_request(message={"json": "0", "timestamp": it})),
    },
    "Message.deliver_at": {
        "deliver_at": lambda stub, it: stub.Publish(_publish(True, deliver_at=it)),
        "deliver_at ": lambda stub, it: stub.Publish(_publish(False, deliver_at=it)),
        "deliver_at  ": lambda stub, it: stub.Request(_request(message={"json": "0", "deliver_at": it})),
    },
    "Message.deliver_after": {
        "deliver_after": lambda stub, it: stub.Publish(_publish(True, deliver_after=it)),
        "deliver_after ": lambda stub, it: stub.Request(_request(message={"json": "0", "deliver_after": it})),
    },
    "StuckRequest.older_than": {
        "older_than": lambda stub, it: stub.Stuck(inspection_pb2.StuckRequest(older_than=it)),
    },
    "RequestRequest.timeout": {"timeout": lambda stub, it: stub.Request(_request(timeout=it))},
    "RequestRequest.idle_timeout": {
        "idle_timeout": lambda stub, it: stub.Request(_request(idle_timeout=it)),
    },
    "LifeEvent.time": {
        "time": lambda stub, it: stub.Respond(
            bus_pb2.RespondRequest(request_id="any", events=[{"progress": {"text": "x"}, "time": it}])
        ),
    },
    "Position.time": {
        "position.time": lambda stub, it: stub.CreateDurableSubscription(_create(position={"time": it})),
        "position.time ": lambda stub, it: _subscribe(stub, position={"time": it}),
    },
    "DurableSettings.ack_wait": {
        "settings.ack_wait": lambda stub, it: stub.CreateDurableSubscription(_create(settings={"ack_wait": it})),
        "settings.ack_wait ": lambda stub, it: _subscribe(stub, settings={"ack_wait": it}),
    },
    "Backoff.initial": {
        "settings.backoff.initial": lambda stub, it: stub.CreateDurableSubscription(
            _create(settings={"backoff": {"initial": it}})
        )
    },
    "Backoff.maximum": {
        "settings.backoff.maximum": lambda stub, it: stub.CreateDurableSubscription(
            _create(settings={"backoff": {"maximum": it}})
        )
    },
    "Nak.delay": {
        "nak.delay": lambda stub, it: stub.Settle(
            durable_pb2.SettleRequest(durable="settled", nak={"sequences": [1], "delay": it})
        )
    },
    "Extend.lease": {
        "extend.lease": lambda stub, it: stub.Settle(
            durable_pb2.SettleRequest(durable="settled", extend={"sequences": [1], "lease": it})
        )
    },
    "DeadLetterFilter.since": {
        "filter.since": lambda stub, it: stub.ListDeadLetters(
            dead_letter_pb2.ListDeadLettersRequest(filter={"since": it})
        ),
        "filter.since ": lambda stub, it: stub.RedriveDeadLetters(
            dead_letter_pb2.RedriveDeadLettersRequest(filter={"since": it})
        ),
    },
    "DeadLetterFilter.before": {
        "filter.before": lambda stub, it: stub.PurgeDeadLetters(
            dead_letter_pb2.PurgeDeadLettersRequest(filter={"before": it})
        )
    },
    "WaitingFilter.since": {
        "filter.since": lambda stub, it: stub.ListWaitingMessages(
            waiting_pb2.ListWaitingMessagesRequest(durable="settled", filter={"since": it})
        )
    },
    "WaitingFilter.before": {
        "filter.before": lambda stub, it: stub.CancelWaitingMessages(
            waiting_pb2.CancelWaitingMessagesRequest(durable="settled", filter={"before": it})
        )
    },
    "SubmitTaskRequest.keep": {
        "keep": lambda stub, it: stub.SubmitTask(
            task_pb2.SubmitTaskRequest(channel="times:settled", message={"json": "0"}, keep=it)
        )
    },
    "GetTaskRequest.wait": {"wait": lambda stub, it: stub.GetTask(task_pb2.GetTaskRequest(task_id="?", wait=it))},
}
"""Of each field: calls that take it, by the name that an error has for it."""


def _times_of(message: Any, seen: set[str]) -> set[str]:
    found: set[str] = set()
    if message.full_name in seen:
        return found
    seen.add(message.full_name)
    for field in message.fields:
        if field.message_type is None:
            continue
        if field.message_type.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
            found.add(f"{message.name}.{field.name}")
        else:
            found |= _times_of(field.message_type, seen)
    return found


def test_every_time_that_the_bus_takes_has_a_case_here() -> None:
    """A new field without one fails here."""
    (service,) = bus_pb2.DESCRIPTOR.services_by_name.values()
    seen: set[str] = set()
    taken = set().union(*(_times_of(method.input_type, seen) for method in service.methods))
    assert taken == {*CALLS, "Postponed.until"}, "that one the bus alone says"


@pytest.fixture(params=["bus", "sidecar"])
async def either(request: pytest.FixtureRequest, bus_address: str, sidecar_address: str) -> AsyncIterator[Any]:
    """A raw stub of the bus, and one through the sidecar."""
    address = bus_address if request.param == "bus" else sidecar_address
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as line:
        stub = bus_pb2_grpc.BusServiceStub(line)
        settled = durable_pb2.CreateDurableSubscriptionRequest(name="settled", pattern="times:settled")
        await stub.CreateDurableSubscription(settled, timeout=PATIENCE)
        yield stub


@pytest.mark.parametrize("field", CALLS)
async def test_a_time_that_no_language_can_say_is_refused(either: Any, field: str) -> None:
    """INVALID_MESSAGE with the field and the value, in whichever call it comes."""
    for name, call in CALLS[field].items():
        is_time = name.strip() in ("timestamp", "deliver_at", "position.time", "filter.since", "filter.before")
        for value in TIMES if is_time else DURATIONS:
            error = await refused(call(either, value), INVALID, "INVALID_MESSAGE")
            assert error.details["field"] == name.strip(), (name, value)
            said = error.details.get("value")
            assert said is None or said in map(str, value.values()), (name, value, error.message)


async def test_it_is_refused_on_every_stream(either: Any) -> None:
    """As an item of an OpenStream stream, and as the answer to a frame of PublishStream; nothing of it is published."""
    wanted = _publish(False, timestamp={"seconds": LAST_SECOND + 1})
    error = await _streamed(either, wanted)
    assert (error.reason, error.metadata["field"], error.metadata["index"]) == ("INVALID_MESSAGE", "timestamp", "1")
    call = either.PublishStream()
    await call.write(bus_pb2.PublishStreamRequest(publish=wanted))
    error = (await call.read()).error
    assert (error.reason, error.metadata["field"]) == ("INVALID_MESSAGE", "timestamp")
    call.cancel()


async def test_it_is_refused_in_memory() -> None:
    """By the same code, which another transport reaches."""
    broker = make_broker(Settings.model_construct(engine="memory"))
    broker.journal.open()
    came: list[bytes] = []

    async def write(frame: bytes) -> None:
        came.append(frame)

    connection = BusServicer(broker, MAX_MESSAGE_BYTES, (), 0.0).accept("", write)
    wanted = _publish(False, timestamp={"seconds": 1, "nanos": -1})
    await connection.take(bus_pb2.OpenStreamRequest(items=[{"id": 1, "publish": wanted}]).SerializeToString())
    await connection.flushed()
    error = bus_pb2.OpenStreamResponse.FromString(came[0]).items[0].error
    assert (error.reason, error.metadata["field"]) == ("INVALID_MESSAGE", "timestamp")
    connection.close()
    await broker.journal.close()


@pytest.mark.parametrize("seconds", [LAST_SECOND, -62_135_596_800, 0])
async def test_the_first_and_the_last_time_are_taken(stub: Any, seconds: int) -> None:
    """The years 1 to 9999."""
    wanted = _publish(False, timestamp={"seconds": seconds, "nanos": 999_999_999})
    assert (await stub.Publish(wanted)).receipts[1].sequence


async def _keep_as_older_versions_did(path: Path) -> None:
    """Three messages with times that are taken no more, in a journal."""
    broker = make_broker(Settings.model_construct(engine="sqlite", path=path))
    broker.journal.open()
    broker.journal.durables.create("old", "old", None, DurableSettings(), given=False, done=lambda _: None)
    await broker.journal.commits.settled()
    times = ({"seconds": 2**63 - 1}, {"seconds": -(2**63)}, {"seconds": 5, "nanos": -1})
    messages = [
        message_pb2.Message(message_id=f"m{n}", json="{}", timestamp=time).SerializeToString()
        for n, time in enumerate(times)
    ]
    batch = MessageBatch("old", MEDIUM_LEVEL, messages, sum(map(len, messages)))
    ids = [f"m{n}" for n in range(3)]
    broker.store(Publication("old", [batch], parts=[batch], message_ids=[ids]), lambda _: None)
    await broker.journal.commits.settled()
    await broker.journal.close()


def _trunkline(address: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRUNKLINE_BUS": address, "TZ": "Pacific/Kiritimati"}
    return subprocess.run(command(words), capture_output=True, text=True, env=environment, timeout=PATIENCE, check=True)


async def test_what_is_stored_with_such_a_time_is_shown(start_program: StartProgram, socket_dir: Path) -> None:
    """As the first or the last time that Python has: received, as a dead letter, and by the command line."""
    path = socket_dir / "old.db"
    await _keep_as_older_versions_did(path)
    address = start_program("bus", "--path", str(path)).address
    async with GrpcMessageBus(address) as bus:
        times = []
        async for message in bus.messages("old", durable="old"):
            times.append(message.timestamp.year)
            await message.terminate("shown")
            if len(times) == 3:
                break
        assert times == [9999, 1, 1970]
        await eventually(bus.count_dead_letters, lambda count: count == 3)  # what was terminated is not waited for
        assert [letter.message.timestamp.year async for letter in bus.dead_letters()] == times[::-1]
    lines = _trunkline(address, "dead-letters", "list", "--format", "json").stdout.splitlines()
    assert [json.loads(line)["message"]["message_id"] for line in lines] == ["m2", "m1", "m0"]
    assert len(_trunkline(address, "dead-letters", "list").stdout.splitlines()) == 4
    for id in "123":
        assert "shown" in _trunkline(address, "dead-letters", "show", id).stdout
