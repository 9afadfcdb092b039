"""Agents that nobody orchestrates."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.agents import crew
from tests.agents.patience import until
from tests.patience import PATIENCE
from trunkline.agents import AgentConfig
from trunkline.message_channel import MessageChannel

WORKERS: dict[str, type[crew.Worker]] = {"thread": crew.ThreadWorker, "process": crew.ProcessWorker}
WAITERS: dict[str, type[crew.Waiter]] = {"thread": crew.ThreadWaiter, "process": crew.ProcessWaiter}
KINDS = ["thread", "process"]


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between opening and reading
        return False


@pytest.mark.parametrize("kind", KINDS)
def test_its_steps_can_be_waited_for(kind: str, diary: Path) -> None:
    """In the program that started it, wherever it runs: started, ready, closed."""
    agent = WAITERS[kind](diary=str(diary))
    agent.start()
    assert agent.state_events.start_event.wait(20)
    assert agent.state_events.ready_event.wait(20)
    assert not agent.state_events.close_event.is_set()
    agent.stop()
    assert agent.state_events.close_event.wait(20)
    assert agent.join(20)


def test_a_process_that_was_killed_has_closed(diary: Path) -> None:
    """Whoever waits for its end is not left waiting."""
    agent = crew.ProcessWaiter(diary=str(diary))
    agent.start()
    assert agent.state_events.ready_event.wait(20)
    assert agent.pid is not None
    os.kill(agent.pid, signal.SIGKILL)
    assert agent.state_events.close_event.wait(20)
    assert agent.join(20)
    assert agent.agent_runner is not None
    assert agent.agent_runner.failure() == "killed by signal 9 (SIGKILL)"
    agent.stop()  # fine


@pytest.mark.parametrize("kind", KINDS)
def test_its_name_is_its_class_and_its_channel_its_own(kind: str, diary: Path) -> None:
    """What it says can be received from the object that was started; it gets no heartbeats that nobody reads."""
    config = AgentConfig(heartbeat_interval=0.01, heartbeat_timeout=1)
    agent = WORKERS[kind](diary=str(diary), config=config)
    assert agent.name == WORKERS[kind].__name__
    agent.start()
    assert agent.join(20)
    assert isinstance(agent.msg_channel, MessageChannel)
    said = [agent.msg_channel.receive(20) for _ in range(3)]
    assert [each.payload for each in said if each] == ["agent_started", "agent_ready", "agent_close"]
    assert agent.msg_channel.receive(0) is None


@pytest.mark.parametrize("kind", KINDS)
def test_agents_that_have_ended_leave_nothing_behind(kind: str, diary: Path) -> None:
    """Descriptors and threads are as many after seven as after one."""

    def live(count: int) -> None:
        agents = [WORKERS[kind](diary=str(diary)) for _ in range(count)]
        for agent in agents:
            agent.start()
        assert all(agent.join(30) for agent in agents)

    def left() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    live(1)
    until(lambda: not any(thread.name.startswith("follow") for thread in threading.enumerate()))
    before = left()
    live(6)
    until(lambda: left() <= before)


OWNER = """
import sys, time
from tests.agents import crew
if __name__ == "__main__":
    agent = crew.{kind}(diary={diary!r})
    agent.start()
    assert agent.state_events.ready_event.wait(20)
    print(agent.pid, flush=True)
    time.sleep(300)
"""


def test_the_process_of_an_agent_ends_when_its_owner_was_killed(tmp_path: Path, diary: Path) -> None:
    """SIGKILL leaves the owner no time to say so; the agent is asked to stop, and closes."""
    program = tmp_path / "owner.py"
    program.write_text(OWNER.format(kind="ProcessWaiter", diary=str(diary)))
    owner = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert is_running(pid)
        until(lambda: crew.read(diary))  # it executes: what it reports when it is ready was taken
        owner.kill()
    until(lambda: not is_running(pid))
    assert crew.read(diary)[-2:] == ["on_stop stop ProcessWaiter", "on_close"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_knows_its_process(kind: str, diary: Path) -> None:
    """`pid`, there and here; None for a thread."""
    agent = WAITERS[kind](diary=str(diary))
    assert agent.pid is None
    agent.start()
    until(lambda: crew.read(diary))
    assert crew.read(diary) == [f"execute {agent.pid}"]
    assert (agent.pid is None) == (kind == "thread")
    agent.stop()
    assert agent.join(20)


PROGRAM = """
from trunkline.agents import AgentStartError, BaseProcessAgent
from trunkline.orchestrator import Orchestrator, OrchestratorEvent

class Mine(BaseProcessAgent):
    def execute(self):
        return 1

try:
    Mine().start()
except AgentStartError as error:
    print("alone:", error.message)
with Orchestrator() as orchestrator:
    orchestrator.register_event(OrchestratorEvent.AGENT_ERROR, lambda error_message: print("event:", error_message))
    orchestrator.register_agent(Mine, "mine")
    orchestrator.start()
    orchestrator.join(20)
"""


@pytest.mark.parametrize("arguments", [["-"], ["-c", PROGRAM]], ids=["standard input", "-c"])
def test_a_program_that_no_process_can_import_says_so(arguments: list[str]) -> None:
    """Why its process agents cannot start, and what to do; to the caller, and as the orchestrator's event."""
    said = subprocess.run(
        [sys.executable, *arguments], input=PROGRAM, capture_output=True, text=True, timeout=60, check=True
    )
    alone, event = said.stdout.splitlines()
    assert alone.startswith(
        "alone: agent 'Mine' cannot be handed to a process: Mine is defined in a program that was read"
    )
    assert event.startswith("event: it cannot be started: AgentStartError: agent 'mine' cannot be handed to a process")
    for line in (alone, event):
        assert "put the program into a file" in line


def test_a_process_agent_of_a_module_runs_from_the_command_line(tmp_path: Path) -> None:
    """`-c` itself is not imported, where the agent's class is elsewhere."""
    program = (
        "from tests.agents.crew import ProcessWorker\n"
        f"agent = ProcessWorker(diary={str(tmp_path / 'diary')!r})\n"
        "agent.start(); agent.join(20); print(agent.agent_runner.failure())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert said.stdout == "None\n"
