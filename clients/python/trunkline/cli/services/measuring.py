"""Measuring: what the bus and the state service of a deployment do for one process. Nothing is left behind there."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from trunkline import AgentMessage, Delete, GrpcMessageBus, GrpcStateManager, MessageType, Save, TaskResult, TaskStatus
from trunkline.cli.settings import CONNECT_SECONDS

KEYS: Final = 1_000
"""Records that saves and gets go round in."""

IDLE_SECONDS: Final = 2.0
"""Live messages that have not come when none has come for so long are lost."""

CALL_SECONDS: Final = 10.0
"""What one request, or one call of the state service, may take."""

_BATCH: Final = 256
"""Live messages that are published before the subscriber gets its turn in this process."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much is done of each work.

    Args:
        count: operations at the most.
        seconds: how long operations are begun.
        in_flight: calls that wait for their answers at once; of live messages there are no answers.
        size: bytes of a payload as JSON.
    """

    count: int
    seconds: float
    in_flight: int
    size: int

    @property
    def payload(self) -> dict[str, Any]:
        """The payload of each message and record."""
        return {"data": "x" * max(0, self.size - len('{"data":""}'))}


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came of one work.

    Args:
        work: its name.
        done: operations that were answered; live messages that arrived.
        seconds: from the first call to the last answer.
        cpu_seconds: of this process, which for messages is publisher and subscriber, requester and responder.
        lost: live messages that were published and did not arrive.
        latencies: seconds of each call; none of live messages.
    """

    work: str
    done: int
    seconds: float
    cpu_seconds: float
    lost: int = 0
    latencies: Sequence[float] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; latencies in milliseconds, CPU in microseconds for each operation."""
        latencies = self.latencies
        return {
            "work": self.work,
            "done": self.done,
            "seconds": round(self.seconds, 3),
            "per_second": round(self.done / self.seconds, 1),
            "cpu_us": round(self.cpu_seconds / self.done * 1e6, 1) if self.done else None,
            "median_ms": round(statistics.median(latencies) * 1e3, 3) if latencies else None,
            "p99_ms": round(statistics.quantiles(latencies, n=100)[98] * 1e3, 3) if len(latencies) > 1 else None,
            "lost": self.lost,
        }


async def live(address: str, load: Load) -> Measurement:
    """Measures live messages, from the publisher to a subscriber's callback, a connection each."""
    channel, payload = f"bench:{_name()}", load.payload
    received, ended = 0, 0.0
    arrived = asyncio.Event()

    async def on_message(_: AgentMessage) -> None:
        nonlocal received, ended
        received += 1
        ended = time.perf_counter()
        arrived.set()

    async with _bus(address) as publisher, _bus(address) as subscriber:
        await subscriber.subscribe(channel, on_message)
        published, began, cpu = 0, time.perf_counter(), time.process_time()
        while published < load.count and time.perf_counter() - began < load.seconds:
            for _ in range(min(_BATCH, load.count - published)):
                await publisher.publish(channel, _message(payload))
                published += 1
            await asyncio.sleep(0)
        await publisher.flush()
        while received < published:
            arrived.clear()
            try:
                await asyncio.wait_for(arrived.wait(), IDLE_SECONDS)
            except TimeoutError:
                break
        used = time.process_time() - cpu
    return Measurement("live", received, max(ended - began, 1e-9), used, published - received)


async def request(address: str, load: Load) -> Measurement:
    """Measures requests that a responder of this process answers, a connection each."""
    channel, payload = f"bench:{_name()}", load.payload
    async with _bus(address) as requester, _bus(address) as responder:

        async def on_request(message: AgentMessage) -> None:
            reply = message.create_response("bench", MessageType.TASK_RESULT, message.payload)
            await responder.publish(f"{channel}:reply", reply)

        async def call(_: int) -> object:
            return await requester.request(channel, _message(payload), CALL_SECONDS)

        await responder.subscribe(channel, on_request)
        return await _drive("request", call, load)


async def stored(address: str, load: Load) -> Measurement:
    """Measures stored publishes, each until its receipt: the message is on the service's disk. A durable subscription
    keeps the messages until the end; with it they are deleted."""
    name = f"bench-{_name()}"
    channel, payload = f"bench:{name}", load.payload
    async with _bus(address) as bus:

        async def call(_: int) -> object:
            return await bus.publish(channel, _message(payload), stored=True)

        await bus.create_durable(name, channel)
        try:
            return await _drive("stored", call, load)
        finally:
            await bus.delete_durable(name)


async def save(address: str, load: Load) -> Measurement:
    """Measures saves of records, each until it is answered. The records are deleted at the end."""
    async with _records(address, load) as (state, records):

        async def call(number: int) -> object:
            return await state.save_task_result(records[number % len(records)])

        return await _drive("save", call, load)


async def get(address: str, load: Load) -> Measurement:
    """Measures reads of records. The records are deleted at the end."""
    async with _records(address, load) as (state, records):

        async def call(number: int) -> object:
            return await state.get_task_result(records[number % len(records)].task_id)

        await state.batch([Save(record) for record in records])
        return await _drive("get", call, load)


WORKS: Final[Mapping[str, Callable[[str, Load], Awaitable[Measurement]]]] = {
    work.__name__: work for work in (live, request, stored, save, get)
}
"""Each measures at the address of its service."""


async def _drive(work: str, call: Callable[[int], Awaitable[object]], load: Load) -> Measurement:
    """Calls as often as the load says, with so many calls at once; the first error of a call ends it."""
    numbers = iter(range(load.count))
    latencies: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()

    async def work_on() -> None:
        for number in numbers:
            start = time.perf_counter()
            if start - began >= load.seconds:
                return
            await call(number)
            latencies.append(time.perf_counter() - start)

    workers = [asyncio.create_task(work_on()) for _ in range(min(load.in_flight, load.count))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return Measurement(work, len(latencies), seconds, used, latencies=latencies)


@asynccontextmanager
async def _records(address: str, load: Load) -> AsyncIterator[tuple[GrpcStateManager, list[TaskResult]]]:
    """A state service, and records to save, which are deleted from it at the end."""
    name = _name()
    records = [
        TaskResult(
            task_id=f"bench-{name}-{number}",
            agent_id="bench",
            status=TaskStatus.COMPLETED,
            output_data=load.payload,
        )
        for number in range(min(KEYS, load.count))
    ]
    async with GrpcStateManager(address, connect_timeout=CONNECT_SECONDS, timeout=CALL_SECONDS) as state:
        try:
            yield state, records
        finally:
            await state.batch([Delete("task_result", record.task_id) for record in records])


def _bus(address: str) -> GrpcMessageBus:
    return GrpcMessageBus(address, connect_timeout=CONNECT_SECONDS)


def _message(payload: dict[str, Any]) -> AgentMessage:
    return AgentMessage(message_type=MessageType.TASK_RESULT, sender_id="bench", payload=payload)


def _name() -> str:
    """A name that no other measurement on the same deployment has."""
    return uuid4().hex[:12]
