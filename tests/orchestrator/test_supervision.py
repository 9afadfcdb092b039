"""Supervision: how agents fare is noticed, said and shown, whatever happens to them."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.agents.crew import Lingerer, Unpicklable
from tests.agents.patience import until
from tests.agents.test_standalone import is_running
from tests.orchestrator import crew
from tests.orchestrator.conftest import MakeWitness
from tests.orchestrator.witness import Witness
from trunkline.agents import AgentConfig, BaseAgent
from trunkline.orchestrator import AgentStateError, OrchestratorError, OrchestratorEvent

KINDS = ["thread", "process"]
WAITERS: dict[str, type[BaseAgent]] = {"thread": crew.ThreadWaiter, "process": crew.ProcessWaiter}
TROUBLES: dict[str, type[BaseAgent]] = {"thread": crew.ThreadTrouble, "process": crew.ProcessTrouble}
DONE: dict[str, type[BaseAgent]] = {"thread": crew.ThreadDone, "process": crew.ProcessDone}
LIFE = ["AGENT_STARTED", "AGENT_READY", "AGENT_TERMINATED"]


def pid_of(witness: Witness, agent: str) -> int:
    """Of its process, which runs."""
    pid = witness.orchestrator.memory.get_agent(agent).pid
    assert pid is not None
    return pid


def belongings() -> Counter[str]:
    """Descriptors and threads of this process, but those of callbacks, of which a pool has more or fewer."""
    gc.collect()
    found = [each.name for each in threading.enumerate() if not each.name.startswith("OrchestratorEvents")]
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that lists them
            found.append(os.readlink(f"/proc/self/fd/{descriptor}").split(":")[0])
    return Counter(found)


def started(witness: Witness, agent: type[BaseAgent], config: AgentConfig = crew.PATIENT, **kwargs: Any) -> Witness:
    """An agent "a" that was started alone."""
    witness.orchestrator.register_agent(agent, "a", config, **kwargs)
    witness.orchestrator.start()
    return witness


@pytest.mark.parametrize("kind", KINDS)
def test_a_life_is_told_and_shown(kind: str, orchestrate: MakeWitness) -> None:
    """Started, ready, its result, terminated; then nothing runs, and join returns."""
    witness = started(orchestrate(), DONE[kind], returns={"x": 1})
    assert witness.orchestrator.join(30)
    witness.wait(OrchestratorEvent.ALL_AGENTS_TERMINATED)
    assert witness.types("a") == ["AGENT_STARTED", "AGENT_READY", "AGENT_RESULT", "AGENT_TERMINATED"]
    assert witness.heard(OrchestratorEvent.AGENT_RESULT, "a")[0]["result"] == {"x": 1}
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
    assert witness.heard(OrchestratorEvent.AGENT_HUNG, "a")[0]["error_message"] == why
    assert [facts["error_message"] for facts in witness.heard(OrchestratorEvent.AGENT_ERROR, "a")] == [why]
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
    assert witness.heard(OrchestratorEvent.AGENT_TERMINATED, "a")


@pytest.mark.parametrize("kind", ["NeverReadyThread", "NeverReadyProcess"])
def test_an_agent_that_is_never_ready_is_given_up(kind: str, orchestrate: MakeWitness) -> None:
    """Within its ready timeout, by an event; a process is killed, a thread asked to end."""
    config = AgentConfig(ready_timeout=0.3, heartbeat_timeout=60)
    witness = started(orchestrate(), getattr(crew, kind), config)
    assert witness.wait(OrchestratorEvent.AGENT_ERROR, "a")["error_message"] == "it was not ready within 0.3 s"
    witness.until("a", "failed")
    assert len(witness.heard(OrchestratorEvent.AGENT_ERROR, "a")) == 1
    assert "AGENT_READY" not in witness.types("a")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", ["setup", "execute", "on_close"])
def test_an_agent_that_crashes_has_failed(kind: str, at: str, orchestrate: MakeWitness) -> None:
    """Its error is told once, in its own words."""
    witness = started(orchestrate(), TROUBLES[kind], at=at)
    assert witness.wait(OrchestratorEvent.AGENT_ERROR, "a")["error_message"] == f"RuntimeError: trouble in {at}"
    witness.until("a", "failed")
    assert len(witness.heard(OrchestratorEvent.AGENT_ERROR, "a")) == 1
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
    assert not witness.heard(OrchestratorEvent.AGENT_ERROR, "a")


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


def test_a_process_that_lingers_after_its_life_is_ended(orchestrate: MakeWitness) -> None:
    """A thread of its own keeps it: nothing is heard of it, so it counts as hung."""
    witness = started(orchestrate(), Lingerer, crew.QUICK)
    witness.wait(OrchestratorEvent.AGENT_TERMINATED, "a")
    witness.wait(OrchestratorEvent.AGENT_HUNG, "a")
    witness.until("a", "failed")
    assert len(witness.heard(OrchestratorEvent.AGENT_TERMINATED, "a")) == 1


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


def test_shutdown_ends_every_agent(orchestrate: MakeWitness) -> None:
    """Those that run, wait, back off or start; a hung one is killed. After it nothing is started."""
    witness = orchestrate(max_workers=3)
    orchestrator = witness.orchestrator
    config = AgentConfig(heartbeat_timeout=60, stop_timeout=1)
    orchestrator.register_agent(crew.ProcessWaiter, "runs", config)
    orchestrator.register_agent(crew.ProcessWaiter, "stopped", config)
    orchestrator.register_agent(crew.ThreadTrouble, "backs off", at="execute", restart="always")
    orchestrator.register_agent(crew.ThreadWaiter, "thread", config)
    orchestrator.start()
    for name in ("runs", "stopped", "thread"):
        witness.wait(OrchestratorEvent.AGENT_READY, name)
    orchestrator.register_agent(crew.ProcessWaiter, "starts", config)
    orchestrator.register_agent(crew.ProcessWaiter, "waits", config)
    orchestrator.stop_agent("thread")
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


OWNER = """
import sys, time
from tests.orchestrator import crew
from tests.orchestrator.witness import Witness
from trunkline.orchestrator import Orchestrator, OrchestratorEvent

