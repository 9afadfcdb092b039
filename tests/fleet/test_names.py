"""Names in a fleet: one orchestrator of each."""

from __future__ import annotations

import pytest

from tests.fleet.conftest import StartNode
from tests.fleet.nodes import seen
from trunkline.orchestrator import AgentElsewhereError, Fleet, OrchestratorExistsError


async def test_two_orchestrators_cannot_have_one_name(start_node: StartNode, fleet: Fleet) -> None:
    """The second one is told which process has it, starts nothing, and hides nothing of the first."""
    first = start_node("same").wait_ready()
    first.call("register_agent", "LoopingThread", "mine")
    first.call("start")
    second = start_node("same").wait_ready()
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
