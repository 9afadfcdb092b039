"""Buses and stores that an orchestrator is given as objects."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from tests.conductor.own_classes import OwnBus, OwnStore
from trunkline import (
    AgentMessage,
    AgentState,
    InMemoryMessageBus,
    InMemoryStateManager,
    MessageBus,
    StateManager,
    TaskResult,
    sync,
)
from trunkline.agents import LoopingThreadAgent
from trunkline.channels import agent_channel
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator import Fleet, Orchestrator, OrchestratorError, OrchestratorEvent


class Listening(LoopingThreadAgent):
    """Tells what it receives."""

    def cycle(self) -> None:
        if (message := self.msg_channel.receive(0.05)) is not None:
            self.send_message(ServiceMessage(self.name, "STATUS", f"got {message.payload}"))


PAIRS = [(InMemoryMessageBus, InMemoryStateManager), (OwnBus, OwnStore)]


@pytest.mark.parametrize(("bus_class", "store_class"), PAIRS)
def test_a_fleet_over_objects(bus_class: type[MessageBus], store_class: type[StateManager]) -> None:
    """Ours in memory, and somebody's own that have ConductorAI's verbs alone: messages, records and commands."""
    with sync.MessageBus.over(bus_class()) as bus, sync.StateManager.over(store_class()) as state:
        a, b = (Orchestrator(name=name, message_bus=bus, state_manager=state) for name in "ab")
        with a, b, sync.Background() as background:
            heard = threading.Event()
            b.register_event(
                OrchestratorEvent.AGENT_MESSAGE, lambda message: heard.set() if message == "got hello" else None
            )
            ready = threading.Semaphore(0)
            for orchestrator in (a, b):
                orchestrator.register_event(OrchestratorEvent.AGENT_READY, partial(ready.release, 1))
                orchestrator.register_agent(Listening, f"at-{orchestrator.name}")
                orchestrator.start()
            assert all(ready.acquire(timeout=30) for _ in "ab")
            a.send("at-b", ServiceMessage("a", "STATUS", "hello"))
            assert heard.wait(30)

            async def ask() -> None:
                fleet = Fleet(bus.asynchronous, state.asynchronous)
                rows = (await fleet.ps())["agents"]
                assert {(row["agent_name"], row["orchestrator"]) for row in rows} == {("at-a", "a"), ("at-b", "b")}
                assert (await fleet.stop("at-b"))["orchestrator"] == "b"
                assert set((await fleet.status())["orchestrators"]) == {"a", "b"}

            background.submit(ask()).result(30)
        records = {record.agent_id: record for record in state.list_agent_states()}
        assert records["at-a"].metadata["state"] == "stopped"
        assert set(records) == {"at-a", "at-b"}  # each has removed its own
        task = state.get_task_result(records["at-a"].completed_tasks[0])
        assert isinstance(task, TaskResult)
        assert bus.is_connected  # it was shared


def test_what_was_not_connected_is_connected_and_disconnected() -> None:
    """An object that only the orchestrator has."""
    bus, store = OwnBus(), OwnStore()
    with Orchestrator(name="a", message_bus=bus, state_manager=store) as orchestrator:
        orchestrator.register_agent(Listening, "agent")
        orchestrator.start()
        assert bus.is_connected
    assert not bus.is_connected


def test_what_is_connected_elsewhere_is_refused() -> None:
    """It belongs to another event loop. The error says what to do."""
    bus = OwnBus()
    bus._is_connected = True
    with pytest.raises(OrchestratorError, match=r"message_bus is connected already.*MessageBus\.over"):
        Orchestrator(message_bus=bus)


def test_an_agent_in_a_thread_uses_them_too() -> None:
    """`self.bus` and `self.state` are what the orchestrator was given."""

    class Using(LoopingThreadAgent):
        class Config(LoopingThreadAgent.Config):
            limit = 1

        def cycle(self) -> None:
            self.state.save_agent_state(AgentState(agent_id="note", agent_type="note"))
            self.bus.publish(agent_channel("tests"), AgentMessage(message_type="feedback", sender_id=self.name))

    with sync.MessageBus.over(InMemoryMessageBus()) as bus, sync.StateManager.over(InMemoryStateManager()) as state:
        came = threading.Event()
        bus.subscribe(agent_channel("tests"), lambda message: came.set())
        with Orchestrator(message_bus=bus, state_manager=state) as orchestrator:
            orchestrator.register_agent(Using, "using")
            orchestrator.start()
            assert came.wait(30)
            assert orchestrator.join(30)
        assert state.get_agent_state("note") is not None
        assert list(orchestrator.dead_letters) == []


def test_a_store_without_leases_takes_no_spread_agents() -> None:
    """Two orchestrators could run one at once. The error names what the store lacks; other agents run."""
    with Orchestrator(name="a", state_manager=OwnStore()) as orchestrator:
        with pytest.raises(OrchestratorError, match=r"'anywhere' cannot be spread: .* no leases .*acquire\(\)"):
            orchestrator.register_agent(Listening, "anywhere", spread=True)
        orchestrator.register_agent(Listening, "here")
        assert orchestrator.start_agent("here") == "started"
