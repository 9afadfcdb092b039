"""Fleet: what it asks and commands, over several orchestrators."""

from __future__ import annotations

import asyncio

import pytest

from tests.fleet.conftest import StartNode
from tests.fleet.nodes import Node, seen
from tests.programs import RunningProgram
from trunkline import AgentState, GrpcMessageBus, GrpcStateManager, Save
from trunkline.errors import BusDisconnectedError, InvalidChannelError, MessageTooLargeError
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator import (
    AgentNotFoundError,
    AgentStateError,
    CommandDeniedError,
    CommandError,
    Fleet,
    OrchestratorNotFoundError,
)


@pytest.fixture
async def nodes(start_node: StartNode, fleet: Fleet) -> list[Node]:
    """ "a" allows everything, "b" only to look; each runs an agent, and "a" another one that needs it."""
    a = start_node("a", max_workers=4)
    b = start_node("b", max_workers=2, allowed_commands="read_only")
    for node in (a, b):
        await asyncio.to_thread(node.wait_ready)
    a.call("register_agent", "LoopingThread", "source")
    a.call("register_agent", "PeriodicThread", "reader", dependencies=["source"])
    b.call("register_agent", "BaseThread", "other")
    for node in (a, b):
        node.call("start")
    await seen(fleet, lambda ps: [row["state"] for row in ps["agents"]] == ["ready"] * 3, "all are ready")
    return [a, b]


async def test_status_is_of_one_agent_or_of_all_orchestrators(nodes: list[Node], fleet: Fleet) -> None:
    """Of an agent, its orchestrator says it; of one that is lost, the store knows the last."""
    status = await fleet.status("reader")
    assert (status["name"], status["state"], status["orchestrator"]) == ("reader", "ready", "a")
    assert status["dependencies"] == ["source"]
    everywhere = (await fleet.status())["orchestrators"]
    assert {name: told["total_agents"] for name, told in everywhere.items()} == {"a": 2, "b": 1}
    with pytest.raises(AgentNotFoundError, match="no agent 'nobody' is known"):
        await fleet.status("nobody")
    with pytest.raises(AgentNotFoundError, match="no agent 'a' is known"):
        await fleet.status("a")
    nodes[1].kill()
    await seen(fleet, lambda ps: ps["agents"][0]["state"] == "lost", "one is lost")
    status = await fleet.status("other")
    assert (status["state"], status["alive"], status["orchestrator"]) == ("lost", False, "b")


async def test_reports_stats_histories_and_dependencies_are_of_all(nodes: list[Node], fleet: Fleet) -> None:
    """Each orchestrator's own, and what can be summed or merged."""
    report = await fleet.report()
    assert set(report["orchestrators"]) == {"a", "b"}
    assert [row["agent_name"] for row in report["fleet"]["agents"]] == ["other", "reader", "source"]
    stats = await fleet.stats()
    assert (stats["running_agents"], stats["max_workers"], stats["waiting_agents"]) == (3, 6, 0)
    history = await fleet.history(type="AGENT_READY")
    assert sorted((event["agent"], event["orchestrator"]) for event in history["events"]) == [
        ("other", "b"),
        ("reader", "a"),
        ("source", "a"),
    ]
    events = (await fleet.history())["events"]
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    assert (await fleet.history(last=2, agent="reader"))["count"] == 2
    seen = {name: max(event["seq"] for event in events if event["orchestrator"] == name) for name in "ab"}
    assert (await fleet.history(after=seen, type="AGENT_READY"))["count"] == 0
    assert await fleet.dependencies() == {"dependencies": {"reader": ["source"]}}


async def test_what_an_orchestrator_does_not_allow_is_refused(nodes: list[Node], fleet: Fleet) -> None:
    """With its own words, as the error that it was there."""
    with pytest.raises(CommandDeniedError, match="'stop' is not allowed"):
        await fleet.stop("other")
    with pytest.raises(CommandDeniedError):
        await fleet.shutdown("b")
    assert (await fleet.stop("reader"))["message"] == "Agent 'reader' stopped successfully"
    with pytest.raises(AgentStateError, match="does not run: it is stopped"):
        await fleet.stop("reader")
    with pytest.raises(CommandError, match="--last is '-1'"):
        await fleet.history(last=-1)


async def test_messages_reach_agents_by_name(nodes: list[Node], fleet: Fleet) -> None:
    """Wherever they run; of one that does not run the sender is told, and of one that nobody knows."""
    for agent in ("source", "other"):
        await fleet.send(agent, ServiceMessage("tests", "STATUS", f"for {agent}"))
    for node, agent in zip(nodes, ("source", "other"), strict=True):
        node.wait_for(lambda node=node, agent=agent: (agent, f"for {agent}") in node.received(), "get it")  # type: ignore[misc]
    with pytest.raises(AgentNotFoundError):
        await fleet.send("nobody", ServiceMessage("tests", "STATUS", "?"))
    with pytest.raises(MessageTooLargeError):
        await fleet.send("other", ServiceMessage("tests", "STATUS", "x" * 5_000_000))
    await fleet.stop("source")
    await seen(fleet, lambda ps: ps["agents"][2]["state"] == "stopped", "it is recorded")
    with pytest.raises(AgentStateError, match="'source' does not run: it is stopped"):
        await fleet.send("source", ServiceMessage("tests", "STATUS", "?"))


async def test_orchestrators_are_shut_down(nodes: list[Node], fleet: Fleet) -> None:
    """One by its name, or all that allow it; who is gone is not asked any more."""
    with pytest.raises(OrchestratorNotFoundError, match="orchestrator 'nobody' is not heard of"):
        await fleet.shutdown("nobody")
    assert await fleet.shutdown("a") == {"orchestrators": ["a"]}
    ps = await seen(fleet, lambda ps: [row["alive"] for row in ps["orchestrators"]] == [False, True], "one is gone")
    assert {row["agent_name"]: row["state"] for row in ps["agents"]} == {
        "other": "ready",
        "reader": "stopped",
        "source": "stopped",
    }
    with pytest.raises(CommandDeniedError):
        await fleet.shutdown()
    with pytest.raises(AgentStateError, match="its orchestrator 'a' is not heard of"):
        await fleet.stop("source")


async def test_a_fleet_of_nobody(fleet: Fleet, killable_bus: RunningProgram, killable_state: RunningProgram) -> None:
    """`ps` is empty; whatever needs an orchestrator says that there is none."""
    ps = await fleet.ps()
    assert ps == {"agents": [], "orchestrators": [], "running_count": 0, "max_workers": 0, "waiting_count": 0}
    for asked in (fleet.status(), fleet.stats(), fleet.start("agent"), fleet.shutdown()):
        with pytest.raises(OrchestratorNotFoundError, match="no orchestrator of the fleet is heard of"):
            await asked
    with pytest.raises(InvalidChannelError):
        Fleet(killable_bus.address, killable_state.address, sender="no token")
    killable_bus.kill()
    with pytest.raises(BusDisconnectedError):
        await Fleet(GrpcMessageBus(killable_bus.address, connect_timeout=0.2), killable_state.address).connect()


async def test_ps_of_ten_thousand_agents_is_complete(fleet: Fleet, killable_state: RunningProgram) -> None:
    """All pages of the store."""
    async with GrpcStateManager(killable_state.address) as state:
        names = [f"agent-{number:05}" for number in range(10_000)]
        await state.batch([Save(AgentState(agent_id=name, agent_type="T")) for name in names])
    assert [row["agent_name"] for row in (await fleet.ps())["agents"]] == names
