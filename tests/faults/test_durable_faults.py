"""Durable delivery when programs are stopped and killed: real processes, real signals."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import AgentMessage, Backoff, DeadLetter, DurableMessage, DurableSettings, GrpcMessageBus, MessageType
from trunkline.v1 import bus_pb2_grpc, durable_pb2

CHANNEL = "faults:work"
WORKER = Path(__file__).with_name("worker.py")


def task(n: int) -> AgentMessage:
    """A task with a number."""
    return AgentMessage(message_type=MessageType.TASK_ASSIGNMENT, sender_id="tests", payload={"n": n})


class Worker:
    """A process that works, and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def says(self, **words: object) -> dict[str, Any]:
        """The next line that has these words."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while line := await self.process.stdout.readline():
                said: dict[str, Any] = json.loads(line)
                if words.items() <= said.items():
                    return said
        raise AssertionError(f"the worker ended and never said {words}")


@asynccontextmanager
async def worker(address: str, *options: str) -> AsyncIterator[Worker]:
    """A worker that is ready."""
    command = (sys.executable, str(WORKER), address, CHANNEL, "work", *options)
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        one = Worker(process)
        await one.says(ready=True)
        yield one
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_worker_that_stood_still_past_its_lease(killable_bus: RunningProgram) -> None:
    """SIGSTOP, then SIGCONT: its work was handed on once, as attempt 2, and its late ack is refused and logged."""
    address = killable_bus.address
    async with GrpcMessageBus(address) as bus, worker(address, "3") as still:
        await bus.create_durable("work", CHANNEL, settings=DurableSettings(ack_wait=1.0))
        await bus.publish(CHANNEL, task(1), stored=True)
        await still.says(began=1, attempt=1)
        async with worker(address) as other:
            assert still.process.stdin is not None
            still.process.stdin.write(b"go on\n")
            await still.says(works_on=1, attempt=1)
            still.process.send_signal(signal.SIGSTOP)
            assert (await other.says(began=1))["attempt"] == 2
            await other.says(done=1, attempt=2)
            still.process.send_signal(signal.SIGCONT)
            await still.says(done=1, attempt=1)
            await bus.publish(CHANNEL, task(2), stored=True)
            either = [asyncio.ensure_future(each.says(done=2, attempt=1)) for each in (still, other)]
            finished, waiting = await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            assert [each.result()["done"] for each in finished] == [2]
            for each in waiting:
                each.cancel()
            async with grpc.aio.insecure_channel(address) as line:
                request = durable_pb2.GetDurableSubscriptionRequest(name="work")
                stub: Any = bus_pb2_grpc.BusServiceStub(line)
                now = (await stub.GetDurableSubscription(request)).subscription
            assert (now.redelivered, now.dead_lettered) == (1, 0)
        assert still.process.stderr is not None
        still.process.stdin.close()
        said = (await asyncio.wait_for(still.process.stderr.read(), PATIENCE)).decode()
    assert "cannot be settled" in said or "was handed on before it was settled here" in said
    assert said.count("cannot be settled") + said.count("handed on before") == 1


async def test_a_bus_that_is_killed_goes_on_where_it_was(killable_bus: RunningProgram) -> None:
    """With one leased, one that waits for its next attempt, one held back, two of a key, and a dead letter."""
    settings = DurableSettings(ack_wait=6.0, max_deliveries=2, backoff=Backoff(initial=1.0))
    began: list[tuple[int, int]] = []
    all_began, all_done = asyncio.Event(), asyncio.Event()
    hold = asyncio.Event()
    done: list[tuple[int, int]] = []
    began_at: dict[int, float] = {}

    async def work(message: DurableMessage) -> None:
        n = int(str(message.payload["n"]))
        began.append((n, message.attempt))
        began_at[n] = time.monotonic()
        if n == 9:
            await message.terminate("it can never be done")
            return
        if n == 2 and message.attempt == 1:
            raise TimeoutError("tried in vain")
        if len(began) >= 4:
            all_began.set()
        if n in (1, 4) and not hold.is_set():
            await hold.wait()
        done.append((n, message.attempt))
        if {each for each, _ in done} == {1, 2, 3, 4, 5}:
            all_done.set()

    async with GrpcMessageBus(killable_bus.address) as bus:
        await bus.create_durable("work", "faults:>", settings=settings)
        await bus.publish("faults:a", task(9), stored=True)
        await bus.publish("faults:a", task(1), stored=True)
        await bus.publish("faults:a", task(2), stored=True)
        held_back_at = time.monotonic()
        await bus.publish("faults:a", task(3), stored=True, deliver_after=2.0)
        await bus.publish("faults:a", task(4), stored=True, ordering_key="k")
        await bus.publish("faults:b", task(5), stored=True, ordering_key="k")
        await bus.subscribe("faults:>", work, durable="work", concurrency=8, settings=settings)
        await asyncio.wait_for(all_began.wait(), PATIENCE)
        killable_bus.kill()
        killable_bus.restart()
        hold.set()
        await asyncio.wait_for(all_done.wait(), PATIENCE)
        assert [n for n, _ in done if n in (4, 5)] == [4, 5]
        assert began_at[3] - held_back_at >= 2.0
        assert max(attempt for n, attempt in began if n == 2) == 2
        letters: list[DeadLetter] = []
        async with asyncio.timeout(PATIENCE):  # what was said as the bus died is said again when the lease is over
            while not letters:
                letters = [letter async for letter in bus.dead_letters()]
        assert [(letter.message.payload["n"], letter.error) for letter in letters] == [(9, "it can never be done")]
