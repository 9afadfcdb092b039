"""Nobody waits for another client's input: beside the largest legal input of every call, and beside what is refused for
its size, another client's request and save take a tenth of a second more than alone at the most.

What is measured is what the bystander's process and the services computed while it waited, or less where they did so at
the same time; of several tries the best counts; and no other test runs meanwhile. So a busy machine changes little.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import grpc
import psutil
import pytest

from tests.bus.conftest import OPTIONS
from tests.bystander import READS, SAVES, Bystander
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline.limits import (
    MAX_BATCH_OPERATIONS,
    MAX_FRAME_BYTES,
    MAX_FRAME_ITEMS,
    MAX_MESSAGE_BYTES,
    MAX_PUBLISH_MESSAGES,
    MAX_RECORD_ENTRIES,
    MAX_REDRIVEN,
    MAX_REPORTED_EVENTS,
    MAX_SETTLED_MESSAGES,
    MiB,
)
from trunkline.v1 import (
    bus_pb2,
    bus_pb2_grpc,
    dead_letter_pb2,
    durable_pb2,
    inspection_pb2,
    state_pb2,
    state_pb2_grpc,
    task_pb2,
    waiting_pb2,
)

MOST_MORE: Final = 0.4
"""Seconds that the bystander may wait more than alone. On a core of its own it is less than 0.1; on a machine that
others share it was 0.25. An input that is handled in one piece keeps others waiting for most of a second, or longer."""
TRIES: Final = 8
MOST_MEMORY: Final = 300 * MiB
"""What a refused frame of 64 MiB may take, with gRPC's copies of it."""

pytestmark = pytest.mark.alone

STORED, MEMORY = bus_pb2.DURABILITY_STORED, bus_pb2.DURABILITY_MEMORY
_numbers = count(1)


@dataclass(frozen=True)
class Services:
    """A bus and a store in processes of their own, and raw stubs of both."""

    bus_program: RunningProgram
    state_program: RunningProgram
    bus: Any
    state: Any


Case = Callable[[Services], Awaitable[object]]


def _name() -> str:
    return f"waits:{next(_numbers)}"


async def _spoken(call: Any, frames: list[bytes], until: Callable[[Any], bool]) -> None:
    """Writes encoded frames to a stream, and reads until an answer says that all is done; an error ends it too."""
    reading = asyncio.ensure_future(_heard(call, until))
    try:
        for frame in frames:
            await call.write(frame)
    except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
        pass  # refused: the reader hears why
    try:
        await asyncio.wait_for(reading, PATIENCE)
    finally:
        call.cancel()


async def _heard(call: Any, until: Callable[[Any], bool]) -> None:
    while (frame := await call.read()) is not grpc.aio.EOF:
        if until(frame):
            return


# The bus.


def _message(number: int, size: int = 1, **fields: Any) -> dict[str, Any]:
    return {"json": "x" * size, "priority": number % 4 + 1, **fields}


def _many(durability: bus_pb2.Durability, **fields: Any) -> bus_pb2.PublishRequest:
    """As many messages as one publish may have, each unlike its neighbours."""
    messages = [_message(number, **fields) for number in range(MAX_PUBLISH_MESSAGES)]
    return bus_pb2.PublishRequest(channel=_name(), messages=messages, durability=durability)


