"""Memory: what each connection, subscription, message that waits and record takes of a program, beyond its rest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc

from scripts.bench.contender import ours
from scripts.bench.payload import CHANNEL, TEXT
from scripts.bench.processes import RunFailedError
from scripts.bench.promise import Figure, Promise
from scripts.bench.promises.waiting import DEDUP
from scripts.bench.resources import peak_megabytes, resident_megabytes
from scripts.bench.stage import stage
from scripts.bench.works.backlog import fill
from trunkline import AgentMessage, AgentState, GrpcMessageBus, GrpcStateManager, Save
from trunkline.limits import MiB
from trunkline.programs import PROGRAMS, LocalStack, Program
from trunkline.v1 import bus_pb2, bus_pb2_grpc

FEW: Final = 50
"""Of each kind, made before it is weighed: a program's first ones fill what it has reserved."""

CONNECTIONS: Final = 500
SUBSCRIPTIONS: Final = 10_000
DURABLES: Final = 1_000
MESSAGES: Final = 100_000
"""That wait, or are known by their ids; fewer than one subscriber's queue holds."""
RECORDS: Final = 100_000
BATCH: Final = 1_000
SLOW: Final = 4
"""Subscribers that do not read, for which twice as many wait."""
QUEUES: Final = 128 * MiB
"""What all queues may take together: a quarter of 512 MiB."""

MOST_CONNECTION: Final = 120.0
MOST_SUBSCRIPTION: Final = 8.0
MOST_DURABLE: Final = 20.0
MOST_MESSAGE: Final = 0.6
MOST_ID: Final = 0.4
"""KB."""
MOST_FULL: Final = 2 * QUEUES / 1e6 + 105
MOST_RECORDS: Final = 40.0
"""MB; of records, SQLite's page caches, and the records that were read or written last (8 MiB)."""


