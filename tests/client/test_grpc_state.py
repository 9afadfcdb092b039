"""GrpcStateManager when its service goes away and comes back."""

from __future__ import annotations

import asyncio

import pytest

from tests.programs import RunningProgram
from trunkline import AgentState, GrpcStateManager
from trunkline.errors import StateDisconnectedError, TrunklineError

SECONDS = 20.0


async def test_a_loss_and_a_return_are_told(killable_state: RunningProgram) -> None:
    """Once each, and the first connection is no return."""
    lost: asyncio.Queue[TrunklineError] = asyncio.Queue()
    back: asyncio.Queue[None] = asyncio.Queue()
    async with GrpcStateManager(
        killable_state.address, on_disconnected=lost.put_nowait, on_reconnected=lambda: back.put_nowait(None)
    ) as manager:
        async with asyncio.timeout(SECONDS):
            for _ in range(2):
                assert (lost.empty(), back.empty()) == (True, True)
                await asyncio.to_thread(killable_state.kill)
                assert isinstance(await lost.get(), StateDisconnectedError)
                await asyncio.to_thread(killable_state.start)
                await back.get()
                assert manager.is_connected
    assert (lost.empty(), back.empty()) == (True, True)


async def test_a_new_call_waits_no_longer_than_its_timeout(killable_state: RunningProgram) -> None:
    """Then it fails, and the service never heard of it."""
    lost = asyncio.Event()
    async with GrpcStateManager(killable_state.address, timeout=0.2, on_disconnected=lambda _: lost.set()) as manager:
        await asyncio.to_thread(killable_state.kill)
        async with asyncio.timeout(SECONDS):
            await lost.wait()
            with pytest.raises(StateDisconnectedError, match=r"within 0\.2 s"):
                await manager.save_agent_state(AgentState(agent_id="x", agent_type="coding"))
    await asyncio.to_thread(killable_state.start)
    async with GrpcStateManager(killable_state.address) as manager:
        assert await manager.get_agent_state("x") is None
