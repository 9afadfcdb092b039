"""A subscriber that stops reading delays nobody, costs bounded memory, and is told exactly what it lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from tests.bus.calls import subscribed
from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import AgentMessage, GrpcMessageBus
from trunkline.limits import CLIENT_WINDOW_MESSAGES, MAX_QUEUED_BYTES, MiB
from trunkline.v1 import bus_pb2_grpc

MESSAGES = int(os.environ.get("TRUNKLINE_TEST_MESSAGES", "200000"))
"""How many pass by who never reads; 1,000,000 takes half a minute on two cores."""

STOPPED_MESSAGES = 200_000
"""How many pass by a process that is stopped: few enough that its connection is not yet taken for dead."""

QUEUED = 50_000

PAYLOAD = "x" * 100
BASE_MEMORY = 100 * MiB
"""The program itself, and what the streams hold."""

Subscriber = asyncio.subprocess.Process
StartSubscriber = Callable[[str, str], asyncio.Future[Subscriber]]


def resident_memory(pid: int) -> int:
    """Bytes that a process holds in memory."""
    return _memory(pid, "VmRSS:")


def highest_resident_memory(pid: int) -> int:
    """The most bytes that it ever did."""
    return _memory(pid, "VmHWM:")


def _memory(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} is gone")


@pytest.fixture
async def start_subscriber() -> AsyncIterator[Callable[..., object]]:
    """Starts subscriber.py as a process that ends with the test."""
    started: list[Subscriber] = []

    async def start(address: str, channel: str) -> Subscriber:
        program = str(Path(__file__).with_name("subscriber.py"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, program, address, channel, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        started.append(process)
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE) == b"ready\n"
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        await process.wait()


async def _report(process: Subscriber) -> dict[str, int]:
    assert process.stdout is not None
    report: dict[str, int] = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    return report


async def test_a_process_that_is_stopped_harms_nobody(
    start_program: Callable[..., RunningProgram], start_subscriber: Callable[[str, str], asyncio.Future[Subscriber]]
) -> None:
    """While it is stopped, the other loses nothing, the service stays within its bound, and the count is exact."""
    program = start_program("bus", "--max-queued-messages", str(QUEUED), "--keepalive-timeout", "120")
    channel = f"isolation:{uuid4().hex}"
    stopped, other = await start_subscriber(program.address, channel), await start_subscriber(program.address, channel)
    stopped.send_signal(signal.SIGSTOP)
    largest = await _publish(program, channel, STOPPED_MESSAGES)
    last = STOPPED_MESSAGES - 1
    assert await _report(other) == {"count": STOPPED_MESSAGES, "lost": 0, "ordered": True, "last": last}
    stopped.send_signal(signal.SIGCONT)
    told = await _report(stopped)
    assert told["count"] + told["lost"] == STOPPED_MESSAGES
    assert told["lost"] > 0, "the test published enough to make it lag"
    assert told["count"] >= QUEUED - 1, "the report is one of those that waited"
    assert told["last"] == last
    assert told["ordered"]
    assert largest < BASE_MEMORY + MAX_QUEUED_BYTES


async def test_a_subscriber_that_never_reads_harms_nobody(
    start_program: Callable[..., RunningProgram], start_subscriber: Callable[[str, str], asyncio.Future[Subscriber]]
) -> None:
    """A subscriber that stops reading while very many messages pass: memory stays bounded, the other loses nothing,
    and it is told exactly how many it lost when it reads again."""
    program = start_program("bus", "--max-queued-messages", str(QUEUED))
    channel = f"isolation:{uuid4().hex}"
    other = await start_subscriber(program.address, channel)
    async with grpc.aio.insecure_channel(program.address) as line:
        stub: Any = bus_pb2_grpc.BusServiceStub(line)
        async with subscribed(stub, channel) as stopped:
            largest = await _publish(program, channel, MESSAGES)
            last = MESSAGES - 1
            assert await _report(other) == {"count": MESSAGES, "lost": 0, "ordered": True, "last": last}
            while len(stopped.delivered) + sum(stopped.lagged) < MESSAGES + 1:
                await stopped.step()
    sequences = [each.sequence for each in stopped.delivered]
    assert sequences == sorted(set(sequences))
    assert sum(stopped.lagged) > 0, "the test published enough to make it lag"
    assert len(stopped.delivered) >= QUEUED
    assert json.loads(stopped.delivered[-1].n) == {"n": "report"}
    assert largest < BASE_MEMORY + MAX_QUEUED_BYTES


async def test_many_that_never_read_share_one_bound(start_program: Callable[..., RunningProgram]) -> None:
    """Eight subscribers that stand still, each with more to get than all may hold together: the service stays within
    the one bound, and says so; each of them is told exactly how many it lost, and one that reads loses nothing."""
    stalled, count, text = 8, 400, "x" * 100_000
    program = start_program(
        "bus", "--max-queue-memory-bytes", str(64 * MiB), "--metrics-address", "127.0.0.1:0", "--drain-seconds", "0"
    )
    channel = f"isolation:{uuid4().hex}"
    came = asyncio.Semaphore(0)

    async def read(_: AgentMessage) -> None:
        came.release()

    async with (
        AsyncExitStack() as stack,
        GrpcMessageBus(program.address) as bus,
        GrpcMessageBus(program.address) as own,
    ):
        line = await stack.enter_async_context(grpc.aio.insecure_channel(program.address))
        stub: Any = bus_pb2_grpc.BusServiceStub(line)
        behind = [await stack.enter_async_context(subscribed(stub, f"{channel}:{n}")) for n in range(stalled)]
        await own.subscribe(f"{channel}:read", read)
        for each in range(count):
            for n in range(stalled):
                await bus.publish(f"{channel}:{n}", AgentMessage(message_type="x", sender_id="p", payload={"t": text}))
            await bus.publish(f"{channel}:read", numbered(each))
            if each % 20 == 19:
                await bus.flush()
        await bus.flush()
        assert highest_resident_memory(program.pid) < BASE_MEMORY + 2 * 64 * MiB
        metrics = await asyncio.to_thread(scraped, program)
        assert metrics["trunkline_bus_max_queue_memory_bytes"] == 64 * MiB
        assert 32 * MiB < metrics["trunkline_bus_queue_memory_bytes"] <= 64 * MiB
        evicted = metrics['trunkline_bus_messages_dropped_total{reason="evicted"}']
        assert evicted > 0
        assert metrics['trunkline_bus_messages_dropped_total{reason="lagged"}'] == 0
        figures = await bus.statistics()
        assert (figures.dropped["evicted"], figures.max_queue_memory_bytes) == (evicted, 64 * MiB)
        for _ in range(count):
            await asyncio.wait_for(came.acquire(), PATIENCE)
        for each in behind:
            while len(each.delivered) + sum(each.lagged) < count:
                await each.step()
        assert sum(sum(each.lagged) for each in behind) == evicted
        assert all(each.lagged for each in behind)
        assert (await bus.statistics()).queue_memory_bytes == 0


def scraped(program: RunningProgram) -> dict[str, float]:
    """A program's metrics, by name and labels."""
    with urllib.request.urlopen(f"http://{program.metrics_address}/metrics", timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (each.rpartition(" ") for each in lines if each[0] != "#")}


