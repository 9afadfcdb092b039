"""What the state store has of an orchestrator's agents, also where the store goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from tests.fleet.conftest import StartNode
from tests.fleet.nodes import seen
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import AgentState, AgentStatus, GrpcStateManager, StateManager, TaskStatus
from trunkline.orchestrator import Fleet


@pytest.fixture
async def state(killable_state: RunningProgram) -> AsyncIterator[StateManager]:
    async with GrpcStateManager(killable_state.address) as state:
        yield state


async def recorded(state: StateManager, agent: str, is_right: Callable[[AgentState], bool]) -> AgentState:
    """Waits until an agent's record is right."""
    async with asyncio.timeout(PATIENCE):
        async for change in state.watch("agent_state", id=agent):
            if isinstance(change.record, AgentState) and is_right(change.record):
                return change.record
    raise AssertionError("the watch ended")


async def test_an_agents_record_says_how_it_stands(start_node: StartNode, state: StateManager) -> None:
    """From its registration to its end: status, task, heartbeat, place and past lives."""
    node = start_node("a").wait_ready()
    node.call("register_agent", "LoopingThread", "source")
    node.call(
        "register_agent",
        "LoopingProcess",
        "worker",
        dependencies=["source"],
        restart={"when": "always"},
        config={"heartbeat_interval": 0.2},
    )
    record = await recorded(state, "worker", lambda record: True)
    assert (record.agent_type, record.status) == ("LoopingProcess", AgentStatus.IDLE)
    assert record.metadata["state"] == "registered"
    assert record.metadata["dependencies"] == ["source"]
    node.call("start")
    record = await recorded(
        state, "worker", lambda record: record.last_heartbeat is not None and bool(record.metadata["pid"])
    )
    assert record.status == AgentStatus.RUNNING
    first = record.current_task_id
    assert first is not None
    assert record.metadata["pid"] == node.call("pids")["worker"]
    assert (record.metadata["orchestrator"], record.metadata["alive"], record.metadata["started"]) == ("a", True, True)
    beat = record.last_heartbeat
    assert beat is not None
    assert beat <= datetime.now(UTC)
    await recorded(state, "worker", lambda record: record.last_heartbeat is not None and record.last_heartbeat > beat)
    node.call("send", "worker", "fail")
    record = await recorded(state, "worker", lambda record: record.current_task_id not in (None, first))
    assert record.failed_tasks == [first]
    assert record.metadata["restarts"] == 1
    assert record.metadata["last_error"] == "ValueError: told to fail"
    assert record.error_count == 1
    second = record.current_task_id
    node.call("stop_agent", "worker")
    record = await recorded(state, "worker", lambda record: bool(record.completed_tasks))
    assert record.status == AgentStatus.CANCELLED
    assert (record.failed_tasks, record.completed_tasks, record.current_task_id) == ([first], [second], None)
    assert (record.metadata["state"], record.metadata["alive"], record.metadata["pid"]) == ("stopped", False, None)


async def test_a_life_leaves_its_result(start_node: StartNode, state: StateManager) -> None:
    """An object as it is, anything else under `result`; what it failed of; with its times."""
    node = start_node("a").wait_ready()
    results = {"object": ({"files": 3}, {"files": 3}), "list": ([1, "two"], {"result": [1, "two"]})}
    for agent, (given, _) in results.items():
        node.call("register_agent", "Finishing", agent, gives=given)
    node.call("register_agent", "Failing", "never")
    node.call("start")
    for agent, (_, kept) in results.items():
        record = await recorded(state, agent, lambda record: bool(record.completed_tasks))
        done = await state.get_task_result(record.completed_tasks[0])
        assert done is not None
        assert (done.agent_id, done.status, done.output_data, done.error_message) == (agent, "completed", kept, None)
        assert done.completed_at is not None
        assert done.duration_seconds == pytest.approx((done.completed_at - done.started_at).total_seconds())
    record = await recorded(state, "never", lambda record: bool(record.failed_tasks))
    undone = await state.get_task_result(record.failed_tasks[0])
    assert undone is not None
    assert (undone.status, undone.error_message) == (TaskStatus.FAILED, "ValueError: it cannot be done")


