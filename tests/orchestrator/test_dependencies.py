"""Dependencies: who waits for whom, and what becomes of whoever waits in vain."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.orchestrator import crew
from tests.orchestrator.conftest import MakeWitness
from trunkline.agents import AgentConfig
from trunkline.orchestrator import AgentNotFoundError, DependencyCycleError, DependencyError, OrchestratorEvent
from trunkline.orchestrator.registry.dependencies import DependencyGraph


def graph(**needed: list[str]) -> DependencyGraph:
    """`graph(a=["b"])`: a needs b."""
    made = DependencyGraph()
    for agent, names in needed.items():
        made.add(agent, names)
    return made


def test_the_order_puts_each_agent_after_what_it_needs() -> None:
    """Else in the order given; what is needed comes along."""
    made = graph(a=["b", "c"], b=["d"], c=["d"], d=[], e=[])
    assert made.order(["e", "a"]) == ["e", "d", "b", "c", "a"]
    assert made.order(["c"]) == ["d", "c"]
    assert made.order([]) == []


def test_a_dependency_that_is_named_twice_counts_once() -> None:
    """The order of naming is kept."""
    made = graph(a=["b", "c", "b"])
    made.add("a", ["c", "d"])
    assert made.of("a") == ["b", "c", "d"]
    assert made.of("unknown") == []


@pytest.mark.parametrize(
    ("needed", "cycle"),
    [
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": ["b"], "b": ["a"]}, ["a", "b", "a"]),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, ["a", "b", "c", "a"]),
    ],
)
def test_agents_that_wait_for_each_other_are_named(needed: dict[str, list[str]], cycle: list[str]) -> None:
    """Those of the circle, in their order, and nobody else."""
    with pytest.raises(DependencyCycleError, match=f"agents wait for each other: {' -> '.join(cycle)}") as error:
        graph(**needed).check({*needed})
    assert error.value.details == {"cycle": cycle}


def test_a_long_chain_is_ordered() -> None:
    """Deeper than any recursion."""
    made = DependencyGraph()
    names = [f"agent-{number}" for number in range(20_000)]
    for agent, needed in zip(names[1:], names[:-1], strict=True):
        made.add(agent, [needed])
    assert made.order([names[-1]]) == names


def test_an_unknown_dependency_is_refused_at_the_start(orchestrate: MakeWitness) -> None:
    """Nothing is started; when it has been registered, all is."""
    witness = orchestrate()
    witness.orchestrator.register_agent(crew.ThreadDone, "a", dependencies=["b"])
    witness.orchestrator.register_agent(crew.ThreadDone, "c")
    for start in (witness.orchestrator.start, lambda: witness.orchestrator.start_agent("c")):
        with pytest.raises(DependencyError, match="agent 'a' depends on 'b', which is not registered") as error:
            start()
        assert error.value.details == {"agent": "a", "dependency": "b"}
        assert isinstance(error.value, ValueError)
    assert witness.types() == []
    witness.orchestrator.register_agent(crew.ThreadDone, "b")
    witness.orchestrator.start()
    assert witness.orchestrator.join(30)
    assert [witness.state(name) for name in "abc"] == ["completed"] * 3


def test_a_circle_is_refused_at_the_start(orchestrate: MakeWitness) -> None:
    """Nothing is started."""
    witness = orchestrate()
    witness.orchestrator.register_agent(crew.ThreadDone, "a", dependencies=["b"])
    witness.orchestrator.register_agent(crew.ThreadDone, "b")
    witness.orchestrator.add_dependency("b", ["a"])
    with pytest.raises(DependencyCycleError, match="a -> b -> a"):
        witness.orchestrator.validate_dependencies()
    with pytest.raises(DependencyCycleError):
        witness.orchestrator.start()
    assert [row["started"] for row in witness.rows().values()] == [False, False]


def test_only_a_registered_agent_gets_dependencies(orchestrate: MakeWitness) -> None:
    """Another is unknown, by name."""
    with pytest.raises(AgentNotFoundError, match="no agent 'a' is registered"):
        orchestrate().orchestrator.add_dependency("a", ["b"])


def test_an_agent_starts_when_what_it_needs_is_ready(orchestrate: MakeWitness) -> None:
    """Ready, not only started; in any order of registration."""
    witness = orchestrate()
    witness.orchestrator.register_agent(crew.ThreadWaiter, "api", dependencies=["database", "cache"])
    witness.orchestrator.register_agent(crew.ProcessWaiter, "database", crew.PATIENT)
    witness.orchestrator.register_agent(crew.ThreadWaiter, "cache", dependencies=["database"])
    witness.orchestrator.start()
    witness.wait(OrchestratorEvent.AGENT_READY, "api")
    order = [(record.agent, record.type) for record in witness.orchestrator.event_store.query()]
    assert order == [
        (agent, f"AGENT_{what}") for agent in ("database", "cache", "api") for what in ("STARTED", "READY")
    ]


def test_an_agent_that_waits_says_for_whom(orchestrate: MakeWitness) -> None:
    """It stands in the queue, with the reason."""
    witness = orchestrate()
    config = AgentConfig(ready_timeout=60, heartbeat_timeout=60)
    witness.orchestrator.register_agent(crew.NeverReadyThread, "slow", config)
    witness.orchestrator.register_agent(crew.ThreadDone, "a", dependencies=["slow"])
    witness.orchestrator.start()
    row = witness.rows()["a"]
    assert (row["state"], row["in_queue"], row["started"]) == ("waiting", True, False)
    reason = witness.orchestrator.memory.get_agent("a").reason
    assert reason == "it needs 'slow', which is started"
    assert witness.orchestrator.stop_agent("a") == "stopped"


def test_what_has_completed_is_enough(orchestrate: MakeWitness) -> None:
    """A dependency that did its work is not started again for whoever needs it."""
    witness = orchestrate()
    witness.orchestrator.register_agent(crew.ThreadDone, "prepare")
    witness.orchestrator.register_agent(crew.ThreadDone, "a", dependencies=["prepare"])
    witness.orchestrator.start()
    assert witness.orchestrator.join(30)
    witness.orchestrator.start_agent("a")
    assert witness.orchestrator.join(30)
    assert len(witness.told(OrchestratorEvent.AGENT_STARTED, "a")) == 2
    assert len(witness.told(OrchestratorEvent.AGENT_STARTED, "prepare")) == 1


def test_one_agent_is_started_with_what_it_needs(orchestrate: MakeWitness) -> None:
    """And nobody else."""
    witness = orchestrate()
    witness.orchestrator.register_agent(crew.ThreadWaiter, "database")
    witness.orchestrator.register_agent(crew.ThreadWaiter, "api", dependencies=["database"])
    witness.orchestrator.register_agent(crew.ThreadWaiter, "other")
    witness.orchestrator.start_agent("api")
    witness.until("api", "ready")
    assert [witness.state(name) for name in ("database", "api", "other")] == ["ready", "ready", "registered"]


def test_whoever_needs_a_failed_agent_fails_with_that_reason(orchestrate: MakeWitness) -> None:
    """And so do those that need these; none of them is started."""
    witness = orchestrate()
    config = AgentConfig(heartbeat_timeout=60)
    witness.orchestrator.register_agent(crew.ThreadTrouble, "a", config, at="setup")
    witness.orchestrator.register_agent(crew.ThreadDone, "b", dependencies=["a"])
    witness.orchestrator.register_agent(crew.ThreadDone, "c", dependencies=["b"])
    witness.orchestrator.start()
    assert witness.orchestrator.join(30)
    told = {agent: witness.wait(OrchestratorEvent.AGENT_ERROR, agent)["error_message"] for agent in "bc"}
    assert told == {"b": "it needs 'a', which is failed", "c": "it needs 'b', which is failed"}
    assert {row["started"] for name, row in witness.rows().items() if name != "a"} == {False}
    assert [witness.state(name) for name in "abc"] == ["failed"] * 3


def test_whoever_needs_an_agent_that_is_restarted_waits(orchestrate: MakeWitness, tmp_path: Path) -> None:
    """It starts when that one is ready at last."""
    witness = orchestrate()
    lives = tmp_path / "lives"
    lives.touch()
    witness.orchestrator.register_agent(
        crew.ThreadTrouble, "a", restart="on_failure", at="setup", file=str(lives), times=2
    )
    witness.orchestrator.register_agent(crew.ThreadDone, "b", dependencies=["a"])
    witness.orchestrator.start()
    witness.until("b", "completed")
    assert len(witness.told(OrchestratorEvent.AGENT_RESTARTED, "a")) == 2


def test_stopping_a_dependency_sends_home_whoever_waits_for_it(orchestrate: MakeWitness) -> None:
    """Starting that one again starts what it needs, too."""
    witness = orchestrate()
    witness.orchestrator.register_agent(crew.NeverReadyThread, "a", crew.PATIENT)
    witness.orchestrator.register_agent(crew.ThreadDone, "b", dependencies=["a"])
    witness.orchestrator.start()
    witness.wait(OrchestratorEvent.AGENT_STARTED, "a")
    witness.orchestrator.stop_agent("a")
    assert witness.wait(OrchestratorEvent.AGENT_ERROR, "b")["error_message"] == "it needs 'a', which is stopped"
    assert witness.orchestrator.start_agent("b") == "waiting: it needs 'a', which is started"
    witness.wait(OrchestratorEvent.AGENT_STARTED, "a", 2)


def test_whoever_needs_a_hung_thread_fails(orchestrate: MakeWitness) -> None:
    """It cannot be started again, and nobody waits for it."""
    witness = orchestrate()
    go_on = threading.Event()
    config = AgentConfig(heartbeat_interval=0.05, heartbeat_timeout=0.5, step_timeout=0.1)
    witness.orchestrator.register_agent(crew.Pausing, "a", config, go_on=go_on)
    witness.orchestrator.register_agent(crew.ThreadDone, "b", dependencies=["a"])
    witness.orchestrator.start_agent("a")
    witness.wait(OrchestratorEvent.AGENT_HUNG, "a")
    witness.orchestrator.start_agent("b")
    assert witness.wait(OrchestratorEvent.AGENT_ERROR, "b")["error_message"] == "it needs 'a', which is hung"
    go_on.set()


def test_agents_can_be_registered_while_others_run(orchestrate: MakeWitness) -> None:
    """They are started by name, or with the next start, which leaves alone what runs."""
    witness = orchestrate()
    witness.orchestrator.register_agent(crew.ThreadWaiter, "a")
    witness.orchestrator.start()
    witness.wait(OrchestratorEvent.AGENT_READY, "a")
    witness.orchestrator.register_agent(crew.ThreadWaiter, "b", dependencies=["a"])
    witness.orchestrator.register_agent(crew.ThreadWaiter, "c", dependencies=["b"])
    assert witness.orchestrator.start_agent("b") == "started"
    witness.orchestrator.start()
    witness.wait(OrchestratorEvent.AGENT_READY, "c")
    assert [len(witness.told(OrchestratorEvent.AGENT_STARTED, name)) for name in "abc"] == [1, 1, 1]
