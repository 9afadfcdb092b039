"""Tasks while the bus, those who work and those who asked are killed: real processes, real signals."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import (
    Accepted,
    AgentMessage,
    Backoff,
    BusDisconnectedError,
    DurableSettings,
    GrpcMessageBus,
    LifeEvent,
    Postponed,
    Progress,
    RequestFailedError,
    SubmittedTask,
)

CHANNEL = "faults:tasks"
WORKER = Path(__file__).with_name("task_worker.py")
TASKS = 500
FAILING = frozenset(range(0, TASKS, 10))


class Crew:
    """Workers that are processes, killed and replaced."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._processes: list[asyncio.subprocess.Process] = []

    async def hire(self) -> None:
        """Starts one more; it works when it is ready."""
        pipe = subprocess.PIPE
        command = (sys.executable, str(WORKER), self._address, CHANNEL, "work")
        self._processes.append(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))

    async def kill_one(self) -> None:
        """Kills the oldest, and starts another in its place."""
        oldest = self._processes.pop(0)
        oldest.kill()
        await oldest.wait()
        await self.hire()

    async def dismiss(self) -> None:
        """Kills all."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            await process.wait()


@asynccontextmanager
async def crew(address: str, size: int) -> AsyncIterator[Crew]:
    hired = Crew(address)
    try:
        for _ in range(size):
            await hired.hire()
        yield hired
    finally:
        await hired.dismiss()


async def submit_all(address: str) -> list[str]:
    """Submits every task by clients that come and go; what is not known to be stored is submitted again."""
    ids: list[str] = []
    messages = [AgentMessage(message_type="job", sender_id="tests", payload={"n": n}) for n in range(TASKS)]
    while len(ids) < TASKS:
        try:
            async with GrpcMessageBus(address) as bus:
                for message in messages[len(ids) : len(ids) + 50]:  # then this client is gone, and another asks
                    task = await bus.submit(CHANNEL, message, durable="work")
                    ids.append(task.id)
        except BusDisconnectedError:
            await asyncio.sleep(0.05)
    return ids


async def outcome(task: SubmittedTask) -> tuple[str, Any]:
    """How a task ended, as `result` tells it."""
    try:
        result = await task.result(10 * PATIENCE)
    except RequestFailedError as error:
        return "failed", error.details["text"]
    assert result is not None
    return "done", result.payload["n"]


def check_life(events: list[LifeEvent]) -> None:
    """A life has one end, its numbers rise by one, and progress never goes back within an attempt."""
    assert [each.number for each in events] == list(range(events[0].number, events[-1].number + 1))
    assert [each.is_end for each in events] == [False] * (len(events) - 1) + [True]
    fraction, attempt = 0.0, 0
    for event in events:
        match event:
            case Accepted():
                assert event.attempt >= attempt
                if event.attempt > attempt:
                    fraction, attempt = 0.0, event.attempt
            case Postponed():
                fraction = 0.0
            case Progress(fraction=said) if said is not None:
                assert said >= fraction
                fraction = said


async def test_tasks_that_meet_every_death(killable_bus: RunningProgram) -> None:
    """500 tasks, while workers, the bus and askers are killed at random: each ends once, with a result or as a dead
    letter, and whoever asks hears how."""
    address = killable_bus.address
    chance = random.Random(7)
    async with GrpcMessageBus(address) as bus, crew(address, 3) as workers:
        await bus.create_durable("work", CHANNEL, settings=DurableSettings(1.0, 12, Backoff(0.0, 1.0, 0.0)))
        submitting = asyncio.ensure_future(submit_all(address))
        for _ in range(8):
            await asyncio.sleep(chance.uniform(0.2, 0.8))
            if chance.random() < 0.4:
                killable_bus.kill()
                await asyncio.to_thread(killable_bus.restart)
            else:
                await workers.kill_one()
        ids = await asyncio.wait_for(submitting, 4 * PATIENCE)
        assert len(set(ids)) == TASKS
        tasks = [bus.task(id) for id in ids]
        outcomes = await asyncio.gather(*(outcome(task) for task in tasks))
        for n, (how, what) in enumerate(outcomes):
            if n in FAILING:  # its last attempt may have died with its worker
                assert how == "failed"
                assert what in (f"task {n} fails", "lease expired")
            else:
                assert (how, what) == ("done", n)
        for task in tasks:
            check_life([event async for event in task.events()])
        states = Counter([info.state async for info in bus.tasks()])
        assert states == {"done": TASKS - len(FAILING), "failed": len(FAILING)}
        letters = [int(str(letter.message.payload["n"])) async for letter in bus.dead_letters()]
        assert sorted(letters) == sorted(FAILING)
