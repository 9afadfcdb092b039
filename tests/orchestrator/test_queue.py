"""The queue: at most `max_workers` agents run, the others wait in their order."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.orchestrator import crew
from tests.orchestrator.conftest import MakeWitness
from tests.orchestrator.witness import Witness
from trunkline.agents import AgentConfig, BaseThreadAgent, ConfigValidationError
from trunkline.message_channel import MessageChannel
from trunkline.orchestrator import AgentExistsError, AgentNotFoundError, Orchestrator, OrchestratorError
from trunkline.orchestrator import OrchestratorEvent as Event


def with_agents(witness: Witness, count: int, kind: type[Any] = crew.ThreadWaiter, **kwargs: Any) -> list[str]:
    """Registers so many agents; returns their names."""
    names = [f"agent-{number}" for number in range(count)]
    for name in names:
        witness.orchestrator.register_agent(kind, name, crew.PATIENT, **kwargs)
    return names


def test_five_run_and_the_rest_waits(orchestrate: MakeWitness) -> None:
    """The default; counts and rows say who."""
    witness = orchestrate()
    names = with_agents(witness, 8)
    witness.orchestrator.start()
    for name in names[:5]:
        witness.wait(Event.AGENT_READY, name)
    data = witness.orchestrator.reporting.ps()
    assert (data["running_count"], data["max_workers"], data["waiting_count"]) == (5, 5, 3)
    assert [row["in_queue"] for row in data["agents"]] == [False] * 5 + [True] * 3
    assert witness.orchestrator.memory.get_agent(names[5]).reason == "5 of 5 agents run"


def test_whoever_waits_starts_when_a_place_is_free(orchestrate: MakeWitness) -> None:
    """The first in the queue first."""
    witness = orchestrate(max_workers=2)
    names = with_agents(witness, 4)
    witness.orchestrator.start()
    witness.wait(Event.AGENT_READY, names[1])
    assert witness.orchestrator.stop_agent(names[1]) == "stopped"
    witness.wait(Event.AGENT_READY, names[2])
    assert witness.state(names[3]) == "waiting"


@pytest.mark.parametrize("kind", [crew.ThreadDone, crew.ProcessDone])
def test_all_have_their_turn(kind: type[Any], orchestrate: MakeWitness) -> None:
    """Never more than two at a time; join returns when the last has ended."""
    witness = orchestrate(max_workers=2)
    names = with_agents(witness, 12, kind)
    most = 0
    counted = threading.Lock()

    def count() -> None:
        nonlocal most
        with counted:
            most = max(most, witness.orchestrator.supervisor.running_count)

    witness.orchestrator.register_event(Event.AGENT_READY, count)
    witness.orchestrator.start()
    assert witness.orchestrator.join(60)
    assert [witness.state(name) for name in names] == ["completed"] * 12
    assert 1 <= most <= 2


def test_a_stop_takes_an_agent_out_of_the_queue(orchestrate: MakeWitness) -> None:
    """It was never started."""
    witness = orchestrate(max_workers=1)
    names = with_agents(witness, 3)
    witness.orchestrator.start()
    witness.wait(Event.AGENT_READY, names[0])
    assert witness.orchestrator.stop_agent(names[1]) == "stopped"
    witness.orchestrator.stop_agent(names[0])
    witness.wait(Event.AGENT_READY, names[2])
    assert not witness.rows()[names[1]]["started"]


def test_hung_processes_give_their_places_back(orchestrate: MakeWitness) -> None:
    """All places are taken by agents that hang; those that wait get their turn."""
    import os
    import signal

    witness = orchestrate(max_workers=2)
    for name in ("a", "b"):
        witness.orchestrator.register_agent(crew.ProcessWaiter, name, crew.QUICK)
    witness.orchestrator.register_agent(crew.ThreadDone, "c")
    witness.orchestrator.start()
    for name in ("a", "b"):
        witness.wait(Event.AGENT_READY, name)
        pid = witness.orchestrator.memory.get_agent(name).pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    witness.wait(Event.AGENT_TERMINATED, "c")
    assert witness.orchestrator.join(30)


def test_stop_ends_those_that_wait_too(orchestrate: MakeWitness) -> None:
    """None of them takes a place that becomes free."""
    witness = orchestrate(max_workers=2)
    names = with_agents(witness, 6)
    witness.orchestrator.start()
    witness.wait(Event.AGENT_READY, names[1])
    witness.orchestrator.stop()
    assert witness.orchestrator.join(30)
    assert [row["started"] for row in witness.rows().values()] == [True] * 2 + [False] * 4
    assert {row["state"] for row in witness.rows().values()} == {"stopped"}


def test_join_waits_without_a_busy_loop_and_can_be_bounded(orchestrate: MakeWitness) -> None:
    """It says whether everything has ended; with nothing started it has."""
    witness = orchestrate()
    assert witness.orchestrator.join(0)
    with_agents(witness, 1)
    witness.orchestrator.start()
    assert not witness.orchestrator.join(0.05)
    joined = threading.Thread(target=witness.orchestrator.join)
    joined.start()
    witness.orchestrator.stop()
    joined.join(30)
    assert not joined.is_alive()


def test_ps_of_10_000_agents_is_complete(orchestrate: MakeWitness) -> None:
    """Registered ones take no thread and no descriptor; pages put together are the whole."""
    witness = orchestrate(max_workers=3)
    names = with_agents(witness, 10_000)
    witness.orchestrator.start()
    for name in names[:3]:
        witness.wait(Event.AGENT_READY, name)
    data = witness.orchestrator.reporting.ps()
    assert [row["agent_name"] for row in data["agents"]] == names
    assert (data["running_count"], data["waiting_count"]) == (3, 9_997)
    witness.orchestrator.stop()
    assert witness.orchestrator.join(60)


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", None, 7, "x" * 256])
def test_a_name_that_cannot_be_shown_is_refused(name: Any, orchestrate: MakeWitness) -> None:
    """Empty, with blanks around it, unprintable, no text, or too long."""
    with pytest.raises(OrchestratorError, match="name "):
        orchestrate().orchestrator.register_agent(crew.ThreadDone, name)


def test_a_name_is_given_once(orchestrate: MakeWitness) -> None:
    """The second is refused, and the first stays."""
    orchestrator = orchestrate().orchestrator
    entry = orchestrator.register_agent(crew.ThreadDone, "a")
    with pytest.raises(AgentExistsError, match="an agent 'a' is registered already"):
        orchestrator.register_agent(crew.ThreadWaiter, "a")
    assert orchestrator.memory.get_agent("a") is entry
    with pytest.raises(AgentNotFoundError, match="no agent 'b' is registered") as error:
        orchestrator.start_agent("b")
    assert isinstance(error.value, ValueError)


def test_what_cannot_run_is_refused_at_registration(orchestrate: MakeWitness) -> None:
    """No agent's class, one without its work, a configuration that no supervisor can go by, a taken attribute."""
    orchestrator = orchestrate().orchestrator
    with pytest.raises(TypeError, match="agent_class must be a subclass of BaseAgent, not <class 'dict'>"):
        orchestrator.register_agent(dict, "a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"BaseThreadAgent must say what execute\(\) does"):
        orchestrator.register_agent(BaseThreadAgent, "a")
    with pytest.raises(ConfigValidationError, match="the configuration of agent 'a' cannot be used: ready_timeout: is"):
        orchestrator.register_agent(crew.ThreadDone, "a", AgentConfig(ready_timeout="soon"))
    with pytest.raises(TypeError, match="must be an AgentConfig"):
        orchestrator.register_agent(crew.ThreadDone, "a", {"limit": 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="agent 'a' cannot have an attribute 'stop_event'"):
        orchestrator.register_agent(crew.ThreadDone, "a", stop_event=threading.Event())
    assert len(orchestrator.memory) == 0


def test_a_name_in_the_configurations_place_is_refused() -> None:
    """The first positional argument is the configuration."""
    with pytest.raises(TypeError, match="config must be an OrchestratorConfig, not 'mine'; a name is given by name="):
        Orchestrator("mine")  # type: ignore[arg-type]


def test_an_agent_may_speak_through_a_channel_of_its_own(orchestrate: MakeWitness) -> None:
    """What it says by it goes there; how it fares, the orchestrator knows all the same."""
    witness = orchestrate()
    with MessageChannel("thread") as channel:
        witness.orchestrator.register_agent(Speaker, "a", msg_channel=channel)
        witness.orchestrator.start()
        assert witness.orchestrator.join(30)
        message = channel.receive(20)
        assert message is not None
        assert (message.sender, message.payload) == ("a", "hello")
        assert channel.receive(0) is None
    assert witness.state("a") == "completed"
    assert witness.types("a") == ["AGENT_STARTED", "AGENT_READY", "AGENT_TERMINATED"]


class Speaker(BaseThreadAgent):
    def execute(self) -> None:
        from trunkline.message_channel import ServiceMessage

        self.send_message(ServiceMessage(self.name, "STATUS", "hello"))
