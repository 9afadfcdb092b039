"""What the program of an orchestrator does to its agents: that stands still, is killed, or goes on for long."""

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

from tests.agents.patience import until
from tests.agents.test_standalone import is_running
from tests.orchestrator import crew
from tests.orchestrator.conftest import MakeWitness
from tests.orchestrator.witness import pid_of
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator import Orchestrator, OrchestratorEvent


def belongings() -> Counter[str]:
    """Descriptors and threads of this process, but those of callbacks, of which a pool has more or fewer."""
    gc.collect()
    found = [each.name for each in threading.enumerate() if not each.name.startswith("OrchestratorEvents")]
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that lists them
            found.append(os.readlink(f"/proc/self/fd/{descriptor}").split(":")[0])
    return Counter(found)


class Slow(Orchestrator):
    """A program that somebody has: it thinks for long about what an agent says."""

    thinks = 0.0

    def handle_agent_message(self, msg: ServiceMessage) -> None:
        if msg.payload == "agent_ready":
            time.sleep(self.thinks)
        super().handle_agent_message(msg)


def test_nobody_counts_as_hung_while_nobody_is_heard(orchestrate: MakeWitness) -> None:
    """The handling of one message takes longer than the heartbeat timeout: the others' words only wait."""
    witness = orchestrate(Slow)
    assert isinstance(witness.orchestrator, Slow)
    witness.orchestrator.thinks = crew.QUICK.heartbeat_timeout * 2.5
    entry = witness.orchestrator.register_agent(crew.ProcessWaiter, "a", crew.QUICK)
    witness.orchestrator.start()
    assert entry.state_events.ready_event.wait(30)
    pid = pid_of(witness, "a")
    witness.wait(OrchestratorEvent.AGENT_HEARTBEAT, "a", 3)
    witness.until("a", "ready")
    assert pid_of(witness, "a") == pid
    assert not witness.told(OrchestratorEvent.AGENT_HUNG, "a")


STOPPED_OWNER = """
import sys
from tests.orchestrator import crew
from tests.orchestrator.witness import Witness, pid_of, started
from trunkline.orchestrator import Orchestrator, OrchestratorEvent

if __name__ == "__main__":
    with Orchestrator() as orchestrator:
        witness = Witness(orchestrator)
        entry = orchestrator.register_agent(crew.ProcessWaiter, "a", crew.QUICK)
        orchestrator.start()
        witness.wait(OrchestratorEvent.AGENT_HEARTBEAT, "a", 2)
        print(entry.pid, flush=True)
        sys.stdin.readline()
        heard = len(witness.heard(OrchestratorEvent.AGENT_HEARTBEAT, "a"))
        witness.wait(OrchestratorEvent.AGENT_HEARTBEAT, "a", heard + 2)
        print(entry.pid, len(witness.told(OrchestratorEvent.AGENT_HUNG, "a")), flush=True)
"""


def test_nobody_counts_as_hung_because_the_owner_stood_still(tmp_path: Path) -> None:
    """A program that is held for longer than the heartbeat timeout reads what was said before it judges."""
    program = tmp_path / "owner.py"
    program.write_text(STOPPED_OWNER)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, str(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        pid = owner.stdout.readline().strip()
        owner.send_signal(signal.SIGSTOP)
        time.sleep(crew.QUICK.heartbeat_timeout * 1.5)
        owner.send_signal(signal.SIGCONT)
        owner.stdin.write("go on\n")
        owner.stdin.flush()
        assert owner.stdout.readline().strip() == f"{pid} 0"
    assert owner.returncode == 0


OWNER = """
import sys, time
from tests.orchestrator import crew
from tests.orchestrator.witness import Witness, pid_of, started
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
