"""What agents fail of, when they are not started again."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.patience import PATIENCE
from trunkline import AgentMessage, InMemoryMessageBus, PermissionDeniedError, sync
from trunkline.agents import BaseThreadAgent
from trunkline.channels import DEAD_LETTERS, ERRORS
from trunkline.orchestrator import Orchestrator, RestartPolicy


class Refused(BaseThreadAgent):
    """Fails of something that somebody must see to."""

    def execute(self) -> None:
        raise PermissionDeniedError("it may not do that")


class Wrong(BaseThreadAgent):
    """Fails at once."""

    def execute(self) -> None:
        raise ValueError("it cannot be done")


@pytest.fixture
def bus() -> Iterator[sync.MessageBus]:
    with sync.MessageBus.over(InMemoryMessageBus()) as bus:
        yield bus


@contextmanager
def told(bus: sync.MessageBus, channel: str) -> Iterator[queue.SimpleQueue[AgentMessage]]:
    """What is published on a channel meanwhile."""
    found: queue.SimpleQueue[AgentMessage] = queue.SimpleQueue()
    bus.subscribe(channel, found.put)
    yield found
    bus.unsubscribe(channel)


def test_it_is_kept_and_told_on_the_bus(bus: sync.MessageBus) -> None:
    """Once, after the last life, with the number of lives."""
    with told(bus, DEAD_LETTERS) as letters, Orchestrator(name="o", message_bus=bus) as orchestrator:
        orchestrator.register_agent(
            Wrong, "wrong", restart=RestartPolicy("on_failure", max_restarts=2, initial_delay=0.01)
        )
        orchestrator.start()
        message = letters.get(timeout=PATIENCE)
        assert orchestrator.join(30)
    entry = message.payload["entry"]
    assert isinstance(entry, dict)
    assert (message.sender_id, message.message_type, message.priority) == ("wrong", "error", "high")
    assert (entry["agent_id"], entry["attempt"], entry["error_type"]) == ("wrong", 3, "AgentFailedError")
    assert entry["error_code"] == "AGENT_FAILED"
    assert entry["error_message"] == "agent 'wrong' failed: ValueError: it cannot be done"
    assert entry["error_details"] == {"agent": "wrong", "orchestrator": "o", "lives": 3, "restarts": 2}
    assert letters.empty()
    assert [kept.to_dict() for kept in orchestrator.dead_letters] == [entry]


def test_what_somebody_must_see_to_is_escalated(bus: sync.MessageBus) -> None:
    """By the code of the error that the agent raised."""
    with told(bus, ERRORS) as errors, Orchestrator(name="o", message_bus=bus) as orchestrator:
        orchestrator.register_agent(Refused, "refused")
        orchestrator.start()
        message = errors.get(timeout=PATIENCE)
    entry = message.payload["entry"]
    assert isinstance(entry, dict)
    assert message.priority == "critical"
    assert (entry["error_code"], entry["attempt"]) == ("PERMISSION_DENIED", 1)
    assert list(orchestrator.dead_letters) == []


def test_without_a_bus_it_is_kept() -> None:
    """An agent that was stopped, or ended well, is none of them."""
    with Orchestrator() as orchestrator:
        orchestrator.register_agent(Wrong, "wrong")
        orchestrator.register_agent(Refused, "refused")
        orchestrator.start()
        assert orchestrator.join(30)
    assert {(entry.agent_id, entry.error_code) for entry in orchestrator.dead_letters} == {
        ("wrong", "AGENT_FAILED"),
        ("refused", "PERMISSION_DENIED"),
    }
