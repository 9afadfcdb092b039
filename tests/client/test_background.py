"""Background, and faces over asynchronous objects of any kind: all of them share one loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from trunkline import AgentMessage, AgentState, InMemoryMessageBus, InMemoryStateManager, TrunklineError, sync


def test_it_runs_coroutines_beside_the_faces() -> None:
    """In the loop that their objects belong to, so they may use these."""
    store = InMemoryStateManager()
    with sync.StateManager.over(store) as state, sync.Background() as background:
        assert state.asynchronous is store
        state.save_agent_state(AgentState(agent_id="a", agent_type="t"))

        async def read() -> tuple[AgentState | None, str]:
            return await store.get_agent_state("a"), threading.current_thread().name

        record, thread = background.submit(read()).result(10)
        assert record is not None
        assert thread == "trunkline.sync"
        assert background.open() is background.loop


def test_it_ends_with_its_last_user() -> None:
    """Then nothing can be submitted; what was cancelled has ended."""
    ended = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    background = sync.Background()
    with background:
        waiting = background.submit(wait())
        background.submit(asyncio.sleep(0)).result(10)
        waiting.cancel()
    background.close()
    assert ended.is_set()
    assert "trunkline.sync" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(TrunklineError, match="not open"):
        background.submit(asyncio.sleep(0))


def test_a_face_over_a_bus_is_as_every_face() -> None:
    """Open from connect to disconnect, and callbacks run in threads."""
    bus = sync.MessageBus.over(InMemoryMessageBus())
    assert not bus.is_open
    with bus:
        assert bus.is_open
        came = threading.Event()
        bus.subscribe("x:y", lambda message: came.set())
        bus.publish("x:y", AgentMessage(message_type="feedback", sender_id="tests"))
        assert came.wait(10)
        assert bus.published_count == 1
    assert not bus.is_open
