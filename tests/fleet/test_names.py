"""Names in a fleet: one orchestrator of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.fleet.conftest import StartNode
from tests.fleet.nodes import seen
from tests.programs import RunningProgram
from trunkline import AgentState, GrpcStateManager
from trunkline.orchestrator import AgentElsewhereError, Fleet, OrchestratorExistsError


async def test_two_orchestrators_cannot_have_one_name(start_node: StartNode, fleet: Fleet) -> None:
    """The second one is told which process has it, starts nothing, and hides nothing of the first."""
    first = start_node("same").wait_ready()
    first.call("register_agent", "LoopingThread", "mine")
    first.call("start")
    second = start_node("same").wait_ready()
    with pytest.raises(OrchestratorExistsError):
        second.call("start")
    second.call("register_agent", "LoopingThread", "yours")
    with pytest.raises(
        OrchestratorExistsError, match=f"another orchestrator is called 'same': process {first.process.pid}"
    ):
        second.call("start")
    ps = await seen(
        fleet, lambda ps: [row["state"] for row in ps["agents"]] == ["ready"], "only the first one's is there"
    )
    assert [(row["name"], row["pid"]) for row in ps["orchestrators"]] == [("same", first.process.pid)]


async def test_a_killed_orchestrator_can_be_started_again_at_once(start_node: StartNode, fleet: Fleet) -> None:
    """It succeeds to itself: its agents are its own again, without waiting for the heartbeats to be missed."""
    before = start_node("phoenix", heartbeat_timeout=60.0).wait_ready()
    before.call("register_agent", "LoopingThread", "mine")
    before.call("start")
    await seen(fleet, lambda ps: [row["state"] for row in ps["agents"]] == ["ready"], "it is ready")
    before.kill()
    after = start_node("phoenix").wait_ready()
    after.call("register_agent", "LoopingThread", "mine")
    after.call("start")
    after.wait_for(lambda: after.counts("mine")["AGENT_READY"], "start its agent again")
    ps = await seen(fleet, lambda ps: ps["orchestrators"][0]["pid"] == after.process.pid, "it is known again")
    assert [(row["agent_name"], row["orchestrator"]) for row in ps["agents"]] == [("mine", "phoenix")]


async def test_an_agent_cannot_be_called_like_an_orchestrator(start_node: StartNode, fleet: Fleet) -> None:
    """Their records and channels would be the same ones."""
    a, b = (start_node(name).wait_ready() for name in "ab")
    a.call("start")
    await seen(fleet, lambda ps: len(ps["orchestrators"]) == 2, "both are there")
    a.call("register_agent", "LoopingThread", "b")
    with pytest.raises(AgentElsewhereError, match="'b'"):
        a.call("start")
    assert b.call("states") == {}


async def test_an_orchestrator_that_is_long_dead_is_forgotten(
    start_node: StartNode, fleet: Fleet, killable_state: RunningProgram
) -> None:
    """By the next one that starts. One of lately stays, as dead."""
    facts = {"kind": "orchestrator", "orchestrator_id": "x", "max_workers": 1, "heartbeat_timeout": 1.0}
    async with GrpcStateManager(killable_state.address) as state:
        for name, age in (("yesterdays", timedelta(days=1.5)), ("todays", timedelta(hours=1))):
            beat = datetime.now(UTC) - age
            await state.save_agent_state(
                AgentState(
                    agent_id=name, agent_type="orchestrator", status="running", last_heartbeat=beat, metadata=facts
                )
            )
    start_node("new").wait_ready()
    ps = await seen(
        fleet, lambda ps: "yesterdays" not in [row["name"] for row in ps["orchestrators"]], "it is forgotten"
    )
    assert {row["name"]: row["alive"] for row in ps["orchestrators"] if row["name"] != "new"} == {"todays": False}
