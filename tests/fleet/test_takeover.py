"""Agents that may run anywhere: when their orchestrator is gone, another one takes them over, exactly once."""

from __future__ import annotations

from collections.abc import Callable

from tests.fleet.conftest import StartNode
from tests.fleet.nodes import Fact, Node, seen
from trunkline.orchestrator import Fleet

AGENTS = tuple(f"agent-{number}" for number in range(6))


def start_spread(start_node: StartNode, count: int = 3) -> list[Node]:
    """Orchestrators that all know the same agents, and have started them."""
    nodes = [start_node(name, max_workers=10) for name in "abcdef"[:count]]
    for node in nodes:
        node.wait_ready()
        for agent in AGENTS:
            node.call("register_agent", "LoopingThread", agent, spread=True)
    for waiting in [node.begin("start") for node in nodes]:
        waiting()
    return nodes


async def start_two(start_node: StartNode, fleet: Fleet) -> tuple[Node, Node]:
    """One orchestrator that runs agents, and another: whoever is quick may run them all."""
    nodes = start_spread(start_node, 2)
    found = await placed(fleet, lambda found: set(found) == set(AGENTS), "all ready")
    busy = next(node for node in nodes if node.name in found.values())
    return busy, next(node for node in nodes if node is not busy)


async def placed(fleet: Fleet, is_right: Callable[[dict[str, str]], bool], why: str) -> dict[str, str]:
    """Waits until who runs which agent is right."""
    ps = await seen(fleet, lambda ps: is_right(runners(ps)), why)
    return runners(ps)


def runners(ps: Fact) -> dict[str, str]:
    """Who runs which agent."""
    return {row["agent_name"]: row["orchestrator"] for row in ps["agents"] if row["state"] == "ready"}


def starts(nodes: list[Node]) -> dict[str, int]:
    """How often each agent was started, anywhere."""
    return {agent: sum(node.counts(agent)["AGENT_STARTED"] for node in nodes) for agent in AGENTS}


async def test_a_killed_orchestrators_agents_go_on_elsewhere(start_node: StartNode, fleet: Fleet) -> None:
    """Each on exactly one of the others, started exactly once more; those of the others stay where they are."""
    nodes = start_spread(start_node)
    before = await placed(fleet, lambda found: set(found) == set(AGENTS), "all ready")
    assert starts(nodes) == dict.fromkeys(AGENTS, 1)
    victim = next(node for node in nodes if node.name in before.values())
    moved = {agent for agent, name in before.items() if name == victim.name}
    victim.kill()
    after = await placed(fleet, lambda found: set(found) == set(AGENTS) and victim.name not in found.values(), "moved")
    assert starts(nodes) == {agent: 2 if agent in moved else 1 for agent in AGENTS}
    assert {agent: name for agent, name in after.items() if agent not in moved} == {
        agent: name for agent, name in before.items() if agent not in moved
    }


async def test_an_orchestrator_that_shuts_down_hands_its_agents_over(start_node: StartNode, fleet: Fleet) -> None:
    """At once, without waiting for its heartbeats to be missed."""
    leaving, staying = await start_two(start_node, fleet)
    leaving.end()
    await placed(fleet, lambda found: found == dict.fromkeys(AGENTS, staying.name), "handed over")


async def test_one_that_was_held_up_gives_up_what_was_taken_over(start_node: StartNode, fleet: Fleet) -> None:
    """An orchestrator that comes back after others took it for dead ends its copies, and says why."""
    held, other = await start_two(start_node, fleet)
    mine = [agent for agent in AGENTS if held.counts(agent)["AGENT_STARTED"]]
    held.pause()
    await placed(fleet, lambda found: found == dict.fromkeys(AGENTS, other.name), "taken over")
    held.resume()
    for agent in mine:
        held.wait_for(lambda agent=agent: held.counts(agent)["AGENT_TERMINATED"], f"end its {agent}")  # type: ignore[misc]
        assert "has taken it over" in held.events("AGENT_ERROR", agent)[0]["error_message"]
    await placed(fleet, lambda found: found == dict.fromkeys(AGENTS, other.name), "the other has all")
    assert starts([held, other]) == {agent: 2 if agent in mine else 1 for agent in AGENTS}


async def test_one_that_was_stopped_stays_stopped(start_node: StartNode, fleet: Fleet) -> None:
    """Nobody takes over what somebody stopped."""
    nodes = [start_node(name) for name in "ab"]
    stopped, going_on = AGENTS[:2]
    for node in nodes:
        node.wait_ready()
        for agent in (stopped, going_on):
            node.call("register_agent", "LoopingThread", agent, spread=True)
    for agent in (stopped, going_on):
        nodes[0].call("start_agent", agent)
    nodes[1].call("start")
    await placed(fleet, lambda found: found == {stopped: "a", going_on: "a"}, "both ready")
    assert (await fleet.stop(stopped))["orchestrator"] == "a"
    await seen(
        fleet,
        lambda ps: (stopped, "stopped") in {(row["agent_name"], row["state"]) for row in ps["agents"]},
        "its record says that it is stopped",
    )
    nodes[0].kill()
    await placed(fleet, lambda found: found.get(going_on) == "b", "taken over")
    rows = {row["agent_name"]: row for row in (await fleet.ps())["agents"]}
    assert (rows[stopped]["state"], rows[stopped]["alive"]) == ("stopped", False)


async def test_an_agent_of_one_orchestrator_only_is_lost_with_it(start_node: StartNode, fleet: Fleet) -> None:
    """`ps` says so, and the fleet says so to who wants to stop it."""
    a, b = (start_node(name).wait_ready() for name in "ab")
    a.call("register_agent", "LoopingThread", "alone")
    a.call("start")
    b.call("start")
    await placed(fleet, lambda found: found.get("alone") == "a", "ready")
    a.kill()
    ps = await seen(fleet, lambda ps: ps["agents"][0]["state"] == "lost", "the agent is lost")
    assert ps["agents"] == [
        {
            "agent_name": "alone",
            "alive": False,
            "started": True,
            "in_queue": False,
            "state": "lost",
            "orchestrator": "a",
        }
    ]
    assert [(row["name"], row["alive"]) for row in ps["orchestrators"]] == [("a", False), ("b", True)]
    assert ps["max_workers"] == 5
