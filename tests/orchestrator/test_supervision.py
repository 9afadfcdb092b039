"""Supervision: how agents fare is noticed, said and shown, whatever happens to them."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.agents.crew import Lingerer, Unpicklable
from tests.agents.patience import until
from tests.agents.test_standalone import is_running
from tests.orchestrator import crew
from tests.orchestrator.conftest import MakeWitness
from tests.orchestrator.witness import pid_of, started
from trunkline.agents import AgentConfig, BaseAgent
from trunkline.orchestrator import AgentStateError, OrchestratorEvent

KINDS = ["thread", "process"]
WAITERS: dict[str, type[BaseAgent]] = {"thread": crew.ThreadWaiter, "process": crew.ProcessWaiter}
TROUBLES: dict[str, type[BaseAgent]] = {"thread": crew.ThreadTrouble, "process": crew.ProcessTrouble}
DONE: dict[str, type[BaseAgent]] = {"thread": crew.ThreadDone, "process": crew.ProcessDone}
LIFE = ["AGENT_STARTED", "AGENT_READY", "AGENT_TERMINATED"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_life_is_told_and_shown(kind: str, orchestrate: MakeWitness) -> None:
    """Started, ready, its result, terminated; then nothing runs, and join returns."""
    witness = started(orchestrate(), DONE[kind], returns={"x": 1})
    assert witness.orchestrator.join(30)
    witness.wait(OrchestratorEvent.ALL_AGENTS_TERMINATED)
    assert witness.types("a") == ["AGENT_STARTED", "AGENT_READY", "AGENT_RESULT", "AGENT_TERMINATED"]
    assert witness.told(OrchestratorEvent.AGENT_RESULT, "a")[0]["result"] == {"x": 1}
    row = {"agent_name": "a", "alive": False, "started": True, "in_queue": False, "state": "completed"}
    assert witness.rows()["a"].items() >= row.items()
    assert witness.orchestrator.memory.get_agent("a").status()["result"] == {"x": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_is_stopped_and_started_again(kind: str, orchestrate: MakeWitness) -> None:
    """Each life is told; what was stopped is shown so."""
    witness = started(orchestrate(), WAITERS[kind])
    witness.wait(OrchestratorEvent.AGENT_READY, "a")
    assert witness.rows()["a"]["alive"]
    with pytest.raises(AgentStateError, match="agent 'a' is ready already"):
        witness.orchestrator.start_agent("a")
    assert witness.orchestrator.stop_agent("a") == "stopped"
    assert witness.state("a") == "stopped"
    with pytest.raises(AgentStateError, match="agent 'a' does not run: it is stopped"):
        witness.orchestrator.stop_agent("a")
    assert witness.orchestrator.start_agent("a") == "started"
    witness.wait(OrchestratorEvent.AGENT_READY, "a", 2)
    witness.orchestrator.stop()
    assert witness.orchestrator.join(30)
    assert witness.types("a") == LIFE * 2


def test_state_events_of_an_entry_can_be_waited_for(orchestrate: MakeWitness) -> None:
    """They tell of the present life, from its beginning."""
    orchestrator = orchestrate().orchestrator
    entry = orchestrator.register_agent(crew.ProcessWaiter, "a", crew.PATIENT)
    orchestrator.start()
    assert entry.state_events.ready_event.wait(30)
    orchestrator.stop_agent("a")
    assert entry.state_events.close_event.wait(30)
    orchestrator.start_agent("a")
    assert not entry.state_events.close_event.is_set()
    assert entry.state_events.ready_event.wait(30)


def test_a_killed_process_is_noticed_at_once(orchestrate: MakeWitness) -> None:
    """As an event with the signal, and in `ps`."""
    witness = started(orchestrate(), crew.ProcessWaiter)
    witness.wait(OrchestratorEvent.AGENT_READY, "a")
    killed_at = time.monotonic()
    os.kill(pid_of(witness, "a"), signal.SIGKILL)
    assert witness.seconds_until(OrchestratorEvent.AGENT_TERMINATED, "a", killed_at) < crew.PATIENT.heartbeat_timeout
    assert witness.wait(OrchestratorEvent.AGENT_ERROR, "a")["error_message"] == "killed by signal 9 (SIGKILL)"
    witness.until("a", "failed")
    assert witness.types("a") == ["AGENT_STARTED", "AGENT_READY", "AGENT_ERROR", "AGENT_TERMINATED"]
    assert witness.orchestrator.memory.get_agent("a").status()["last_error"] == "killed by signal 9 (SIGKILL)"


def test_a_killed_process_is_noticed_though_a_child_of_it_lives(orchestrate: MakeWitness) -> None:
    """The child has inherited every descriptor by which an end could be seen, but the process's own."""
    witness = started(orchestrate(), crew.Parent, AgentConfig(daemon=False, heartbeat_timeout=60))
    witness.wait(OrchestratorEvent.AGENT_READY, "a")
    pid = pid_of(witness, "a")
    children = Path(f"/proc/{pid}/task/{pid}/children")
    until(lambda: children.read_text().split())
    child = int(children.read_text().split()[0])
    try:
        os.kill(pid, signal.SIGKILL)
        witness.until("a", "failed")
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_hung_process_is_noticed_within_its_bound_and_ended(orchestrate: MakeWitness) -> None:
    """SIGSTOP: nothing is heard of it any more. An event says so, once; it is killed."""
    witness = started(orchestrate(), crew.ProcessWaiter, crew.QUICK)
    witness.wait(OrchestratorEvent.AGENT_HEARTBEAT, "a", 2)
    pid = pid_of(witness, "a")
    stopped_at = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    assert witness.seconds_until(OrchestratorEvent.AGENT_HUNG, "a", stopped_at) >= 2.5
    witness.until("a", "failed")
    assert not is_running(pid)
    why = "it hangs: nothing was heard of it for 3 s"
    assert witness.told(OrchestratorEvent.AGENT_HUNG, "a")[0]["error_message"] == why
    assert [facts["error_message"] for facts in witness.told(OrchestratorEvent.AGENT_ERROR, "a")] == [why]
    assert witness.types("a")[-3:] == ["AGENT_HUNG", "AGENT_ERROR", "AGENT_TERMINATED"]
    entry = witness.orchestrator.memory.get_agent("a")
    assert entry.life is not None
    assert entry.life.was_killed


