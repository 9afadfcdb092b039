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

from tests.faults.task_asker import AskersLedger
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import (
    Accepted,
    Backoff,
    DurableSettings,
    GrpcMessageBus,
    LifeEvent,
    Postponed,
    Progress,
)

CHANNEL = "faults:tasks"
ASKER = Path(__file__).with_name("task_asker.py")
WORKER = Path(__file__).with_name("task_worker.py")
TASKS = 500
FAILING = frozenset(range(0, TASKS, 10))
KINDS = ("bus", "worker", "asker")
DEATHS_OF_EACH = 3
BETWEEN_DEATHS = (15, 45)
"""How many more tasks have ended at each; so at the last one there are tasks that have not."""


class Crew:
    """Processes of one kind, killed and replaced. Each ends with its standard input, or when it is done."""

    def __init__(self, *command: str) -> None:
        self._command = (sys.executable, *command)
        self._processes: list[asyncio.subprocess.Process] = []

    async def hire(self) -> None:
        """Starts one more."""
        pipe = subprocess.PIPE
        self._processes.append(await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe))

    async def kill_one(self) -> None:
        """Kills the oldest, and starts another in its place."""
        oldest = self._processes.pop(0)
        assert oldest.returncode is None
        oldest.kill()
        await oldest.wait()
        await self.hire()

    def check(self) -> None:
        """Fails where one has ended by itself."""
        assert [each.returncode for each in self._processes] == [None] * len(self._processes)

    async def join(self) -> None:
        """Waits until all have ended well by themselves."""
        codes = await asyncio.wait_for(asyncio.gather(*(each.wait() for each in self._processes)), 4 * PATIENCE)
        assert not any(codes)

    async def dismiss(self) -> None:
        """Kills all."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
        for process in self._processes:
            await process.wait()


@asynccontextmanager
async def crew(size: int, *command: str) -> AsyncIterator[Crew]:
    hired = Crew(*command)
    try:
        for _ in range(size):
            await hired.hire()
        yield hired
    finally:
        await hired.dismiss()


async def have_ended(askers: Crew, ledger: Path, count: int) -> None:
    """Returns when the asker has written down so many outcomes."""
    async with asyncio.timeout(4 * PATIENCE):
        while len(AskersLedger(ledger).outcomes) < count:
            askers.check()
            await asyncio.sleep(0.02)


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


async def test_tasks_that_meet_every_death(killable_bus: RunningProgram, tmp_path: Path) -> None:
    """500 tasks, while workers, the bus and who asked are killed at random: each ends once, with a result or as a dead
    letter, and whoever asks hears how."""
    address = killable_bus.address
    chance = random.Random(7)
    deaths = [*(KINDS * DEATHS_OF_EACH)]
    chance.shuffle(deaths)
    path = tmp_path / "ledger.jsonl"
    asks = (str(ASKER), address, CHANNEL, "work", str(TASKS), str(path))
    async with GrpcMessageBus(address) as bus, crew(3, str(WORKER), address, CHANNEL, "work") as workers:
        await bus.create_durable("work", CHANNEL, settings=DurableSettings(1.0, 12, Backoff(0.0, 1.0, 0.0)))
        async with crew(1, *asks) as askers:
            ended = 0
            for death in deaths:
                ended += chance.randint(*BETWEEN_DEATHS)
                await have_ended(askers, path, ended)
                match death:
                    case "bus":
                        killable_bus.kill()
                        await asyncio.to_thread(killable_bus.restart)
                    case "worker":
                        await workers.kill_one()
                    case "asker":
                        await askers.kill_one()
            await askers.join()
        ledger = AskersLedger(path)
        assert sorted(ledger.ids) == sorted(ledger.outcomes) == list(range(TASKS))
        for n, outcomes in ledger.outcomes.items():
            ((how, what),) = set(outcomes)
            if n in FAILING:  # its last attempt may have died with its worker
                assert how == "failed"
                assert what in (f"task {n} fails", "lease expired")
            else:
                assert (how, what) == ("done", n)
        for id in ledger.ids.values():
            check_life([event async for event in bus.task(id).events()])
        states = Counter([info.state async for info in bus.tasks()])
        assert states == {"done": TASKS - len(FAILING), "failed": len(FAILING)}
        letters = [int(str(letter.message.payload["n"])) async for letter in bus.dead_letters()]
        assert sorted(letters) == sorted(FAILING)