def _large(durability: bus_pb2.Durability) -> bus_pb2.PublishRequest:
    """As many bytes as one frame may have."""
    size = MAX_MESSAGE_BYTES - 200
    messages = [_message(1, size) for _ in range(MAX_FRAME_BYTES // MAX_MESSAGE_BYTES - 1)]
    return bus_pb2.PublishRequest(channel=_name(), messages=messages, durability=durability)


def _connect(services: Services) -> Any:
    return grpc_stream(services.bus_program, "BusService/OpenStream")


_channels: dict[str, grpc.aio.Channel] = {}


def grpc_stream(program: RunningProgram, method: str) -> Any:
    """A stream of frames that are encoded already."""
    return _channels[program.address].stream_stream(f"/trunkline.v1.{method}")()


_PING: Final = bus_pb2.OpenStreamRequest(items=[{"id": 2**40, "ping": {}}]).SerializeToString()


async def _connected(services: Services, *frames: bytes) -> None:
    """Sends encoded frames on an OpenStream stream, and waits until the bus took them, or refused them."""

    def is_done(raw: bytes) -> bool:
        frame = bus_pb2.OpenStreamResponse.FromString(raw)
        return any(item.HasField("pong") for item in frame.items)

    await _refusable(_spoken(_connect(services), [*frames, _PING], is_done))


async def _refusable(call: Awaitable[object]) -> None:
    """What is refused for its size is refused with INVALID_ARGUMENT."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            raise


def _items(*items: dict[str, Any]) -> bytes:
    encoded: bytes = bus_pb2.OpenStreamRequest(items=items).SerializeToString()
    return encoded


async def _publish(services: Services, request: bus_pb2.PublishRequest) -> None:
    await services.bus.Publish(request, timeout=PATIENCE)


async def _publish_stream(services: Services, request: bus_pb2.PublishRequest, frames: int) -> None:
    frame = bus_pb2.PublishStreamRequest(publish=request).SerializeToString()
    came = count(1)
    stream = grpc_stream(services.bus_program, "BusService/PublishStream")
    await _spoken(stream, [frame] * frames, lambda _: next(came) == frames)


async def _request(services: Services) -> None:
    """Nobody listens, which is said at once."""
    wanted = bus_pb2.RequestRequest(channel=_name(), message=_message(1, MAX_MESSAGE_BYTES - 200))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await services.bus.Request(wanted, timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def _durable(services: Services, letters: int = 0) -> tuple[str, list[int]]:
    """A durable subscription whose stored messages somebody holds, and their sequences; or as many dead letters."""
    name = _name().replace(":", "-")
    channel = f"held:{name}"
    wanted = durable_pb2.CreateDurableSubscriptionRequest(name=name, pattern=channel)
    await services.bus.CreateDurableSubscription(wanted, timeout=PATIENCE)
    messages = [_message(1) for _ in range(MAX_PUBLISH_MESSAGES)]
    request = bus_pb2.PublishRequest(channel=channel, messages=messages, durability=STORED)
    answer = await services.bus.Publish(request, timeout=PATIENCE)
    sequences = [receipt.sequence for receipt in answer.receipts]
    call = services.bus.Subscribe()
    start = bus_pb2.SubscribeRequest.Start(pattern=channel, durable=name, credit=MAX_PUBLISH_MESSAGES)
    await call.write(bus_pb2.SubscribeRequest(start=start))
    held = 0
    while held < len(sequences):
        held += len((await asyncio.wait_for(call.read(), PATIENCE)).deliveries.messages)
    if letters:
        frame = durable_pb2.Terminate(sequences=sequences[:letters], reason="never")
        await services.bus.Settle(durable_pb2.SettleRequest(durable=name, terminate=frame), timeout=PATIENCE)
    call.cancel()
    return name, sequences


async def _prepare_nothing(_: Services) -> None:
    return None


Prepare = Callable[[Services], Awaitable[Any]]


async def _settle(kind: str, options: dict[str, Any], services: Services, held: tuple[str, list[int]]) -> None:
    name, sequences = held
    frame = {"sequences": sequences[:MAX_SETTLED_MESSAGES], **options}
    await services.bus.Settle(durable_pb2.SettleRequest(durable=name, **{kind: frame}), timeout=PATIENCE)


async def _settle_every_other(services: Services, held: tuple[str, list[int]]) -> None:
    name, sequences = held
    frame = durable_pb2.Nak(sequences=sequences[::2], delay={"seconds": 3_600})
    await services.bus.Settle(durable_pb2.SettleRequest(durable=name, nak=frame), timeout=PATIENCE)


async def _subscribe(kind: str, services: Services, held: tuple[str, list[int]]) -> None:
    """Frames of a subscription: as many sequences as one names, each of its own message."""
    name, sequences = held
    call = grpc_stream(services.bus_program, "BusService/Subscribe")
    start = bus_pb2.SubscribeRequest.Start(pattern=f"held:{name}", durable=name, credit=1)
    frame = bus_pb2.SubscribeRequest(**{kind: {"sequences": sequences}} if kind != "credit" else {})
    if kind == "credit":
        frame.credit.messages = 2**31 - 1
    asked = [bus_pb2.SubscribeRequest(start=start), frame]
    await call.write(asked[0].SerializeToString())
    await asyncio.wait_for(call.read(), PATIENCE)
    await call.write(asked[1].SerializeToString())
    await asyncio.sleep(0.3)  # most frames are not answered
    call.cancel()


async def _listing(call: str, request: Any, services: Services) -> None:
    request = type(request).FromString(request.SerializeToString())
    while True:
        answer = await getattr(services.bus, call)(request, timeout=PATIENCE)
        request.page_token = getattr(answer, "next_page_token", "")
        if not request.page_token:
            return


async def _prepare_subscriptions(services: Services) -> Any:
    call = _connect(services)
    items = [{"id": id, "subscribe": {"start": {"pattern": f"many:{id}:*"}}} for id in range(1, 5_001)]
    await call.write(bus_pb2.OpenStreamRequest(items=items).SerializeToString())
    started = 0
    while started < 5_000:
        started += len(bus_pb2.OpenStreamResponse.FromString(await call.read()).items)
    return call


async def _list_subscriptions(services: Services, call: Any) -> None:
    await _listing("ListSubscriptions", bus_pb2.ListSubscriptionsRequest(page_size=1_000), services)
    await services.bus.GetStats(bus_pb2.GetStatsRequest(), timeout=PATIENCE)


async def _explain(services: Services, _: Any) -> None:
    """Many subscriptions, none of which wants it, and durable ones."""
    await services.bus.Explain(inspection_pb2.ExplainRequest(channel="waits:nobody"), timeout=PATIENCE)


async def _stuck(services: Services, _: Any) -> None:
    wanted = inspection_pb2.StuckRequest(older_than={"seconds": 0}, limit=1_000)
    await services.bus.Stuck(wanted, timeout=PATIENCE)


async def _trace(services: Services, _: Any) -> None:
    """Of an id that nobody knows: all that is remembered and all that waits is looked at."""
    await services.bus.Trace(inspection_pb2.TraceRequest(message_id="waits-unknown"), timeout=PATIENCE)
    await services.bus.Trace(inspection_pb2.TraceRequest(correlation_id="waits-unknown"), timeout=PATIENCE)


async def _tail(services: Services, _: Any) -> None:
    call = services.bus.Tail(inspection_pb2.TailRequest(pattern=">"))
    assert (await call.read()).HasField("started")
    call.cancel()
    call.cancel()


async def _create(services: Services, held: tuple[str, list[int]]) -> None:
    """From the first message on, over everything that is kept."""
    for pattern in (">", f"held:{held[0]}"):
        name = _name().replace(":", "-")
        wanted = durable_pb2.CreateDurableSubscriptionRequest(name=name, pattern=pattern, position={"all": True})
        await services.bus.CreateDurableSubscription(wanted, timeout=PATIENCE)
        gone = durable_pb2.DeleteDurableSubscriptionRequest(name=name)
        await services.bus.DeleteDurableSubscription(gone, timeout=PATIENCE)


async def _seek(services: Services, held: tuple[str, list[int]]) -> None:
    position = durable_pb2.Position(all=True)
    wanted = durable_pb2.SeekDurableSubscriptionRequest(name=held[0], position=position)
    await services.bus.SeekDurableSubscription(wanted, timeout=PATIENCE)


async def _get(services: Services, held: tuple[str, list[int]]) -> None:
    await services.bus.GetDurableSubscription(durable_pb2.GetDurableSubscriptionRequest(name=held[0]))
    await _listing("ListDurableSubscriptions", durable_pb2.ListDurableSubscriptionsRequest(page_size=1_000), services)


async def _delete(services: Services, held: tuple[str, list[int]]) -> None:
    await services.bus.DeleteDurableSubscription(durable_pb2.DeleteDurableSubscriptionRequest(name=held[0]))


async def _list_letters(services: Services, held: tuple[str, list[int]]) -> None:
    wanted = dead_letter_pb2.ListDeadLettersRequest(
        filter={"channel": f"held:{held[0]}", "error_contains": "e" * MiB}, page_size=1_000
    )
    await _listing("ListDeadLetters", wanted, services)
    wanted.filter.error_contains = "never"
    await _listing("ListDeadLetters", wanted, services)


async def _get_letter(services: Services, held: tuple[str, list[int]]) -> None:
    wanted = dead_letter_pb2.ListDeadLettersRequest(filter={"durable": held[0]}, page_size=1)
    answer = await services.bus.ListDeadLetters(wanted, timeout=PATIENCE)
    id = answer.dead_letters[0].dead_letter_id
    await services.bus.GetDeadLetter(dead_letter_pb2.GetDeadLetterRequest(dead_letter_id=id), timeout=PATIENCE)


async def _redrive(services: Services, held: tuple[str, list[int]]) -> None:
    wanted = dead_letter_pb2.RedriveDeadLettersRequest(filter={"durable": held[0]}, limit=MAX_REDRIVEN)
    assert (await services.bus.RedriveDeadLetters(wanted, timeout=PATIENCE)).redriven == MAX_REDRIVEN


async def _purge(services: Services, held: tuple[str, list[int]]) -> None:
    wanted = dead_letter_pb2.PurgeDeadLettersRequest(filter={"durable": held[0]})
    assert (await services.bus.PurgeDeadLetters(wanted, timeout=PATIENCE)).purged == MAX_REDRIVEN


_dead: Final[Prepare] = partial(_durable, letters=MAX_REDRIVEN)


async def _refused(call: Awaitable[object], code: grpc.StatusCode) -> None:
    """What is asked of something that is not there."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code


_EVENTS: Final = [{"progress": {"text": "x"}}] * MAX_REPORTED_EVENTS


async def _request_stream(services: Services) -> None:
    """Nobody listens, which is said at once."""
    message = _message(1, MAX_MESSAGE_BYTES - 200)
    wanted = bus_pb2.RequestStreamRequest(request={"channel": _name(), "message": message})
    call = services.bus.RequestStream(wanted, timeout=PATIENCE)
    await _refused(call.read(), grpc.StatusCode.FAILED_PRECONDITION)


async def _respond(services: Services) -> None:
    """To a request that nobody knows."""
    said = bus_pb2.RespondRequest(request_id="?", events=_EVENTS)
    await _refused(services.bus.Respond(said, timeout=PATIENCE), grpc.StatusCode.NOT_FOUND)


async def _cancel_request(services: Services) -> None:
    said = bus_pb2.CancelRequest(request_id="?", reason="r" * MiB)
    await _refused(services.bus.Cancel(said, timeout=PATIENCE), grpc.StatusCode.NOT_FOUND)


async def _subscribe_and_say(services: Services, start: dict[str, Any], frame: dict[str, Any]) -> None:
    call = grpc_stream(services.bus_program, "BusService/Subscribe")
    for said in ({"start": start}, frame):
        await call.write(bus_pb2.SubscribeRequest(**said).SerializeToString())
    await asyncio.wait_for(call.read(), PATIENCE)
    await asyncio.sleep(0.3)  # most frames are not answered
    call.cancel()


async def _waiting(services: Services) -> str:
    """Two durable subscriptions of one channel; as many messages as one publish has wait in the first."""
    name = _name().replace(":", "-")
    for each in (name, f"{name}-2"):
        wanted = durable_pb2.CreateDurableSubscriptionRequest(name=each, pattern=f"held:{name}")
        await services.bus.CreateDurableSubscription(wanted, timeout=PATIENCE)
    messages = [_message(1) for _ in range(MAX_PUBLISH_MESSAGES)]
    request = bus_pb2.PublishRequest(channel=f"held:{name}", messages=messages, durability=STORED)
    await services.bus.Publish(request, timeout=PATIENCE)
    return name


async def _list_waiting(services: Services, name: str) -> None:
    filter = {"message_type": "none"}
    for wanted in ({}, filter):
        request = waiting_pb2.ListWaitingMessagesRequest(durable=name, filter=wanted, page_size=1_000)
        await _listing("ListWaitingMessages", request, services)


async def _cancel_waiting(services: Services, name: str) -> None:
    wanted = waiting_pb2.CancelWaitingMessagesRequest(durable=name, filter={})
    await services.bus.CancelWaitingMessages(wanted, timeout=PATIENCE)


async def _move_waiting(services: Services, name: str) -> None:
    wanted = waiting_pb2.MoveWaitingMessagesRequest(durable=name, filter={}, to_durable=f"{name}-2")
    await services.bus.MoveWaitingMessages(wanted, timeout=PATIENCE)


async def _pause(services: Services, name: str) -> None:
    await services.bus.PauseDurableSubscription(durable_pb2.PauseDurableSubscriptionRequest(name=name))
    await services.bus.ResumeDurableSubscription(durable_pb2.ResumeDurableSubscriptionRequest(name=name))
    wanted = durable_pb2.UpdateDurableSubscriptionRequest(name=name, settings={"max_leased": 1, "rate": 1_000})
    await services.bus.UpdateDurableSubscription(wanted)


async def _task(services: Services) -> tuple[str, int]:
    """A task that somebody holds: its id, which is its durable subscription's name, and its sequence."""
    id = _name().replace(":", "-")
    wanted = durable_pb2.CreateDurableSubscriptionRequest(name=id, pattern=f"held:{id}")
    await services.bus.CreateDurableSubscription(wanted, timeout=PATIENCE)
    submitted = task_pb2.SubmitTaskRequest(channel=f"held:{id}", message={"message_id": id, "json": "1"})
    sequence = (await services.bus.SubmitTask(submitted, timeout=PATIENCE)).sequence
    call = services.bus.Subscribe()
    await call.write(bus_pb2.SubscribeRequest(start={"pattern": f"held:{id}", "durable": id, "credit": 1}))
    while not (await asyncio.wait_for(call.read(), PATIENCE)).HasField("deliveries"):
        pass
    call.cancel()
    return id, sequence


async def _report(services: Services, task: tuple[str, int], *events: dict[str, Any]) -> None:
    frame = {"sequence": task[1], "attempt": 1, "events": events}
    await services.bus.Settle(durable_pb2.SettleRequest(durable=task[0], report=frame), timeout=PATIENCE)


async def _get_task(services: Services, task: tuple[str, int]) -> None:
    part = {"part": {"message": {"json": "x" * 1_000}}}
    await _report(services, task, *[part] * 1_000)
    await services.bus.GetTask(task_pb2.GetTaskRequest(task_id=task[0], after_event=0), timeout=PATIENCE)
    await services.bus.CancelTask(task_pb2.CancelTaskRequest(task_id=task[0], reason="r" * MiB), timeout=PATIENCE)


async def _tasks(services: Services) -> str:
    name = await _waiting(services)
    for n in range(1_000):
        message = {"message_id": f"{name}-{n}", "json": "1"}
        wanted = task_pb2.SubmitTaskRequest(channel=f"held:{name}", durable=name, message=message)
        await services.bus.SubmitTask(wanted, timeout=PATIENCE)
    return name


async def _list_tasks(services: Services, name: str) -> None:
    await _listing("ListTasks", task_pb2.ListTasksRequest(durable=name, page_size=1_000), services)
    await _listing("ListTasks", task_pb2.ListTasksRequest(channel="no:>", page_size=1_000), services)


async def _submit(services: Services, task: tuple[str, int]) -> None:
    message = _message(1, MAX_MESSAGE_BYTES - 200)
    wanted = task_pb2.SubmitTaskRequest(channel=f"held:{task[0]}", message=message)
    await services.bus.SubmitTask(wanted, timeout=PATIENCE)


# The state service.


def _agent(id: int, size: int = 1) -> dict[str, Any]:
    metadata = '{"x": "' + "y" * size + '"}'
    return {"agent_id": f"waits-{id}", "agent_type": "t", "status": "idle", "metadata_json": metadata}


def _workflow(id: int) -> dict[str, Any]:
    return {"workflow_id": f"waits-{id}", "error_log_json": ['{"x": "y"}'] * MAX_RECORD_ENTRIES}


AGENTS: Final = state_pb2.RECORD_KIND_AGENT_STATE
GET: Final = {"get": {"kind": AGENTS, "id": "waits-1"}}
SAVE: Final[dict[str, Any]] = {"save": {}}


def _batch(what: dict[str, Any], *, atomic: bool = False) -> state_pb2.BatchRequest:
    """As many operations as one batch may have."""
    if what is SAVE:
        operations = [{"save": {"agent_state": _agent(number)}} for number in range(MAX_BATCH_OPERATIONS)]
    else:
        operations = [what] * MAX_BATCH_OPERATIONS
    return state_pb2.BatchRequest(operations=operations, atomic=atomic)


async def _prepare_records(services: Services) -> None:
    await services.state.Batch(_batch(SAVE), timeout=PATIENCE)


async def _list_records(services: Services, _: None) -> None:
    request = state_pb2.ListRequest(kind=AGENTS, page_size=1_000)
    while True:
        request.page_token = (await services.state.List(request, timeout=PATIENCE)).next_page_token
        if not request.page_token:
            return


async def _watch(services: Services, _: None) -> None:
    call = services.state.Watch(state_pb2.WatchRequest(kinds=[AGENTS]))
    while (await asyncio.wait_for(call.read(), PATIENCE)).WhichOneof("frame") != "synced":
        pass
    call.cancel()


async def _connect_state(services: Services, *items: dict[str, Any]) -> None:
    """Sends one frame on an OpenStateStream stream, and waits until all of it is answered, or refused."""
    frame = state_pb2.OpenStateStreamRequest(items=items).SerializeToString()
    left = [len(items)]

    def is_done(raw: bytes) -> bool:
        left[0] -= len(state_pb2.OpenStateStreamResponse.FromString(raw).items)
        return left[0] <= 0

    call = grpc_stream(services.state_program, "StateService/OpenStateStream")
    await _refusable(_spoken(call, [frame], is_done))


LEASES: Final = 2_000


async def _prepare_leases(services: Services) -> None:
    for number in range(LEASES):
        wanted = state_pb2.AcquireLeaseRequest(name=_name(), holder="waits", ttl={"seconds": 3_600})
        wanted.metadata_json = '{"x": "' + "y" * number + '"}'
        await services.state.AcquireLease(wanted, timeout=PATIENCE)


async def _acquire(services: Services, _: None) -> None:
    """One that is large, renewed, listed among many, and released."""
    name = _name()
    wanted = state_pb2.AcquireLeaseRequest(name=name, holder="waits", ttl={"seconds": 3_600})
    wanted.metadata_json = '{"x": "' + "y" * MiB + '"}'
    number = (await services.state.AcquireLease(wanted, timeout=PATIENCE)).lease.number
    lease = {"name": name, "number": number}
    await services.state.RenewLease(state_pb2.RenewLeaseRequest(lease=lease), timeout=PATIENCE)
    request = state_pb2.ListLeasesRequest(page_size=1_000)
    while True:
        request.page_token = (await services.state.ListLeases(request, timeout=PATIENCE)).next_page_token
        if not request.page_token:
            break
    await services.state.ReleaseLease(state_pb2.ReleaseLeaseRequest(lease=lease), timeout=PATIENCE)


async def _touch(services: Services, _: None) -> None:
    request = state_pb2.TouchRequest(kind=AGENTS, id="nobody")
    await _refused(services.state.Touch(request, timeout=PATIENCE), grpc.StatusCode.NOT_FOUND)


async def _many_items(kind: str, item: dict[str, Any], services: Services, _: None) -> None:
    await _connect_state(services, *({"id": id, kind: item} for id in range(1, 20_001)))


# Every call, and every item of the multiplexed streams: what makes its input possible, and its largest inputs. Calls of
# which one case makes use together stand side by side.

AS_ONE: Final = "saves as one"
"""All of a batch in one transaction, which is one commit: another client's save is committed behind it, which is some
tenths of a second of the database's own work. Reads go on."""

CASES: Final[dict[str, tuple[Prepare, dict[str, Callable[..., Awaitable[object]]]]]] = {
    "Publish": (
        _prepare_nothing,
        {
            "many": lambda services, _: _publish(services, _many(MEMORY)),
            "many stored": lambda services, _: _publish(services, _many(STORED)),
            "many expired": lambda services, _: _publish(
                services, _many(STORED, ttl_seconds=1, timestamp={"seconds": 1})
            ),
            "many held back": lambda services, _: _publish(services, _many(STORED, deliver_after={"seconds": 3_600})),
            "large": lambda services, _: _publish(services, _large(MEMORY)),
            "large stored": lambda services, _: _publish(services, _large(STORED)),
            "too many": lambda services, _: _refusable(
                services.bus.Publish(bus_pb2.PublishRequest(channel="a", messages=[{}] * 4_000_000))
            ),
        },
    ),
    "PublishStream": (
        _prepare_nothing,
        {
            "many": lambda services, _: _publish_stream(services, _many(STORED), 3),
            "large": lambda services, _: _publish_stream(services, _large(MEMORY), 1),
        },
    ),
    "Subscribe.start Subscribe.credit": (_durable, {"most": partial(_subscribe, "credit")}),
    "Subscribe.ack": (_durable, {"many": partial(_subscribe, "ack")}),
    "Subscribe.nak": (_durable, {"many": partial(_subscribe, "nak")}),
    "Subscribe.terminate": (_durable, {"many": partial(_subscribe, "terminate")}),
    "Subscribe.extend": (_durable, {"many": partial(_subscribe, "extend")}),
    "Subscribe.release": (_durable, {"many": partial(_subscribe, "release")}),
    "Subscribe.respond": (
        _prepare_nothing,
        {
            "many": lambda services, _: _subscribe_and_say(
                services,
                {"pattern": "r:*", "responder": True},
                {"respond": {"request_id": "?", "events": _EVENTS}},
            )
        },
    ),
    "Subscribe.report": (
        _task,
        {
            "many": lambda services, task: _subscribe_and_say(
                services,
                {"pattern": f"held:{task[0]}", "durable": task[0]},
                {"report": {"sequence": task[1], "attempt": 1, "events": _EVENTS}},
            )
        },
    ),
    "RequestStream": (_prepare_nothing, {"large": lambda services, _: _request_stream(services)}),
    "Respond": (_prepare_nothing, {"many": lambda services, _: _respond(services)}),
    "Cancel": (_prepare_nothing, {"large": lambda services, _: _cancel_request(services)}),
    "ListWaitingMessages": (_waiting, {"all": _list_waiting}),
    "CancelWaitingMessages": (_waiting, {"all": _cancel_waiting}),
    "MoveWaitingMessages": (_waiting, {"all": _move_waiting}),
    "PauseDurableSubscription ResumeDurableSubscription UpdateDurableSubscription": (_waiting, {"one": _pause}),
    "SubmitTask": (_task, {"large": _submit}),
    "GetTask CancelTask": (_task, {"most events": _get_task}),
    "ListTasks": (_tasks, {"all": _list_tasks}),
    "Settle.report": (_task, {"many": lambda services, task: _report(services, task, *_EVENTS)}),
    "Request": (_prepare_nothing, {"large": lambda services, _: _request(services)}),
    "OpenStream.publish": (
        _prepare_nothing,
        {
            "many": lambda services, _: _connected(
                services,
                _items(*({"publish": {"channel": "a", "messages": [{"json": "1"}]}} for _ in range(MAX_FRAME_ITEMS))),
            ),
            "large": lambda services, _: _connected(services, _items({"id": 1, "publish": _large(MEMORY)})),
            "large items": lambda services, _: _connected(
                services,
                _items(
                    *(
                        {"publish": {"channel": "a", "messages": [{"json": "x" * (MAX_MESSAGE_BYTES - 200)}]}}
                        for _ in range(15)
                    )
                ),
            ),
        },
    ),
    "OpenStream.request": (
        _prepare_nothing,
        {
            "many": lambda services, _: _connected(
                services,
                _items(
                    *(
                        {"id": id, "request": {"channel": "nobody", "message": {}, "timeout": {"seconds": 9}}}
                        for id in range(1, MAX_FRAME_ITEMS)
                    )
                ),
            )
        },
    ),
    "OpenStream.request_stream": (
        _prepare_nothing,
        {
            "many": lambda services, _: _connected(
                services,
                _items(
                    *(
                        {
                            "id": id,
                            "request_stream": {
                                "request": {"channel": "nobody", "message": {}, "timeout": {"seconds": 9}}
                            },
                        }
                        for id in range(1, MAX_FRAME_ITEMS)
                    )
                ),
            )
        },
    ),
    "OpenStream.request_credit": (
        _prepare_nothing,
        {
            "many": lambda services, _: _connected(
                services, _items(*[{"id": 1, "request_credit": {"parts": 1}}] * MAX_FRAME_ITEMS)
            )
        },
    ),
    "OpenStream.subscribe": (
        _prepare_nothing,
        {
            "many": lambda services, _: _connected(
                services,
                _items(*({"id": id, "subscribe": {"start": {"pattern": f"s:{id}"}}} for id in range(1, 10_001))),
            )
        },
    ),
    "OpenStream.cancel": (
        _prepare_nothing,
        {"many": lambda services, _: _connected(services, _items(*[{"id": 1, "cancel": {}}] * MAX_FRAME_ITEMS))},
    ),
    "OpenStream.ping": (
        _prepare_nothing,
        {
            "many": lambda services, _: _connected(services, _items(*[{"id": 1, "ping": {}}] * MAX_FRAME_ITEMS)),
            "empty ones": lambda services, _: _connected(services, _items(*[{"id": 1}] * MAX_FRAME_ITEMS)),
            "millions of empty ones": lambda services, _: _connected(services, b"\x0a\x00" * (20 * MiB)),
        },
    ),
    "ListSubscriptions GetStats": (_prepare_subscriptions, {"all": _list_subscriptions}),
    "Explain Tail": (_prepare_subscriptions, {"among many": _explain, "begin": _tail}),
    "Stuck": (_prepare_subscriptions, {"among many": _stuck}),
    "Trace": (_durable, {"among many": _trace}),
    "CreateDurableSubscription": (_durable, {"all": _create}),
    "GetDurableSubscription ListDurableSubscriptions": (_durable, {"all": _get}),
    "DeleteDurableSubscription": (_durable, {"full": _delete}),
    "SeekDurableSubscription": (_durable, {"all": _seek}),
    "Settle.ack": (_durable, {"many": partial(_settle, "ack", {})}),
    "Settle.nak": (
        _durable,
        {
            "many": partial(_settle, "nak", {"delay": {"seconds": 3_600}, "error": "e" * 4_096}),
            "every other": _settle_every_other,
        },
    ),
    "Settle.terminate": (_durable, {"many": partial(_settle, "terminate", {"reason": "r" * 4_096})}),
    "Settle.extend": (_durable, {"many": partial(_settle, "extend", {"lease": {"seconds": 3_600}})}),
    "Settle.release": (_durable, {"many": partial(_settle, "release", {})}),
    "ListDeadLetters": (_dead, {"all": _list_letters}),
    "GetDeadLetter": (_dead, {"one": _get_letter}),
    "RedriveDeadLetters": (_dead, {"many": _redrive}),
    "PurgeDeadLetters": (_dead, {"many": _purge}),
    "Save": (
        _prepare_nothing,
        {
            "large": lambda services, _: services.state.Save(
                state_pb2.SaveRequest(agent_state=_agent(1, MAX_MESSAGE_BYTES - 200)), timeout=PATIENCE
            ),
            "many entries": lambda services, _: services.state.Save(
                state_pb2.SaveRequest(workflow_state=_workflow(1)), timeout=PATIENCE
            ),
        },
    ),
    "Get": (
        _prepare_records,
        {"one": lambda services, _: services.state.Get(state_pb2.GetRequest(kind=AGENTS, id="waits-1"))},
    ),
    "List": (_prepare_records, {"all": _list_records}),
    "Delete": (
        _prepare_records,
        {"one": lambda services, _: services.state.Delete(state_pb2.DeleteRequest(kind=AGENTS, id="waits-1"))},
    ),
    "Batch": (
        _prepare_records,
        {
            "saves": lambda services, _: services.state.Batch(_batch(SAVE), timeout=PATIENCE),
            AS_ONE: lambda services, _: services.state.Batch(_batch(SAVE, atomic=True), timeout=PATIENCE),
            "gets": lambda services, _: services.state.Batch(_batch(GET), timeout=PATIENCE),
            "too many": lambda services, _: _refusable(
                services.state.Batch(state_pb2.BatchRequest(operations=[{}] * 4_000_000))
            ),
        },
    ),
    "Watch": (_prepare_records, {"all": _watch}),
    "OpenStateStream.save": (
        _prepare_nothing,
        {
            "many": lambda services, _: _connect_state(
                services, *({"id": id, "save": {"agent_state": _agent(id)}} for id in range(1, 20_001))
            )
        },
    ),
    "OpenStateStream.get": (
        _prepare_records,
        {
            "many": lambda services, _: _connect_state(
                services, *({"id": id, **GET} for id in range(1, MAX_FRAME_ITEMS + 1))
            )
        },
    ),
    "OpenStateStream.list": (
        _prepare_records,
        {
            "many": lambda services, _: _connect_state(
                services, *({"id": id, "list": {"kind": AGENTS, "page_size": 1_000}} for id in range(1, 65))
            )
        },
    ),
    "OpenStateStream.delete": (
        _prepare_records,
        {
            "many": lambda services, _: _connect_state(
                services,
                *({"id": id, "delete": {"kind": AGENTS, "id": f"waits-{id}"}} for id in range(1, 20_001)),
            )
        },
    ),
    "OpenStateStream.batch": (
        _prepare_records,
        {
            "gets": lambda services, _: _connect_state(
                services, *({"id": id, "batch": _batch(GET)} for id in range(1, 4))
            )
        },
    ),
    "AcquireLease RenewLease ReleaseLease ListLeases": (_prepare_leases, {"large": _acquire}),
    "Touch": (_prepare_nothing, {"one": _touch}),
    "OpenStateStream.touch": (
        _prepare_nothing,
        {"many": partial(_many_items, "touch", {"kind": AGENTS, "id": "nobody"})},
    ),
    "OpenStateStream.renew_lease": (
        _prepare_nothing,
        {"many": partial(_many_items, "renew_lease", {"lease": {"name": "nobody", "number": 1}})},
    ),
    "OpenStateStream.release_lease": (
        _prepare_nothing,
        {"many": partial(_many_items, "release_lease", {"lease": {"name": "nobody", "number": 1}})},
    ),
    "GetStateStats": (
        _prepare_records,
        {"one": lambda services, _: services.state.GetStateStats(state_pb2.GetStateStatsRequest())},
    ),
}


def _declared() -> Iterator[str]:
    """Every call of both services; of those that take one of several things at a time, each of these."""
    for file in (bus_pb2, state_pb2):
        (service,) = file.DESCRIPTOR.services_by_name.values()
        for method in service.methods:
            message = method.input_type
            if (items := message.fields_by_name.get("items")) is not None:
                message = items.message_type
            choice = message.oneofs_by_name.get("item") or message.oneofs_by_name.get("frame")
            if choice is None:
                yield method.name
            else:
                yield from (f"{method.name}.{field.name}" for field in choice.fields)


def test_every_call_has_a_case_here() -> None:
    """A new call, or a new item of a stream, without one fails here."""
    assert sorted(call for calls in CASES for call in calls.split()) == sorted(_declared())


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningProgram, RunningProgram]]:
    """In processes of their own, so that what is measured is theirs."""
    directory: Path = tmp_path_factory.mktemp("waits")
    bus = RunningProgram("bus", "--path", str(directory / "bus.db"))
    state = RunningProgram("state", "--engine", "sqlite", "--path", str(directory / "state.db"))
    try:
        yield bus.start(), state.start()
    finally:
        bus.end()
        state.end()