def test_a_hung_thread_is_shown_and_others_go_on(orchestrate: MakeWitness) -> None:
    """It cannot be ended: it loses its place, and has it again when it is heard of."""
    witness = orchestrate(max_workers=1)
    go_on = threading.Event()
    config = AgentConfig(heartbeat_interval=0.05, heartbeat_timeout=0.5, step_timeout=0.2, stop_timeout=30)
    orchestrator = witness.orchestrator
    orchestrator.register_agent(crew.Pausing, "a", config, go_on=go_on)
    orchestrator.register_agent(crew.ThreadDone, "b")
    orchestrator.start()
    witness.wait(OrchestratorEvent.AGENT_HUNG, "a")
    witness.wait(OrchestratorEvent.AGENT_TERMINATED, "b")  # it got the place
    assert witness.state("a") == "hung"
    assert witness.rows()["a"]["alive"]
    assert not orchestrator.join(0)
    go_on.set()
    assert orchestrator.join(30)
    assert witness.told(OrchestratorEvent.AGENT_TERMINATED, "a")


@pytest.mark.parametrize("kind", ["NeverReadyThread", "NeverReadyProcess"])
def test_an_agent_that_is_never_ready_is_given_up(kind: str, orchestrate: MakeWitness) -> None:
    """Within its ready timeout, by an event; a process is killed, a thread asked to end."""
    config = AgentConfig(ready_timeout=0.3, heartbeat_timeout=60)
    witness = started(orchestrate(), getattr(crew, kind), config)
    assert witness.wait(OrchestratorEvent.AGENT_ERROR, "a")["error_message"] == "it was not ready within 0.3 s"
    witness.until("a", "failed")
    assert len(witness.told(OrchestratorEvent.AGENT_ERROR, "a")) == 1
    assert "AGENT_READY" not in witness.types("a")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", ["setup", "execute", "on_close"])
