"""The recorder's economy: few calls, one at a time, and bounded memory while the store is away."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from trunkline import (
    AgentState,
    GrpcStateManager,
    InMemoryStateManager,
    Operation,
    Outcome,
    StateDisconnectedError,
    TaskResult,
    sync,
)
from trunkline.agents import BaseThreadAgent, LoopingThreadAgent
from trunkline.orchestrator import Orchestrator, OrchestratorError
from trunkline.orchestrator.fleet import pending

PATIENCE = 30.0


class Once(BaseThreadAgent):
    """Ends at once."""

    def execute(self) -> dict[str, Any]:
        return {"name": self.name}


class Idle(LoopingThreadAgent):
    """Waits to be stopped."""

    def cycle(self) -> None:
        self.stop_event.wait()


class Counting(InMemoryStateManager):
    """Counts the calls, and can be held up or be away."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.at_once = 0
        self.most_at_once = 0
        self.is_away = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.holds = threading.Event()
        """Set when a call is held up: those before it are over."""

    async def batch(self, operations: Sequence[Operation], *, atomic: bool = False) -> list[Outcome]:
        self.calls += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if not self.may_go_on.is_set():
                self.holds.set()
                await asyncio.to_thread(self.may_go_on.wait, PATIENCE)
            if self.is_away:
                raise StateDisconnectedError("away")
            return await super().batch(operations, atomic=atomic)
        finally:
            self.at_once -= 1


def test_what_changes_meanwhile_is_one_call() -> None:
    """200 agents live and end while one call is held up; a few calls more, and the store has all of it."""
    store = Counting()
    with sync.StateManager.over(store) as state:
        with Orchestrator(Orchestrator.Config(max_workers=50), state_manager=state) as orchestrator:
            for number in range(200):
                orchestrator.register_agent(Once, f"once-{number}")
            orchestrator.start()
            store.may_go_on.clear()
            assert orchestrator.join(PATIENCE)
            before = store.calls
            store.may_go_on.set()
        assert store.calls - before <= 20
        assert store.most_at_once == 1
        assert {record.status for record in state.list_agent_states(type="Once")} == {"completed"}
        assert len(state.list_task_results()) == 200


def test_results_that_wait_too_long_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest ones. Of each agent the newest state waits, whatever happens."""
    monkeypatch.setattr(pending, "MAX_PENDING_RESULTS", 10)
    store = Counting()
    with sync.StateManager.over(store) as state:
        with Orchestrator(Orchestrator.Config(max_workers=50), state_manager=state) as orchestrator:
            for number in range(30):
                orchestrator.register_agent(Once, f"once-{number:02}")
            store.is_away = True
            orchestrator.start()
            assert orchestrator.join(PATIENCE)
            store.is_away = False
        assert {record.status for record in state.list_agent_states(type="Once")} == {"completed"}
        assert len(state.list_task_results()) == 10
    assert any("10 results wait for the state store" in line for line in caplog.messages)


@pytest.mark.parametrize("result", ["\ud800", [float("nan")]], ids=["text", "number"])
def test_a_result_that_is_no_json_fails_its_life(state_address: str, result: Any) -> None:
    """Text that is no Unicode, a number that is none: the life is kept as failed, and says why."""
    kept, record = _life_that_returns(result, state_address)
    assert kept.status == "failed"
    assert kept.output_data == {}
    assert kept.error_message is not None
    assert "is no JSON" in kept.error_message
    assert record.metadata["state"] == "failed"


def test_a_result_that_is_too_large_hides_nothing(state_address: str) -> None:
    """The life is there without its result, and says why."""
    kept, record = _life_that_returns("x" * 5_000_000, state_address)
    assert kept.status == "completed"
    assert kept.output_data == {}
    assert kept.metadata["output_left_out"]
    assert record.metadata["state"] == "completed"


def _life_that_returns(result: Any, state_address: str) -> tuple[TaskResult, AgentState]:
    class Broken(BaseThreadAgent):
        def execute(self) -> object:
            return result

    name = f"broken-{uuid.uuid4()}"
    with sync.StateManager(state_address) as state:
        with Orchestrator(name=f"o-{uuid.uuid4()}", state_manager=state) as orchestrator:
            orchestrator.register_agent(Broken, name)
            orchestrator.start()
            assert orchestrator.join(PATIENCE)
        (kept,) = state.list_task_results(agent_id=name)
        record = state.get_agent_state(name)
        assert record is not None
        return kept, record


def test_a_store_that_is_nowhere_delays_neither_start_nor_end() -> None:
    """By more than its limits say. An agent that may run anywhere is not started without it."""
    nowhere = GrpcStateManager("127.0.0.1:1", connect_timeout=60.0)
    began = time.monotonic()
    with Orchestrator(state_manager=nowhere) as orchestrator:
        orchestrator.register_agent(Idle, "here")
        orchestrator.register_agent(Idle, "anywhere", spread=True)
        assert orchestrator.start_agent("here") == "started"
        with pytest.raises(OrchestratorError, match="agent 'anywhere' may run elsewhere"):
            orchestrator.start_agent("anywhere")
    assert time.monotonic() - began < PATIENCE


def test_who_starts_an_agent_while_it_is_shut_down_is_told() -> None:
    """Nobody waits for ever."""
    store = Counting()
    with sync.StateManager.over(store) as state:
        orchestrator = Orchestrator(state_manager=state)
        orchestrator.register_agent(Idle, "agent")
        orchestrator.start_agent("agent")
        orchestrator.stop_agent("agent")
        store.may_go_on.clear()
        starting = orchestrator.starting("agent")
        assert store.holds.wait(PATIENCE)
        store.is_away = True
        ending = threading.Thread(target=orchestrator.shutdown)
        ending.start()
        with pytest.raises(OrchestratorError):
            starting.result(PATIENCE)
        store.may_go_on.set()
        ending.join(PATIENCE)
        assert not ending.is_alive()
