"""Where agents run: on the least loaded orchestrator, and on one only."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial

import pytest

from tests.fleet.conftest import StartNode
from tests.fleet.nodes import Node, seen
from tests.patience import PATIENCE
from trunkline.orchestrator import AgentElsewhereError, AgentNotFoundError, DependencyError, Fleet


async def start_nodes(start_node: StartNode, *sizes: int, spread: bool = False, agents: int = 9) -> list[Node]:
    """Orchestrators "a", "b" … with so many workers each, that all know the same agents. None is taken for dead."""
    sized = zip("abc", sizes, strict=False)
    nodes = [start_node(name, max_workers=size, heartbeat_timeout=PATIENCE) for name, size in sized]
    for node in nodes:
        await asyncio.to_thread(node.wait_ready)
        for number in range(agents):
            node.call("register_agent", "LoopingThread", f"agent-{number}", spread=spread)
    return nodes


async def test_the_least_loaded_one_is_asked_first(start_node: StartNode, fleet: Fleet) -> None:
    """By (running + waiting) / max_workers, which each start changes; equal ones by name."""
    await start_nodes(start_node, 4, 2, 1)
    chosen = []
    for number in range(8):
        chosen.append((await fleet.start(f"agent-{number}"))["orchestrator"])
        running = Counter(chosen)
        ps = await fleet.ps()
        told = {row["name"]: row["running_count"] + row["waiting_count"] for row in ps["orchestrators"]}
        assert told == {name: running[name] for name in "abc"}
    assert chosen == ["a", "b", "c", "a", "a", "b", "a", "a"]


async def test_the_next_one_is_asked_where_the_first_does_not_know_the_agent(
    start_node: StartNode, fleet: Fleet
) -> None:
    """Where nobody does, the error says who was asked."""
    _, b = await start_nodes(start_node, 4, 2)
    b.call("register_agent", "LoopingThread", "only-b")
    await fleet.start("agent-0")
    await fleet.start("agent-1")
    assert (await fleet.start("only-b"))["orchestrator"] == "b"
    with pytest.raises(AgentNotFoundError, match="asked a, b"):
        await fleet.start("nobodys")


async def test_an_agent_runs_on_one_orchestrator_only(start_node: StartNode, fleet: Fleet) -> None:
    """Starting it elsewhere is refused, by the fleet and by each orchestrator, until it is stopped; they name who has
    it."""
    a, b = await start_nodes(start_node, 4, 4)
    a.call("start")
    with pytest.raises(AgentElsewhereError, match=r"agent 'agent-0' .* orchestrator 'a'"):
        b.call("start_agent", "agent-0")
    with pytest.raises(AgentElsewhereError, match=r"agent .* is run by orchestrator 'a'"):
        b.call("start")
    assert set(b.call("states").values()) == {"registered"}
    with pytest.raises(AgentElsewhereError, match="agent 'agent-0' runs on orchestrator 'a' already"):
        await fleet.start("agent-0")
    await fleet.stop("agent-0")
    await seen(fleet, lambda ps: ps["agents"][0]["state"] == "stopped", "its record says that it is stopped")
    assert b.call("start_agent", "agent-0") == "started"
    rows = {row["agent_name"]: row["orchestrator"] for row in (await fleet.ps())["agents"]}
    assert (rows["agent-0"], rows["agent-1"]) == ("b", "a")


async def test_of_three_that_start_it_at_once_exactly_one_does(start_node: StartNode, fleet: Fleet) -> None:
    """The others are told who."""
    nodes = await start_nodes(start_node, 30, 30, 30, agents=20)
    for number in range(20):
        agent = f"agent-{number}"
        starting = [node.begin("start_agent", agent) for node in nodes]
        won, refused = [], []
        for node, wait in zip(nodes, starting, strict=True):
            try:
                await asyncio.to_thread(wait)
                won.append(node.name)
            except AgentElsewhereError as error:
                refused.append(error.message)
        assert len(won) == 1
        assert all(message.startswith(f"agent {agent!r} is run by orchestrator {won[0]!r}") for message in refused)
        rows = {row["agent_name"]: row["orchestrator"] for row in (await fleet.ps())["agents"]}
        assert rows[agent] == won[0]
        (winner,) = (node for node in nodes if node.name == won[0])
        await asyncio.to_thread(winner.wait_for, partial(_is_ready, winner, agent), f"tell that {agent} is ready")
    assert sum(node.counts(f"agent-{number}")["AGENT_READY"] for node in nodes for number in range(20)) == 20


def _is_ready(node: Node, agent: str) -> bool:
    return node.counts(agent)["AGENT_READY"] > 0


async def test_what_is_spread_goes_to_the_least_loaded(start_node: StartNode, fleet: Fleet) -> None:
    """All start at once; each agent runs once, and each orchestrator has its share."""
    nodes = await start_nodes(start_node, 6, 6, 6, spread=True)
    for wait in [node.begin("start") for node in nodes]:
        wait()
    ps = await seen(fleet, lambda ps: [row["state"] for row in ps["agents"]] == ["ready"] * 9, "all are ready")
    share = Counter(row["orchestrator"] for row in ps["agents"])
    assert share.total() == 9
    assert min(share.values()) >= 2
    assert sum(node.counts(f"agent-{number}")["AGENT_STARTED"] for node in nodes for number in range(9)) == 9


async def test_a_spread_agent_runs_where_what_it_needs_runs(start_node: StartNode, fleet: Fleet) -> None:
    """Also where that is not the least loaded one. What is not spread cannot need what is."""
    a, b = await start_nodes(start_node, 9, 2, agents=0)
    for node in (a, b):
        node.call("register_agent", "LoopingThread", "reader", spread=True, dependencies=["source"])
        node.call("register_agent", "LoopingThread", "source", spread=True)
    assert b.call("start_agent", "source") == "started"
    for wait in [node.begin("start") for node in (a, b)]:
        wait()
    ps = await seen(fleet, lambda ps: [row["state"] for row in ps["agents"]] == ["ready"] * 2, "both are ready")
    assert {row["agent_name"]: row["orchestrator"] for row in ps["agents"]} == {"reader": "b", "source": "b"}
    a.call("register_agent", "LoopingThread", "fixed", dependencies=["source"])
    with pytest.raises(DependencyError, match="'fixed' is not spread and depends on 'source'"):
        a.call("start")