def test_an_agent_that_crashes_has_failed(kind: str, at: str, orchestrate: MakeWitness) -> None:
    """Its error is told once, in its own words."""
    witness = started(orchestrate(), TROUBLES[kind], at=at)
    assert witness.wait(OrchestratorEvent.AGENT_ERROR, "a")["error_message"] == f"RuntimeError: trouble in {at}"
    witness.until("a", "failed")
    assert len(witness.told(OrchestratorEvent.AGENT_ERROR, "a")) == 1
    entry = witness.orchestrator.memory.get_agent("a")
    assert (entry.error_count, entry.reason) == (1, f"RuntimeError: trouble in {at}")


@pytest.mark.parametrize(
    ("how", "error"),
    [("os._exit", "exit code 7"), ("SIGKILL", "killed by signal 9 (SIGKILL)"), ("sys.exit", "SystemExit: enough")],
)
@pytest.mark.parametrize("at", ["setup", "execute"])
def test_a_process_that_leaves_has_failed(how: str, error: str, at: str, orchestrate: MakeWitness) -> None:
    """Also without a word."""
    witness = started(orchestrate(), crew.ProcessTrouble, at=at, how=how)
    assert witness.wait(OrchestratorEvent.AGENT_ERROR, "a")["error_message"] == error
    witness.until("a", "failed")
    assert witness.types("a")[-2:] == ["AGENT_ERROR", "AGENT_TERMINATED"]


def test_an_agent_that_cannot_be_made_has_failed(orchestrate: MakeWitness) -> None:
    """Its constructor's error is told; others go on."""
    witness = orchestrate()
    witness.orchestrator.register_agent(crew.CannotBeMade, "a")
    witness.orchestrator.register_agent(Unpicklable, "b")
    witness.orchestrator.register_agent(crew.ThreadDone, "c")
    witness.orchestrator.start()
    assert witness.orchestrator.join(30)
    assert witness.wait(OrchestratorEvent.AGENT_ERROR, "a")["error_message"] == (
        "it cannot be started: RuntimeError: trouble in __init__"
    )
    message = witness.wait(OrchestratorEvent.AGENT_ERROR, "b")["error_message"]
    assert message.startswith("it cannot be started: AgentStartError: agent 'b' cannot be handed to a process: ")
    assert [witness.state(agent) for agent in "abc"] == ["failed", "failed", "completed"]


def test_a_process_that_lingers_after_its_life_is_ended(orchestrate: MakeWitness) -> None:
    """A thread of its own keeps it: nothing is heard of it, so it counts as hung."""
    witness = started(orchestrate(), Lingerer, crew.QUICK)
    witness.wait(OrchestratorEvent.AGENT_TERMINATED, "a")
    witness.wait(OrchestratorEvent.AGENT_HUNG, "a")
    witness.until("a", "failed")
    assert len(witness.told(OrchestratorEvent.AGENT_TERMINATED, "a")) == 1


def test_an_agent_that_says_much_keeps_nobody_from_being_heard(orchestrate: MakeWitness) -> None:
    """Other agents' words come through, and it can be stopped."""
    witness = orchestrate()
    witness.orchestrator.register_agent(crew.Flood, "a", crew.PATIENT)
    witness.orchestrator.start()
    assert witness.wait(OrchestratorEvent.AGENT_MESSAGE, "a", 500)["message"] == "500 bottles of beer"
    witness.orchestrator.register_agent(crew.ProcessDone, "b", returns=7)
    witness.orchestrator.start_agent("b")
    assert witness.wait(OrchestratorEvent.AGENT_RESULT, "b")["result"] == 7
    assert witness.orchestrator.stop_agent("a") == "stopped"
    told = [int(facts["message"].split()[0]) for facts in witness.heard(OrchestratorEvent.AGENT_MESSAGE, "a")]
    assert told == list(range(1, len(told) + 1))