async def _publish(program: RunningProgram, channel: str, count: int) -> int:
    """Publishes that many and the word to report; returns the most memory that the program held meanwhile."""
    largest = 0
    async with GrpcMessageBus(program.address) as bus:
        for n in range(count):
            await bus.publish(channel, AgentMessage(message_type="x", sender_id="p", payload={"n": n, "text": PAYLOAD}))
            if n % 10_000 == 9_999:
                await bus.flush()
                largest = max(largest, resident_memory(program.pid))
        await bus.publish(channel, numbered("report"))
        await bus.flush()
    return largest


async def test_a_subscriber_that_was_only_slow_gets_all_of_it(
    start_program: Callable[..., RunningProgram], start_subscriber: Callable[[str, str], asyncio.Future[Subscriber]]
) -> None:
    """Within the bound, who was stopped gets the rest when it goes on, and nothing is lost."""
    program = start_program("bus")
    channel = f"isolation:{uuid4().hex}"
    stopped = await start_subscriber(program.address, channel)
    stopped.send_signal(signal.SIGSTOP)
    count = 4 * CLIENT_WINDOW_MESSAGES
    async with GrpcMessageBus(program.address) as bus:
        for n in range(count):
            await bus.publish(channel, numbered(n))
        await bus.publish(channel, numbered("report"))
        await bus.flush()
        stopped.send_signal(signal.SIGCONT)
        assert await _report(stopped) == {"count": count, "lost": 0, "ordered": True, "last": count - 1}


async def test_a_subscriber_that_is_killed_in_the_middle_is_forgotten(
    start_program: Callable[..., RunningProgram], start_subscriber: Callable[[str, str], asyncio.Future[Subscriber]]
) -> None:
    """kill -9 of a subscriber in mid-stream: the other goes on, and its subscription is gone afterwards."""
    program = start_program("bus")
    channel = f"isolation:{uuid4().hex}"
    victim, other = await start_subscriber(program.address, channel), await start_subscriber(program.address, channel)
    async with GrpcMessageBus(program.address) as bus:
        for n in range(30_000):
            await bus.publish(channel, numbered(n))
            if n == 10_000:
                victim.kill()
        await bus.publish(channel, numbered("report"))
        await bus.flush()
        assert await _report(other) == {"count": 30_000, "lost": 0, "ordered": True, "last": 29_999}
        other.kill()
        await asyncio.gather(victim.wait(), other.wait())
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await bus.request(channel, numbered("anybody?"), timeout=0.2)
                except Exception as error:  # noqa: BLE001  # which one says whether they are gone
                    if getattr(error, "error_code", "") == "NO_RESPONDERS":
                        break
                await asyncio.sleep(0.02)
        assert program.process.poll() is None
