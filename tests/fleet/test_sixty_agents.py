"""The whole of it: 3 orchestrators, 60 agents of every kind, 10 of them killed or held up at random while messages go
to and fro."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter

from tests.fleet import crew
from tests.fleet.conftest import StartNode
from tests.fleet.nodes import Fact, Node, seen
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import AgentState, GrpcStateManager, TaskStatus
from trunkline.orchestrator import Fleet

Nodes = dict[str, Node]

KINDS = (*crew.THREADS, *crew.PROCESSES)
POLICIES = ("never", "on_failure", "always")
AGENTS = tuple(f"agent-{number:02}" for number in range(60))
"""Twenty on each orchestrator, ten of each kind; of each eighteen that are all kinds three times, one policy."""
ENDING = tuple(f"ending-{policy}" for policy in POLICIES)
"""Besides, on "a": they end well at once."""
BOUND = 8.0
"""Seconds without a heartbeat, after which an agent counts as hung."""
AGENT = {"heartbeat_interval": 0.5, "heartbeat_timeout": BOUND, "ready_timeout": 60.0, "stop_timeout": 20.0}


def kind_of(agent: str) -> str:
    return KINDS[AGENTS.index(agent) // 3 % len(KINDS)]


def policy_of(agent: str) -> str:
    return POLICIES[AGENTS.index(agent) // 18 % len(POLICIES)]


def home_of(agent: str) -> str:
    return "abc"[AGENTS.index(agent) % 3]


async def test_sixty_agents(start_node: StartNode, fleet: Fleet, killable_state: RunningProgram) -> None:
    """All events arrive, `ps` is right within a heartbeat bound, restarts follow policy, and nobody gets another's
    messages."""
    nodes = {name: start_node(name, max_workers=25, heartbeat_timeout=20.0) for name in "abc"}
    await asyncio.to_thread(start_all, nodes)
    ps = await seen(fleet, lambda ps: states(ps) == dict.fromkeys(AGENTS, "ready"), "all are ready", 2 * PATIENCE)
    assert {row["agent_name"]: row["orchestrator"] for row in ps["agents"]} == {
        **{agent: home_of(agent) for agent in AGENTS},
        **dict.fromkeys(ENDING, "a"),
    }
    assert (ps["max_workers"], ps["waiting_count"]) == (75, 0)

    sent = await asyncio.to_thread(reach_everybody, nodes)
    await asyncio.to_thread(check_messages, nodes, sent)  # before somebody is killed with a message in hand
    victims = random.Random(7).sample([agent for agent in AGENTS if kind_of(agent) in crew.PROCESSES], 10)
    held_up = victims[:3]
    stop_talking = asyncio.Event()
    talking = asyncio.create_task(talk(nodes, [agent for agent in AGENTS if agent not in victims], stop_talking))
    pids = {pid for name in nodes for pid in (await asyncio.to_thread(nodes[name].call, "pids")).items()}
    noticed = asyncio.create_task(
        when_noticed(killable_state.address, {agent: pid for agent, pid in pids if agent in victims})
    )
    for agent, pid in pids:
        if agent in victims:
            os.kill(pid, signal.SIGSTOP if agent in held_up else signal.SIGKILL)
    killed_at = time.monotonic()
    seconds = [at - killed_at for at in (await noticed).values()]
    right = {agent: "failed" if agent in victims and policy_of(agent) == "never" else "ready" for agent in AGENTS}
    ps = await seen(fleet, lambda ps: states(ps) == right, "the killed ones are restarted, or failed")
    stop_talking.set()
    sent |= await talking

    assert max(seconds) < BOUND + PATIENCE, f"noticed after {min(seconds):.1f} to {max(seconds):.1f} s"
    await asyncio.to_thread(check_messages, nodes, sent)
    for agent in AGENTS:
        check_events(nodes[home_of(agent)], agent, agent in victims, agent in held_up)
    check_ending(nodes["a"])
    await check_results(killable_state.address, victims, held_up)


def start_all(nodes: Nodes) -> None:
    """Registers and starts everybody."""
    for node in nodes.values():
        node.wait_ready()
    for agent in AGENTS:
        restart = {"when": policy_of(agent)}
        nodes[home_of(agent)].call("register_agent", kind_of(agent), agent, restart=restart, config=AGENT)
    for agent, policy in zip(ENDING, POLICIES, strict=True):
        nodes["a"].call("register_agent", "Finishing", agent, restart={"when": policy, "max_restarts": 2})
    for wait in [node.begin("start") for node in nodes.values()]:
        wait()


def states(ps: Fact) -> dict[str, str]:
    """Where each of the sixty stands."""
    return {row["agent_name"]: row["state"] for row in ps["agents"] if row["agent_name"] in AGENTS}


def reach_everybody(nodes: Nodes) -> dict[str, str]:
    """Sends from each orchestrator to each agent, and from each agent to the next; says who is to get which text."""
    sent: dict[str, str] = {}
    waiting = []
    for number, agent in enumerate(AGENTS):
        for name, node in nodes.items():
            text = f"{name} to {agent}"
            sent[text] = agent
            waiting.append(node.begin("send", agent, text))
        after = AGENTS[(number + 1) % len(AGENTS)]
        text = f"{agent} to {after}"
        sent[text] = after
        waiting.append(nodes["a"].begin("send", agent, f"to {after}: {text}"))
    for wait in waiting:
        wait()
    return sent


async def talk(nodes: Nodes, survivors: list[str], stop: asyncio.Event) -> dict[str, str]:
    """Goes on to send from everywhere to everywhere."""
    sent: dict[str, str] = {}
    dice = random.Random(8)
    number = 0
    while not stop.is_set():
        number += 1
        relay, receiver = dice.sample(survivors, 2)
        text = f"in between {number}"
        sent[text] = receiver
        await asyncio.to_thread(dice.choice(list(nodes.values())).call, "send", relay, f"to {receiver}: {text}")
    assert number > 10
    return sent


async def when_noticed(state_address: str, pids: dict[str, int]) -> dict[str, float]:
    """When each of these agents was known not to be the process any more that it was."""
    found: dict[str, float] = {}
    async with GrpcStateManager(state_address) as state, asyncio.timeout(BOUND + PATIENCE):
        async for change in state.watch("agent_state"):
            record = change.record
            if isinstance(record, AgentState) and record.agent_id in pids:
                is_there = record.metadata["pid"] == pids[record.agent_id] and record.metadata["state"] == "ready"
                if not is_there:
                    found.setdefault(record.agent_id, time.monotonic())
            if len(found) == len(pids):
                break
    return found


def check_messages(nodes: Nodes, sent: dict[str, str]) -> None:
    """Each text reached whom it was for, once, on its orchestrator; nobody got anything else."""

    for name, node in nodes.items():
        wanted = Counter((agent, text) for text, agent in sent.items() if home_of(agent) == name)
        node.wait_for(lambda: len(node.received()) >= wanted.total(), "get all messages")  # noqa: B023  # it waits here
        assert Counter(node.received()) == wanted


def check_events(node: Node, agent: str, is_victim: bool, was_held_up: bool) -> None:
    """What was told of an agent is what happened to it."""
    is_restarted = is_victim and policy_of(agent) != "never"
    node.wait_for(lambda: node.counts(agent)["AGENT_READY"] == 1 + is_restarted, f"tell of {agent}")
    counts = node.counts(agent)
    del counts["AGENT_MESSAGE"]
    assert counts == +Counter(
        AGENT_STARTED=1 + is_restarted,
        AGENT_READY=1 + is_restarted,
        AGENT_HUNG=int(was_held_up),
        AGENT_ERROR=int(is_victim),
        AGENT_TERMINATED=int(is_victim),
        AGENT_RESTARTED=int(is_restarted),
    ), (agent, kind_of(agent), policy_of(agent), node.events(agent=agent))


def check_ending(node: Node) -> None:
    """Those that end well are started again only by "always", and as often as it may be."""
    for agent, lives in zip(ENDING, (1, 1, 3), strict=True):
        counts = node.counts(agent)
        assert (counts["AGENT_STARTED"], counts["AGENT_TERMINATED"], counts["AGENT_RESTARTED"]) == (
            lives,
            lives,
            lives - 1,
        )


async def check_results(state_address: str, victims: list[str], held_up: list[str]) -> None:
    """Each life that ended has its result."""
    async with GrpcStateManager(state_address) as state:
        found = await state.list_task_results()
    failed = {result.agent_id: result.error_message or "" for result in found if result.status == TaskStatus.FAILED}
    assert {agent for agent in failed if agent in AGENTS} == set(victims)
    for agent in victims:
        assert ("it hangs" if agent in held_up else "SIGKILL") in failed[agent]
    assert Counter(result.agent_id for result in found if result.agent_id in ENDING) == Counter(
        dict(zip(ENDING, (1, 1, 3), strict=True))
    )
