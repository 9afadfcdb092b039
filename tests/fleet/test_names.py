"""Names in a fleet: one orchestrator of each."""

from __future__ import annotations

import asyncio

import pytest

from tests.fleet.conftest import StartNode
from tests.fleet.nodes import seen
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import AgentPresence, ChangeType, EndReason, GrpcStateManager, LeaseHeldError
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


async def test_a_dead_orchestrators_records_end_by_themselves(
    start_node: StartNode, fleet: Fleet, killable_state: RunningProgram
) -> None:
    """Its own and its agents' presences, with the reason in the watch. The records of its agents stay."""
    node = start_node("a", heartbeat_timeout=1.0).wait_ready()
    node.call("register_agent", "LoopingThread", "mine")
    node.call("start")
    await seen(fleet, lambda ps: [row["state"] for row in ps["agents"]] == ["ready"], "it is ready")
    ended: dict[str, EndReason | None] = {}
    async with GrpcStateManager(killable_state.address) as state, asyncio.timeout(PATIENCE):
        assert [lease.name for lease in await state.list_leases()] == ["orchestrator/a"]
        changes = state.watch("agent_state", "agent_presence")
        async for change in changes:
            if change.type is ChangeType.SYNCED:
                node.kill()
            if change.type is ChangeType.DELETED:
                ended[f"{change.kind} {change.id}"] = change.reason
            if len(ended) == 2:
                break
        assert ended == dict.fromkeys(("agent_state a", "agent_presence mine"), EndReason.LEASE_ENDED)
        assert await state.list_leases() == []
        assert [record.agent_id for record in await state.list_agent_states()] == ["mine"]


async def test_agents_are_found_by_what_they_are(
    start_node: StartNode, fleet: Fleet, killable_state: RunningProgram
) -> None:
    """While they run, with their status; nobody else can announce himself under the name."""
    node = start_node("a").wait_ready()
    node.call("register_agent", "LoopingThread", "mine")
    node.call("register_agent", "LoopingThread", "idle")
    async with GrpcStateManager(killable_state.address) as state, asyncio.timeout(PATIENCE):
        assert await state.find_agents() == []
        node.call("start_agent", "mine")
        async for change in state.watch_agents(type="LoopingThread", status="running"):
            if isinstance(change.record, AgentPresence):
                break
        (found,) = await state.find_agents(type="LoopingThread")
        assert (found.agent_id, found.status, found.metadata["orchestrator"]) == ("mine", "running", "a")
        with pytest.raises(LeaseHeldError, match="agent 'mine' is announced already"):
            await state.announce("mine")
        node.call("stop_agent", "mine")
        async for change in state.watch_agents():
            if change.type is ChangeType.DELETED or (
                change.type is ChangeType.SYNCED and not await state.find_agents()
            ):
                break
        async with await state.announce("idle"):
            with pytest.raises(AgentElsewhereError, match="agent 'idle' is announced by somebody else"):
                node.call("start_agent", "idle")
        assert node.call("start_agent", "idle") == "started"


async def test_who_lost_its_name_runs_nothing(start_node: StartNode, fleet: Fleet) -> None:
    """Another orchestrator took the name while the first one stood still: as it could not start, it does not go on."""
    first = start_node("same", heartbeat_timeout=1.0).wait_ready()
    first.call("register_agent", "LoopingThread", "mine")
    first.call("start")
    await seen(fleet, lambda ps: [row["state"] for row in ps["agents"]] == ["ready"], "it is ready")
    first.pause()
    second = start_node("same").wait_ready()
    second.call("register_agent", "LoopingThread", "mine")
    second.call("start")
    second.wait_for(lambda: second.counts("mine")["AGENT_READY"], "take the name over, and run the agent")
    first.resume()
    first.wait_for(lambda: first.counts("mine")["AGENT_TERMINATED"], "end its agent")
    assert "another orchestrator is called 'same'" in first.events("AGENT_ERROR", "mine")[0]["error_message"]
    with pytest.raises(OrchestratorExistsError):
        first.call("start")
    ps = await fleet.ps()
    assert [(row["name"], row["pid"]) for row in ps["orchestrators"]] == [("same", second.process.pid)]
    assert second.counts("mine")["AGENT_TERMINATED"] == 0
