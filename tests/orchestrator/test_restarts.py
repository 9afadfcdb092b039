"""Restarts: never, on failure or always, with backoff and a limit."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator import crew
from tests.orchestrator.conftest import MakeWitness
from trunkline.agents import AgentConfig, BaseAgent
from trunkline.orchestrator import AgentStateError, OrchestratorEvent, RestartPolicy
from trunkline.orchestrator.registry.restart import Restarts, TooManyRestartsError, When

KINDS = ["thread", "process"]
TROUBLES: dict[str, type[BaseAgent]] = {"thread": crew.ThreadTrouble, "process": crew.ProcessTrouble}
DONE: dict[str, type[BaseAgent]] = {"thread": crew.ThreadDone, "process": crew.ProcessDone}
SOON = 0.05


def soon(when: When, max_restarts: int = 5) -> RestartPolicy:
    """A policy without much of a delay."""
    return RestartPolicy(when, max_restarts, initial_delay=SOON, multiplier=1, max_delay=SOON)


@pytest.fixture
def lives(tmp_path: Path) -> Path:
    """A file to which each life of an agent adds a line."""
    file = tmp_path / "lives"
    file.touch()
    return file


def count(lives: Path) -> int:
    """So many lives began."""
    return len(lives.read_text().splitlines())


@pytest.mark.parametrize("kind", KINDS)
def test_never_is_the_default(kind: str, orchestrate: MakeWitness, lives: Path) -> None:
    """What failed stays down."""
    witness = orchestrate()
    witness.orchestrator.register_agent(TROUBLES[kind], "a", crew.PATIENT, at="execute", file=str(lives))
    witness.orchestrator.start()
    assert witness.orchestrator.join(30)
    assert (witness.state("a"), count(lives)) == ("failed", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_on_failure_starts_again_what_failed(kind: str, orchestrate: MakeWitness, lives: Path) -> None:
    """Each time as an event with the count and the delay; in the end it runs, and is ready."""
    witness = orchestrate()
    policy = soon("on_failure")
    witness.orchestrator.register_agent(
        TROUBLES[kind], "a", crew.PATIENT, restart=policy, at="execute", file=str(lives), times=2
    )
    witness.orchestrator.start()
    witness.wait(OrchestratorEvent.AGENT_READY, "a", 3)
    told = witness.told(OrchestratorEvent.AGENT_RESTARTED, "a")
    assert [(facts["restarts"], facts["delay"]) for facts in told] == [(1, SOON), (2, SOON)]
    assert witness.types("a")[:6] == [
        *("AGENT_STARTED", "AGENT_READY", "AGENT_ERROR", "AGENT_TERMINATED", "AGENT_RESTARTED", "AGENT_STARTED"),
    ]
    witness.until("a", "ready")
    assert witness.orchestrator.memory.get_agent("a").status()["restarts"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_on_failure_leaves_alone_what_ended_well(kind: str, orchestrate: MakeWitness) -> None:
    """It has completed."""
    witness = orchestrate()
    witness.orchestrator.register_agent(DONE[kind], "a", crew.PATIENT, restart="on_failure")
    witness.orchestrator.start()
    assert witness.orchestrator.join(30)
    assert witness.types("a") == ["AGENT_STARTED", "AGENT_READY", "AGENT_TERMINATED"]


@pytest.mark.parametrize("kind", KINDS)
def test_always_starts_again_what_ended_well(kind: str, orchestrate: MakeWitness) -> None:
    """Until its limit: then it stays down, as failed, and says why."""
    witness = orchestrate()
    policy = soon("always", 2)
    witness.orchestrator.register_agent(DONE[kind], "a", crew.PATIENT, restart=policy)
    witness.orchestrator.start()
    assert witness.orchestrator.join(30)
    assert len(witness.told(OrchestratorEvent.AGENT_TERMINATED, "a")) == 3
    assert witness.wait(OrchestratorEvent.AGENT_ERROR, "a")["error_message"] == (
        "it stays down: 2 restarts within 60 s are enough; the last time: it ended well"
    )
    assert witness.state("a") == "failed"


def test_a_killed_and_a_hung_process_are_started_again(orchestrate: MakeWitness) -> None:
    """Each has a new process, and is ready again."""
    witness = orchestrate()
    policy = soon("on_failure")
    entry = witness.orchestrator.register_agent(crew.ProcessWaiter, "a", crew.QUICK, restart=policy)
    witness.orchestrator.start()
    pids = []
    for life, how in enumerate((signal.SIGKILL, signal.SIGSTOP), 1):
        witness.wait(OrchestratorEvent.AGENT_READY, "a", life)
        witness.until("a", "ready")
        assert entry.pid is not None
        pids.append(entry.pid)
        os.kill(entry.pid, how)
    witness.wait(OrchestratorEvent.AGENT_READY, "a", 3)
    witness.until("a", "ready")
    assert entry.pid not in pids
    assert len(set(pids)) == 2


def test_what_was_never_ready_or_cannot_be_made_is_started_again(orchestrate: MakeWitness) -> None:
    """Both count as failures."""
    witness = orchestrate()
    policy = soon("on_failure", 1)
    config = AgentConfig(ready_timeout=0.3, heartbeat_timeout=60)
    witness.orchestrator.register_agent(crew.NeverReadyProcess, "a", config, restart=policy)
    witness.orchestrator.register_agent(crew.CannotBeMade, "b", restart=policy)
    witness.orchestrator.start()
    assert witness.orchestrator.join(30)
    for agent in "ab":
        assert len(witness.told(OrchestratorEvent.AGENT_RESTARTED, agent)) == 1
        assert witness.state(agent) == "failed"
        last = witness.told(OrchestratorEvent.AGENT_ERROR, agent)[-1]["error_message"]
        assert last.startswith("it stays down: 1 restarts within 60 s are enough; the last time: it ")


def test_the_delay_grows_to_its_maximum(orchestrate: MakeWitness, lives: Path) -> None:
    """Twice as long each time; the agent is shown as backing off."""
    witness = orchestrate()
    policy = RestartPolicy("on_failure", max_restarts=4, initial_delay=0.1, multiplier=2, max_delay=0.3)
    witness.orchestrator.register_agent(crew.ThreadTrouble, "a", restart=policy, at="execute", file=str(lives))
    witness.orchestrator.start()
    witness.until("a", "backing_off")
    assert not witness.orchestrator.join(0)
    assert witness.orchestrator.join(30)
    told = witness.told(OrchestratorEvent.AGENT_RESTARTED, "a")
    assert [facts["delay"] for facts in told] == [0.1, 0.2, 0.3, 0.3]
    times = [float(line) for line in lives.read_text().splitlines()]
    assert all(times[n + 1] - times[n] >= delay for n, delay in enumerate([0.1, 0.2, 0.3, 0.3]))


def test_an_agent_that_backs_off_takes_no_place(orchestrate: MakeWitness) -> None:
    """Others run meanwhile."""
    witness = orchestrate(max_workers=1)
    policy = RestartPolicy("on_failure", initial_delay=20, max_delay=20)
    witness.orchestrator.register_agent(crew.ThreadTrouble, "a", restart=policy, at="execute")
    witness.orchestrator.register_agent(crew.ThreadDone, "b")
    witness.orchestrator.start()
    witness.wait(OrchestratorEvent.AGENT_TERMINATED, "b")
    assert witness.state("a") == "backing_off"


def test_a_stop_ends_the_backing_off(orchestrate: MakeWitness) -> None:
    """It is stopped at once, stays so, and can be started by hand."""
    witness = orchestrate()
    policy = RestartPolicy("on_failure", initial_delay=0.3, max_delay=0.3)
    witness.orchestrator.register_agent(crew.ThreadTrouble, "a", restart=policy, at="execute")
    witness.orchestrator.start()
    witness.until("a", "backing_off")
    with pytest.raises(AgentStateError, match="agent 'a' is backing_off already"):
        witness.orchestrator.start_agent("a")
    assert witness.orchestrator.stop_agent("a") == "stopped"
    assert witness.orchestrator.join(30)
    time.sleep(0.5)  # its time would have come
    assert (witness.state("a"), len(witness.told(OrchestratorEvent.AGENT_STARTED, "a"))) == ("stopped", 1)
    witness.orchestrator.start_agent("a")
    witness.wait(OrchestratorEvent.AGENT_STARTED, "a", 2)


def test_what_was_stopped_stays_stopped(orchestrate: MakeWitness) -> None:
    """Also where it is always started again."""
    witness = orchestrate()
    policy = soon("always")
    witness.orchestrator.register_agent(crew.ProcessWaiter, "a", crew.PATIENT, restart=policy)
    witness.orchestrator.start()
    witness.wait(OrchestratorEvent.AGENT_READY, "a")
    witness.orchestrator.stop_agent("a")
    assert witness.orchestrator.join(30)
    assert witness.state("a") == "stopped"
    assert not witness.told(OrchestratorEvent.AGENT_RESTARTED, "a")


def test_words_of_a_life_before_change_nothing(orchestrate: MakeWitness) -> None:
    """What a killed process said last may come when its successor runs."""
    from trunkline.message_channel import ServiceMessage

    witness = orchestrate()
    witness.orchestrator.register_agent(crew.ThreadWaiter, "a", crew.PATIENT)
    for life in (1, 2):
        witness.orchestrator.start_agent("a")
        witness.wait(OrchestratorEvent.AGENT_READY, "a", life)
        witness.orchestrator.stop_agent("a")
    witness.orchestrator.start_agent("a")
    witness.wait(OrchestratorEvent.AGENT_READY, "a", 3)
    late = ServiceMessage("a", "STATUS", "agent_close").with_life(2)
    with witness.orchestrator.supervisor.hearing(late) as is_news:
        assert not is_news
    now = ServiceMessage("a", "STATUS", "heartbeat").with_life(3)
    with witness.orchestrator.supervisor.hearing(now) as is_news:
        assert is_news
    witness.orchestrator.stop_agent("a")
    assert len(witness.told(OrchestratorEvent.AGENT_TERMINATED, "a")) == 3


def test_restarts_are_counted_within_their_time() -> None:
    """What is older counts no more; the delay begins anew."""
    restarts = Restarts(RestartPolicy("always", max_restarts=2, within=10, initial_delay=1, multiplier=3, max_delay=60))
    assert [restarts.next_delay(now) for now in (0, 1)] == [1, 3]
    with pytest.raises(TooManyRestartsError, match="2 restarts within 10 s are enough"):
        restarts.next_delay(9.9)
    assert restarts.next_delay(10) == 3  # the first one is old by now
    assert restarts.next_delay(30) == 1
    assert restarts.count == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"when": "sometimes"}, "when is 'sometimes', it must be never, on_failure or always"),
        ({"max_restarts": -1}, "max_restarts is -1, it must be at least 0"),
        ({"within": -1}, "within is -1"),
        ({"initial_delay": float("nan")}, "initial_delay is nan"),
        ({"multiplier": 0.5}, "multiplier is 0.5, it must be at least 1"),
        ({"initial_delay": 5, "max_delay": 1}, "max_delay is 1, it must be at least initial_delay, 5"),
    ],
)
def test_a_policy_with_a_wrong_value_is_refused(values: dict[str, Any], message: str) -> None:
    """It names the value and the bound."""
    with pytest.raises(ValueError, match=message):
        RestartPolicy(**values)


def test_the_agent_itself_may_try_again_before_it_fails(orchestrate: MakeWitness) -> None:
    """Its configuration's retry policy and circuit breaker; a supervisor's restart comes only after them."""
    from trunkline import RetryPolicy

    retry = RetryPolicy(max_retries=1, initial_delay=0.01, jitter=0, retryable_codes=frozenset({"RuntimeError"}))
    witness = orchestrate()
    config = AgentConfig(retry_policy=retry, heartbeat_timeout=60)
    policy = soon("on_failure", 1)
    witness.orchestrator.register_agent(crew.ProcessTrouble, "a", config, restart=policy, at="execute")
    witness.orchestrator.start()
    assert witness.orchestrator.join(30)
    assert len(witness.told(OrchestratorEvent.AGENT_STARTED, "a")) == 2