class _Scale:
    """Weighs what a program takes more from now on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = resident_megabytes(pid)

    def megabytes(self) -> float:
        """All of it."""
        return resident_megabytes(self._pid) - self._before

    def each(self, title: str, count: int, bound: float) -> Figure:
        """For one of so many."""
        return Figure(title, "KB", self.megabytes() / count * 1_000, bound)


async def measure(_: int) -> Sequence[Figure]:
    """Of the three programs, by real clients."""
    with TemporaryDirectory(prefix="trunkline-bench-") as folder:
        async with LocalStack(folder, programs=PROGRAMS) as running:
            figures = [*await _connections(running)]
        async with LocalStack(folder) as running, GrpcMessageBus(running.bus_address) as client:
            bus, state = (running.programs[name] for name in ("bus", "state"))
            figures += await _subscriptions(client, bus.pid)
            figures.append(await _messages(client, bus))
            figures.append(await _records(state))
    return [*figures, await _ids(), await _full()]


async def _connections(running: LocalStack) -> Sequence[Figure]:
    """Of clients that do nothing."""
    figures = []
    async with AsyncExitStack() as clients:
        for name in PROGRAMS:
            program = running.programs[name]
            service = GrpcStateManager if name == "state" else GrpcMessageBus
            for _ in range(FEW):
                await clients.enter_async_context(service(program.address))
            scale = _Scale(program.pid)
            for _ in range(CONNECTIONS):
                await clients.enter_async_context(service(program.address))
            figures.append(scale.each(f"{name}: memory of a client's connection", CONNECTIONS, MOST_CONNECTION))
    return figures


async def _subscriptions(bus: GrpcMessageBus, pid: int) -> Sequence[Figure]:
    """Live ones of one client, each with a channel of its own; durable ones that nobody is subscribed to."""

    async def ignore(_: AgentMessage) -> None: ...

    for number in range(FEW):
        await bus.subscribe(f"few:{number}", ignore)
        await bus.create_durable(f"few-{number}", f"few:{number}")
    live = _Scale(pid)
    for number in range(SUBSCRIPTIONS):
        await bus.subscribe(f"many:{number}", ignore)
    figure = live.each("bus: memory of a live subscription", SUBSCRIPTIONS, MOST_SUBSCRIPTION)
    durable = _Scale(pid)
    for number in range(DURABLES):
        await bus.create_durable(f"many-{number}", f"many:{number}")
    return figure, durable.each("bus: memory of a durable subscription", DURABLES, MOST_DURABLE)


async def _messages(bus: GrpcMessageBus, program: Program) -> Figure:
    """Of 256 bytes, for a subscriber that does not read."""
    async with _stalled(program.address):
        await _publish(bus, BATCH)  # what gRPC takes ahead of who reads
        scale = _Scale(program.pid)
        await _publish(bus, MESSAGES)
        return scale.each("bus: memory of a live message that waits", MESSAGES, MOST_MESSAGE)


@asynccontextmanager
async def _stalled(address: str, channel: str = CHANNEL) -> AsyncIterator[None]:
    async with grpc.aio.insecure_channel(address) as line:
        stream: Any = bus_pb2_grpc.BusServiceStub(line).Subscribe()
        await stream.write(bus_pb2.SubscribeRequest(start=bus_pb2.SubscribeRequest.Start(pattern=channel)))
        await stream.read()  # Started
        yield
        stream.cancel()


async def _publish(bus: GrpcMessageBus, count: int, channel: str = CHANNEL) -> None:
    for start in range(0, count, BATCH):
        for _ in range(min(BATCH, count - start)):
            await bus.publish(channel, AgentMessage(message_type="work", sender_id="bench", payload={"data": TEXT}))
        await bus.flush()


async def _records(program: Program) -> Figure:
    async with GrpcStateManager(program.address) as state:
        scale = _Scale(program.pid)
        await save_records(state, "many", RECORDS)
    return Figure(f"state: memory with {RECORDS:,} records, beyond its rest", "MB", scale.megabytes(), MOST_RECORDS)


async def save_records(state: GrpcStateManager, name: str, count: int) -> None:
    """Saves so many agents with 256 bytes of their own."""
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        metadata = {"data": TEXT}
        await state.batch(
            [Save(AgentState(agent_id=f"{name}-{n}", agent_type="bench", metadata=metadata)) for n in numbers]
        )


async def _ids() -> Figure:
    """What a bus takes more that knows the ids of what it stored just now."""
    weights = []
    for window in (0, MESSAGES):
        async with stage(replace(ours(), environment={DEDUP: str(window)}), "bus") as place:
            await fill(place, MESSAGES)
            weights.append(resident_megabytes(place.pids[-1]))
    known = (weights[1] - weights[0]) / MESSAGES * 1_000
    return Figure("bus: memory of a message id that it knows", "KB", known, MOST_ID)


async def _full() -> Figure:
    """The most that a bus takes while more than its bound would wait, for slow subscribers of a channel each."""
    environment = {"TRUNKLINE_BUS_MAX_QUEUE_MEMORY_BYTES": str(QUEUES)}
    async with stage(replace(ours(), environment=environment), "bus") as place, AsyncExitStack() as slow:
        address = f"127.0.0.1:{place.port}"
        bus = await slow.enter_async_context(GrpcMessageBus(address))
        channels = [f"{CHANNEL}.{number}" for number in range(SLOW)]
        for channel in channels:
            await slow.enter_async_context(_stalled(address, channel))
        for channel in channels:
            await _publish(bus, 2 * MESSAGES, channel)
        peak = peak_megabytes(place.pids[-1])
        if not (await bus.statistics()).dropped.get("evicted"):
            raise RunFailedError(f"the queues of {SLOW} subscribers that do not read were never at their bound")
    return Figure(f"bus: most memory, its queues at their bound of {QUEUES // MiB} MiB", "MB", peak, MOST_FULL)


MEMORY = Promise("memory", measure)