@pytest.fixture(scope="module")
def bystander(programs: tuple[RunningProgram, RunningProgram]) -> Iterator[Bystander]:
    with Bystander(*programs) as bystander:
        yield bystander


@pytest.fixture
async def services(programs: tuple[RunningProgram, RunningProgram]) -> AsyncIterator[Services]:
    bus_program, state_program = programs
    async with (
        grpc.aio.insecure_channel(bus_program.address, options=OPTIONS) as bus,
        grpc.aio.insecure_channel(state_program.address, options=OPTIONS) as state,
    ):
        _channels.update({bus_program.address: bus, state_program.address: state})
        stubs = bus_pb2_grpc.BusServiceStub(bus), state_pb2_grpc.StateServiceStub(state)
        yield Services(bus_program, state_program, *stubs)


@pytest.mark.parametrize(("calls", "what"), [(calls, what) for calls, (_, kinds) in CASES.items() for what in kinds])
async def test_another_client_goes_on(services: Services, bystander: Bystander, calls: str, what: str) -> None:
    """Beside the largest input of a call."""
    prepare, kinds = CASES[calls]
    more: list[float] = []
    while not more or min(more) > MOST_MORE:
        assert len(more) < TRIES, f"each time another client waited for longer: {more}"
        prepared = await prepare(services)
        async with bystander.asking(READS if what == AS_ONE else SAVES):
            await asyncio.sleep(0.2)
            alone = await bystander.longest()
            await kinds[what](services, prepared)
            more.append(await bystander.longest() - alone)


async def test_a_frame_of_millions_of_items_takes_no_memory(services: Services) -> None:
    """It is refused before it is decoded."""
    process = psutil.Process(services.bus_program.pid)
    before = process.memory_info().rss
    highest = before
    sent = asyncio.ensure_future(_connected(services, b"\x0a\x00" * (30 * MiB)))
    while not sent.done():
        highest = max(highest, process.memory_info().rss)
        await asyncio.sleep(0.005)
    await sent
    assert highest - before < MOST_MEMORY
