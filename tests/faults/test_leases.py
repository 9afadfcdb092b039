"""Leases and lifetimes when programs are killed and stand still: real processes, real signals."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.faults.leader import LEADER
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import (
    AgentState,
    Change,
    ChangeType,
    EndReason,
    GrpcStateManager,
    LeaseInfo,
    StateManager,
    TaskResult,
)

SCRIPT = Path(__file__).with_name("leader.py")
CANDIDATES = 5
ROUNDS = 8


def doubles(history: Iterable[Change]) -> list[int]:
    """The revisions of writes that were taken from somebody who did not hold the lease then: what leases and writes of
    one store tell, in order."""
    current, found = 0, []
    for change in history:
        if change.kind == "lease":
            current = change.record.number if isinstance(change.record, LeaseInfo) else 0
        elif isinstance(change.record, TaskResult) and number_of(change.record) != current:
            found.append(change.revision)
    return found


def number_of(work: TaskResult) -> int:
    """The number of the lease with which it was written, as the writer says."""
    number = work.metadata["number"]
    assert isinstance(number, int)
    return number


class Candidate:
    """A process that would lead, and what it said."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process

    async def says(self, word: str) -> dict[str, Any]:
        """The next line that has this word."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while line := await self.process.stdout.readline():
                said: dict[str, Any] = json.loads(line)
                if word in said:
                    return said
        raise AssertionError(f"{self.name} ended")

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def candidates(address: str) -> AsyncIterator[dict[str, Candidate]]:
    """Processes that would lead, by name; whoever is in there at the end is ended."""
    found: dict[str, Candidate] = {}
    try:
        for n in range(CANDIDATES):
            found[f"c{n}"] = await start(address, f"c{n}")
        yield found
    finally:
        for candidate in found.values():
            if candidate.process.returncode is None:
                await candidate.kill()


async def start(address: str, name: str) -> Candidate:
    pipe = asyncio.subprocess.PIPE
    candidate = Candidate(
        name, await asyncio.create_subprocess_exec(sys.executable, str(SCRIPT), address, name, stdin=pipe, stdout=pipe)
    )
    await candidate.says("ready")
    return candidate


async def next_writer(changes: AsyncIterator[Change], history: list[Change], after: int) -> tuple[str, int]:
    """The name and the number of whoever writes with a higher number than this."""
    async with asyncio.timeout(PATIENCE):
        async for change in changes:
            history.append(change)
            if isinstance(change.record, TaskResult) and (number := number_of(change.record)) > after:
                return change.record.agent_id, number
    raise AssertionError("the watch ended")


async def test_a_leader_among_processes_that_are_killed_and_stand_still(killable_state: RunningProgram) -> None:
    """There is always a next one, and never two whose writes are taken: the history says so. Whoever stood still past
    its TTL is refused when it goes on, knows that it leads no more, and what it wrote late is nowhere."""
    address = killable_state.address
    history: list[Change] = []
    refusals: list[str] = []
    async with (
        candidates(address) as running,
        GrpcStateManager(address) as state,
        aclosing(state.watch("lease", "task_result", after_revision=0)) as watch,  # type: ignore[type-var]
    ):
        changes = aiter(watch)
        name, number = await next_writer(changes, history, 0)
        for turn in range(ROUNDS):
            leader = running[name]
            if turn == 3:
                await asyncio.to_thread(killable_state.kill)
                await asyncio.to_thread(killable_state.restart)
            if turn % 2:
                await leader.kill()
                name, number = await next_writer(changes, history, number)
                running[leader.name] = await start(address, leader.name)
            else:
                leader.process.send_signal(signal.SIGSTOP)
                stood, (name, number) = number, await next_writer(changes, history, number)
                leader.process.send_signal(signal.SIGCONT)
                while (said := await leader.says("over"))["over"] < stood:
                    pass
                refusals.append(said["why"])
                assert said["why"] != "LEASE_LOST" or not said["held"]
        assert doubles(history) == []
    assert "LEASE_LOST" in refusals


async def test_the_checker_finds_a_double(killable_state: RunningProgram) -> None:
    """One that stood still, and then writes without a fence."""
    async with GrpcStateManager(killable_state.address) as state:

        async def write(number: int, fence: LeaseInfo | None) -> int:
            work = TaskResult(task_id="work", agent_id="x", status="in_progress", metadata={"number": number})
            return await state.save_task_result(work, fence=fence)

        first = await state.acquire(LEADER, ttl=0.3)
        await write(first.number, LeaseInfo(LEADER, first.number, "", 1))
        first.abandon()
        second = await state.acquire(LEADER, ttl=60, wait=True)
        await write(second.number, LeaseInfo(LEADER, second.number, "", 1))
        planted = await write(first.number, None)
        history = await everything(state, planted)
    assert doubles(history) == [planted]


async def everything(state: StateManager, last: int) -> list[Change]:
    """The history of leases and results up to a revision."""
    history: list[Change] = []
    async with asyncio.timeout(PATIENCE), aclosing(state.watch("lease", "task_result", after_revision=0)) as changes:  # type: ignore[type-var]
        async for change in changes:
            history.append(change)
            if change.revision >= last:
                break
    return history


async def test_a_lease_outlives_the_service(killable_state: RunningProgram) -> None:
    """After kill -9 it is held with its number, its bound records are there, and it is renewed; numbers rise."""
    async with GrpcStateManager(killable_state.address) as state:
        lease = await state.acquire("kept", ttl=600)
        await state.save_agent_state(AgentState(agent_id="bound", agent_type="coding"), lease=lease)
        await asyncio.to_thread(killable_state.kill)
        await asyncio.to_thread(killable_state.restart)
        [seen] = await state.list_leases()
        assert seen.number == lease.number
        assert seen.remaining is not None
        assert 500 < seen.remaining <= 600
        await state.renew_lease("kept", lease.number, PATIENCE)
        assert await state.get_agent_state("bound") is not None
        await lease.release()
        assert await state.get_agent_state("bound") is None
        async with await state.acquire("kept") as second:
            assert second.number > lease.number


async def test_what_ended_while_the_service_was_away_ends_at_its_start(killable_state: RunningProgram) -> None:
    """With its reason in the watch; what was touched with a longer TTL before is there: an answered touch survives."""
    async with GrpcStateManager(killable_state.address) as state:
        await state.save_agent_state(AgentState(agent_id="touched", agent_type="coding"), ttl=0.5)
        await state.touch("agent_state", "touched", ttl=600)
        killable_state.pause()  # it ends nothing itself from here on
        await asyncio.to_thread(killable_state.kill)
        await asyncio.to_thread(killable_state.restart)
        revision = await state.save_agent_state(AgentState(agent_id="passed", agent_type="coding"), ttl=0.5)
        killable_state.pause()
        await asyncio.sleep(0.6)
        await asyncio.to_thread(killable_state.kill)
        await asyncio.to_thread(killable_state.restart)
        assert await state.get_agent_state("passed") is None
        assert await state.get_agent_state("touched") is not None
        async with asyncio.timeout(PATIENCE), aclosing(state.watch(after_revision=revision)) as changes:  # type: ignore[type-var]
            change = await anext(aiter(changes))
        assert (change.type, change.id, change.reason) == (ChangeType.DELETED, "passed", EndReason.EXPIRED)


async def test_a_holder_whose_service_stands_still_counts_its_lease_as_lost(killable_state: RunningProgram) -> None:
    """By its own clock, without an answer; when the service goes on, the lease is somebody else's."""
    async with GrpcStateManager(killable_state.address) as state:
        lost = asyncio.Event()
        lease = await state.acquire("l", ttl=1, on_lost=lambda _: lost.set())
        killable_state.pause()
        async with asyncio.timeout(PATIENCE):
            await lost.wait()
        assert not lease.is_held
        killable_state.resume()
        async with asyncio.timeout(PATIENCE), await state.acquire("l", wait=True) as second:
            assert second.number > lease.number
