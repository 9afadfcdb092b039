"""GrpcStateManager when its service goes away and comes back."""

from __future__ import annotations

import asyncio

import pytest

from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import AgentState, GrpcStateManager
from trunkline.errors import StateDisconnectedError, TrunklineError

SECONDS = 60.0


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


async def test_a_client_that_does_not_wait_says_at_once_that_nothing_is_there() -> None:
    """With gRPC's own words, long before the timeout; one that is there is connected to."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(StateDisconnectedError) as caught:
        await GrpcStateManager("127.0.0.1:1", connect_timeout=30.0, wait_for_ready=False).connect()
    assert "Connection refused" in caught.value.message
    assert loop.time() - began < 20.0


async def test_a_client_that_does_not_wait_comes_back_all_the_same(killable_state: RunningProgram) -> None:
    """Only the first connection is not waited for: a lost one is restored."""
    back = asyncio.Event()
    program = killable_state
    async with GrpcStateManager(program.address, wait_for_ready=False, on_reconnected=back.set):
        await asyncio.to_thread(program.restart)
        await asyncio.wait_for(back.wait(), PATIENCE)
