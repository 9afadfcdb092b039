"""GrpcStateManager when the service is not there, goes away or comes back. Only this manager has a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import (
    AgentState,
    Change,
    ChangeType,
    CompactedError,
    GrpcStateManager,
    StateDisconnectedError,
    TrunklineError,
)


def agent(agent_id: str) -> AgentState:
    return AgentState(agent_id=agent_id, agent_type="coding")


async def told(changes: AsyncIterator[Change]) -> tuple[ChangeType, str | None]:
    async with asyncio.timeout(PATIENCE):
        change = await anext(changes)
    return change.type, change.id


async def test_connect_raises_where_nobody_answers(socket_dir: Path) -> None:
    """Within its timeout; it can be tried again."""
    manager = GrpcStateManager(f"unix:{socket_dir}/nobody.sock", connect_timeout=0.3)
    for _ in range(2):
        with pytest.raises(StateDisconnectedError):
            await manager.connect()
        assert not manager.is_connected


async def test_pending_calls_fail_and_later_ones_wait_for_the_service(killable_state: RunningProgram) -> None:
    """A call that was sent fails with StateDisconnectedError; one that comes meanwhile is done when it is back."""
    async with GrpcStateManager(killable_state.address) as manager:
        await manager.save_agent_state(agent("before"))
        killable_state.pause()
        pending = asyncio.create_task(manager.get_agent_state("before"))
        await asyncio.sleep(0)
        await asyncio.to_thread(killable_state.kill)
        with pytest.raises(StateDisconnectedError):
            await asyncio.wait_for(pending, PATIENCE)
        assert not manager.is_connected
        waiting = asyncio.create_task(manager.save_agent_state(agent("after")))
        await asyncio.to_thread(killable_state.restart)
        assert await asyncio.wait_for(waiting, PATIENCE) == 2
        assert manager.is_connected
        assert await manager.get_agent_state("before") is not None


async def test_a_call_gives_up_after_its_timeout(killable_state: RunningProgram) -> None:
    """Whether the service is silent or gone."""
    async with GrpcStateManager(killable_state.address, timeout=0.3) as manager:
        killable_state.pause()
        with pytest.raises(StateDisconnectedError) as caught:
            await manager.get_agent_state("a")
        assert caught.value.details["timeout_seconds"] == 0.3
        await asyncio.to_thread(killable_state.kill)
        with pytest.raises(StateDisconnectedError):
            await manager.get_agent_state("a")


async def test_a_watch_goes_on_behind_the_last_revision_after_a_crash(killable_state: RunningProgram) -> None:
    """Nothing is missed, nothing told twice, and SYNCED comes once."""
    async with GrpcStateManager(killable_state.address) as watcher, GrpcStateManager(killable_state.address) as writer:
        await writer.save_agent_state(agent("a"))
        changes = watcher.watch("agent_state")
        assert await told(changes) == (ChangeType.SAVED, "a")
        assert await told(changes) == (ChangeType.SYNCED, None)
        for life in range(2):
            await writer.save_agent_state(agent(f"b{life}"))
            assert await told(changes) == (ChangeType.SAVED, f"b{life}")
            await asyncio.to_thread(killable_state.restart)
            await writer.save_agent_state(agent(f"c{life}"))
            await writer.delete_agent_state(f"b{life}")
            assert await told(changes) == (ChangeType.SAVED, f"c{life}")
            assert await told(changes) == (ChangeType.DELETED, f"b{life}")


async def test_a_watch_that_resumes_on_a_store_without_its_past_is_told(start_program: object) -> None:
    """A memory engine starts anew: the watch raises CompactedError instead of going on as if nothing had happened."""
    program = start_program("state", "--engine", "memory")  # type: ignore[operator]
    async with GrpcStateManager(program.address) as manager:
        await manager.save_agent_state(agent("a"))
        changes = manager.watch()
        assert [await told(changes) for _ in range(2)] == [(ChangeType.SAVED, "a"), (ChangeType.SYNCED, None)]
        await asyncio.to_thread(program.restart)
        with pytest.raises(CompactedError):
            await told(changes)


async def test_a_slow_watch_resumes_by_itself(start_program: object) -> None:
    """The service ended its stream; the caller misses nothing."""
    program = start_program("state", "--engine", "memory", "--max-watch-queue", "10")  # type: ignore[operator]
    async with GrpcStateManager(program.address) as manager:
        changes = manager.watch("agent_state")
        assert await told(changes) == (ChangeType.SYNCED, None)
        big = {"x": "y" * 100_000}
        for number in range(60):
            await manager.save_agent_state(AgentState(agent_id=f"r{number}", agent_type="coding", metadata=big))
        assert [await told(changes) for _ in range(60)] == [(ChangeType.SAVED, f"r{number}") for number in range(60)]


async def test_many_calls_at_once_each_get_their_own_answer(state_address: str) -> None:
    """Hundreds in flight on one stream."""
    async with GrpcStateManager(state_address) as manager:
        await asyncio.gather(*(manager.save_agent_state(agent(f"many-{number}")) for number in range(500)))
        got = await asyncio.gather(*(manager.get_agent_state(f"many-{number}") for number in range(500)))
        assert [each.agent_id for each in got if each] == [f"many-{number}" for number in range(500)]


async def test_a_cancelled_call_leaves_nothing_behind(killable_state: RunningProgram) -> None:
    """Its answer is dropped, the line goes on."""
    async with GrpcStateManager(killable_state.address) as manager:
        killable_state.pause()
        call = asyncio.create_task(manager.get_agent_state("a"))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        killable_state.resume()
        assert await manager.get_agent_state("a") is None


async def test_errors_are_trunklines_whatever_happens(killable_state: RunningProgram) -> None:
    """Killed amid a hundred calls: each is answered or fails with a TrunklineError, and what was answered is there."""
    async with GrpcStateManager(killable_state.address) as manager:
        calls = [asyncio.create_task(manager.save_agent_state(agent(f"r{number}"))) for number in range(300)]
        await calls[0]
        await asyncio.to_thread(killable_state.restart)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, int | TrunklineError) for outcome in outcomes)
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, int):
                got = await manager.get_agent_state(f"r{number}")
                assert got is not None
                assert got.revision == outcome
