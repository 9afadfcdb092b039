"""Stopping: bounded, whatever an agent does; the shutdown likewise."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.agents.patience import until
from tests.agents.test_standalone import is_running
from tests.orchestrator import crew
from tests.orchestrator.conftest import MakeWitness
from tests.orchestrator.witness import pid_of, started
from trunkline.agents import AgentConfig
from trunkline.orchestrator import AgentStateError, OrchestratorError, OrchestratorEvent, RestartPolicy


def test_a_constructor_that_takes_its_time_holds_up_nobody(orchestrate: MakeWitness) -> None:
    """Others start and stop meanwhile; stopping it is bounded, and when it comes at last, it ends at once."""
    witness = orchestrate()
    go_on = threading.Event()
    config = AgentConfig(stop_timeout=0.3)
    for name, kind in (("a", crew.SlowThread), ("p", crew.SlowProcess)):
        witness.orchestrator.register_agent(kind, name, config, go_on=go_on)
    witness.orchestrator.register_agent(crew.ThreadWaiter, "b")
    witness.orchestrator.start()
    witness.wait(OrchestratorEvent.AGENT_READY, "b")
    witness.orchestrator.stop_agent("b")
    for name in "ap":
        with pytest.raises(AgentStateError, match=r"cannot be ended, and did not end within 0\.3 s of being asked to"):
            witness.orchestrator.stop_agent(name)
        with pytest.raises(AgentStateError, match="cannot be ended"):
            witness.orchestrator.stop_agent(name)
        assert witness.state(name) == "hung"
    go_on.set()
    for name in "ap":
        witness.until(name, "stopped")


def test_a_stop_while_it_starts_ends_it(orchestrate: MakeWitness) -> None:
    """A process that has not even begun to import is told when it has."""
    witness = started(orchestrate(), crew.ProcessWaiter)
    assert witness.orchestrator.stop_agent("a") == "stopped"
    assert witness.types("a")[-1] == "AGENT_TERMINATED"
    assert witness.state("a") == "stopped"


def test_a_process_that_does_not_heed_is_killed(orchestrate: MakeWitness) -> None:
    """After its stop timeout; it counts as stopped, and the reason says how."""
    config = AgentConfig(stop_timeout=0.3)
    witness = started(orchestrate(), crew.DeafProcess, config)
    witness.wait(OrchestratorEvent.AGENT_READY, "a")
    assert witness.orchestrator.stop_agent("a") == "stopped"
    entry = witness.orchestrator.memory.get_agent("a")
    assert (entry.state, entry.error_count) == ("stopped", 0)
    assert entry.reason == "it was killed, because it did not end within 0.3 s of being asked to"
    assert not witness.told(OrchestratorEvent.AGENT_ERROR, "a")


def test_a_thread_that_does_not_heed_bounds_its_stop_and_the_shutdown(orchestrate: MakeWitness, tmp_path: Path) -> None:
    """Whoever stops it is told that it cannot be ended; others go on, and the shutdown does not wait for it."""
    witness = orchestrate(max_workers=1)
    config = AgentConfig(stop_timeout=0.3)
    end = tmp_path / "end"
    witness.orchestrator.register_agent(crew.DeafThread, "a", config, file=str(end))
    witness.orchestrator.register_agent(crew.ThreadDone, "b")
    witness.orchestrator.start()
    witness.wait(OrchestratorEvent.AGENT_READY, "a")
    began = time.monotonic()
    with pytest.raises(AgentStateError, match=r"agent 'a': it cannot be ended, and did not end within 0\.3 s"):
        witness.orchestrator.stop_agent("a")
    witness.wait(OrchestratorEvent.AGENT_TERMINATED, "b")
    witness.orchestrator.shutdown()
    assert time.monotonic() - began < 20
    end.touch()
    until(lambda: not witness.rows()["a"]["alive"])


def test_on_stop_that_hangs_holds_up_nobody(orchestrate: MakeWitness) -> None:
    """It runs in a thread of its own; the agent's end waits for it as long as its stop timeout says."""
    witness = orchestrate()
    go_on = threading.Event()
    witness.orchestrator.register_agent(crew.StuckOnStop, "a", AgentConfig(stop_timeout=0.5), go_on=go_on)
    witness.orchestrator.register_agent(crew.ThreadWaiter, "b", crew.PATIENT)
    witness.orchestrator.start()
    witness.wait(OrchestratorEvent.AGENT_READY, "a")
    witness.wait(OrchestratorEvent.AGENT_READY, "b")
    stopping = witness.orchestrator.stopping("a")
    assert witness.orchestrator.stop_agent("b") == "stopped"
    assert stopping.exception(30) is not None or stopping.result(30) == "stopped"
    witness.until("a", "stopped")
    go_on.set()


def test_shutdown_ends_every_agent(orchestrate: MakeWitness) -> None:
    """Those that run, wait, back off or start; a hung one is killed. After it nothing is started."""
    witness = orchestrate(max_workers=3)
    orchestrator = witness.orchestrator
    config = AgentConfig(heartbeat_timeout=60, stop_timeout=1)
    orchestrator.register_agent(crew.ProcessWaiter, "runs", config)
    orchestrator.register_agent(crew.ProcessWaiter, "stopped", config)
    later = RestartPolicy("always", initial_delay=30, max_delay=30)
    orchestrator.register_agent(crew.ThreadTrouble, "backs off", at="execute", restart=later)
    orchestrator.register_agent(crew.ThreadWaiter, "thread", config)
    orchestrator.start()
    for name in ("runs", "stopped", "thread"):
        witness.wait(OrchestratorEvent.AGENT_READY, name)
    orchestrator.register_agent(crew.ProcessWaiter, "starts", config)
    orchestrator.register_agent(crew.ProcessWaiter, "waits", config)
    orchestrator.stop_agent("thread")
    witness.until("backs off", "backing_off")
    for name in ("starts", "waits"):
        orchestrator.start_agent(name)
    pids = [pid_of(witness, name) for name in ("runs", "stopped")]
    os.kill(pids[1], signal.SIGSTOP)
    orchestrator.shutdown()
    assert not any(row["alive"] for row in witness.rows().values())
    assert not any(is_running(pid) for pid in pids)
    assert {witness.state(name) for name in witness.rows()} == {"stopped"}
    with pytest.raises(OrchestratorError, match="shut"):
        orchestrator.start_agent("runs")
    orchestrator.shutdown()


def test_whoever_waits_for_a_stop_is_answered_when_the_orchestrator_is_shut_down(orchestrate: MakeWitness) -> None:
    """Nobody waits for ever for an agent that cannot be ended."""
    witness = orchestrate()
    go_on = threading.Event()
    witness.orchestrator.register_agent(crew.SlowThread, "a", AgentConfig(stop_timeout=0.2), go_on=go_on)
    witness.orchestrator.start()
    stopping = witness.orchestrator.stopping("a")
    witness.orchestrator.shutdown()
    assert isinstance(stopping.exception(1), OrchestratorError)
    go_on.set()