if __name__ == "__main__":
    orchestrator = Orchestrator()
    witness = Witness(orchestrator)
    for kind, name in ((crew.ProcessWaiter, "a"), (crew.DeafProcess, "b"), (crew.NeverReadyProcess, "c")):
        orchestrator.register_agent(kind, name, crew.QUICK)
    orchestrator.start()
    for name in "ab":
        witness.wait(OrchestratorEvent.AGENT_READY, name)
    witness.wait(OrchestratorEvent.AGENT_STARTED, "c")
    print(*(orchestrator.memory.get_agent(name).pid for name in "abc"), flush=True)
    time.sleep(300)
"""


def test_the_processes_of_a_killed_orchestrator_end(tmp_path: Path) -> None:
    """Those that heed and those that do not, in any step of their life."""
    program = tmp_path / "owner.py"
    program.write_text(OWNER)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 3
        assert all(is_running(pid) for pid in pids)
        owner.kill()
    until(lambda: not any(is_running(pid) for pid in pids))


def test_200_lives_leave_nothing_behind(orchestrate: MakeWitness) -> None:
    """Descriptors and threads are as many as before."""
    orchestrator = orchestrate().orchestrator
    orchestrator.register_agent(crew.ProcessDone, "p", crew.PATIENT)
    orchestrator.register_agent(crew.ThreadDone, "t", crew.PATIENT)

    def live(name: str, count: int) -> None:
        for _ in range(count):
            orchestrator.start_agent(name)
            assert orchestrator.join(30)

    live("p", 2)
    live("t", 2)
    before = belongings()
    live("p", 50)
    live("t", 150)
    end = time.monotonic() + 20
    while (more := belongings() - before) and time.monotonic() < end:
        time.sleep(0.05)
    assert not more