async def test_a_store_that_is_away_holds_nothing_up(
    start_node: StartNode, state: StateManager, killable_state: RunningProgram, fleet: Fleet
) -> None:
    """The orchestrator goes on: agents are started, stopped, restarted. When the store is back it has all of it."""
    node = start_node("a", max_workers=20).wait_ready()
    for agent in ("stays", "stopped", "fails"):
        node.call("register_agent", "LoopingThread", agent, restart={"when": "on_failure"})
    node.call("register_agent", "Finishing", "ends")
    for agent in ("stays", "stopped", "fails"):
        node.call("start_agent", agent)
    await seen(fleet, lambda ps: [r["state"] for r in ps["agents"]].count("ready") == 3, "three are ready")
    killable_state.kill()
    node.call("stop_agent", "stopped")
    node.call("send", "fails", "fail")
    node.wait_for(lambda: node.counts("fails")["AGENT_READY"] == 2, "restart what failed")
    node.call("start_agent", "ends")
    node.wait_for(lambda: node.counts("ends")["AGENT_TERMINATED"] == 1, "run one to its end")
    killable_state.restart()
    wanted = {"stays": "ready", "stopped": "stopped", "fails": "ready", "ends": "completed"}
    await seen(fleet, lambda ps: {row["agent_name"]: row["state"] for row in ps["agents"]} == wanted, "all is recorded")
    results = {result.agent_id: result.status for result in await state.list_task_results()}
    assert results == {"stopped": "completed", "fails": "failed", "ends": "completed"}


async def test_a_store_that_comes_later_is_told_everything(
    start_node: StartNode, state: StateManager, killable_state: RunningProgram, fleet: Fleet
) -> None:
    """Agents are started without it, with a warning."""
    killable_state.kill()
    node = start_node("a").wait_ready()
    node.call("register_agent", "LoopingThread", "early")
    node.call("register_agent", "Finishing", "done")
    node.call("start")
    node.wait_for(lambda: node.counts("early")["AGENT_READY"] and node.counts("done")["AGENT_TERMINATED"], "start both")
    killable_state.restart()
    wanted = {"early": "ready", "done": "completed"}
    await seen(
        fleet, lambda ps: {row["agent_name"]: row["state"] for row in ps["agents"]} == wanted, "both are recorded"
    )
    assert [result.agent_id for result in await state.list_task_results()] == ["done"]
    assert any("started without knowing whether others run them" in line for line in node.log)


async def test_a_store_that_was_restarted_makes_nobody_dead(
    start_node: StartNode, killable_state: RunningProgram, fleet: Fleet
) -> None:
    """Nobody could be heard of meanwhile: no agent is taken over, though the silence was longer than the timeout."""
    nodes = [start_node(name, max_workers=9, heartbeat_timeout=3.0) for name in "ab"]
    for node in nodes:
        node.wait_ready()
        for number in range(4):
            node.call("register_agent", "LoopingThread", f"agent-{number}", spread=True)
    for wait in [node.begin("start") for node in nodes]:
        wait()
    before = await seen(fleet, lambda ps: [r["state"] for r in ps["agents"]] == ["ready"] * 4, "all are ready")
    killable_state.kill()
    await asyncio.sleep(3.5)  # longer than the heartbeat timeout: nothing happens meanwhile that could be waited for
    killable_state.restart()
    after = await seen(fleet, lambda ps: [r["state"] for r in ps["agents"]] == ["ready"] * 4, "all are there again")
    assert [row["orchestrator"] for row in after["agents"]] == [row["orchestrator"] for row in before["agents"]]
    assert all(node.counts(f"agent-{n}")["AGENT_ERROR"] == 0 for node in nodes for n in range(4))
