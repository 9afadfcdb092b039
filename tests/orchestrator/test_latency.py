"""What waiting costs, and that nothing waits for a poll. How fast events are is measured by `make bench`."""

from __future__ import annotations

import time
from pathlib import Path

from tests.orchestrator import crew
from tests.orchestrator.conftest import MakeWitness
from tests.patience import Stopwatch
from trunkline.agents import AgentConfig
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator import OrchestratorEvent

IDLE_SECONDS = 3.0
STILL = AgentConfig(heartbeat_interval=60, heartbeat_timeout=120)


def test_an_idle_orchestrator_costs_nothing(orchestrate: MakeWitness, socket_dir: Path) -> None:
    """Under 1% of a core, with the command interface on, with agents that run and one that waits."""
    witness = orchestrate(max_workers=2, enable_command_interface=True, command_socket_path=f"{socket_dir}/o.sock")
    for kind, name in ((crew.ThreadWaiter, "a"), (crew.ProcessWaiter, "b"), (crew.ThreadWaiter, "c")):
        witness.orchestrator.register_agent(kind, name, STILL)
    witness.orchestrator.start()
    for name in "ab":
        witness.wait(OrchestratorEvent.AGENT_READY, name)
    Stopwatch(0, 0.01 * IDLE_SECONDS, time.process_time).measure(lambda: time.sleep(IDLE_SECONDS))


def test_waiting_for_the_end_costs_nothing(orchestrate: MakeWitness) -> None:
    """`join` and `wait` sleep."""
    witness = orchestrate()
    witness.orchestrator.register_agent(crew.ThreadWaiter, "a", STILL)
    witness.orchestrator.start()
    witness.wait(OrchestratorEvent.AGENT_READY, "a")

    def wait() -> None:
        assert not witness.orchestrator.join(IDLE_SECONDS / 2)
        assert not witness.orchestrator.wait(IDLE_SECONDS / 2)

    Stopwatch(0, 0.01 * IDLE_SECONDS, time.process_time).measure(wait)


def test_events_come_while_nobody_asks_for_commands(orchestrate: MakeWitness, socket_dir: Path) -> None:
    """One after the other, with the command interface on: a thousand of them take no thousand rounds of a poll."""
    witness = orchestrate(enable_command_interface=True, command_socket_path=f"{socket_dir}/o.sock")
    end = witness.orchestrator.msg_channel.endpoint("talker", local=True)
    for number in range(1, 1_001):
        end.send("orchestrator", ServiceMessage("talker", "STATUS", f"message {number}"))
        witness.wait(OrchestratorEvent.AGENT_MESSAGE, "talker", number)
    told = witness.heard(OrchestratorEvent.AGENT_MESSAGE, "talker")
    assert [facts["message"] for facts in told] == [f"message {number}" for number in range(1, 1_001)]
