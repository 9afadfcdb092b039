"""What agents say, and what is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.agents import AgentEvent
from trunkline.orchestrator import OrchestratorEvent
from trunkline.orchestrator.events.events import event_of


@pytest.mark.parametrize(
    ("payload", "event", "facts"),
    [
        ("agent_started", "AGENT_STARTED", {}),
        ("agent_ready", "AGENT_READY", {}),
        ("agent_close", "AGENT_TERMINATED", {}),
        ("heartbeat", "AGENT_HEARTBEAT", {}),
        ("ERROR: no disk", "AGENT_ERROR", {"error_message": "no disk"}),
        ("ERROR:no disk", "AGENT_ERROR", {"error_message": "no disk"}),
        ("ERROR:", "AGENT_ERROR", {"error_message": ""}),
        ('RESULT:{"x": 1}', "AGENT_RESULT", {"result": {"x": 1}}),
        ("RESULT: not JSON", "AGENT_MESSAGE", {"message": "RESULT: not JSON"}),
        ("RESULT:NaN", "AGENT_MESSAGE", {"message": "RESULT:NaN"}),
        ("RESULT:" + "[" * 100_000, "AGENT_MESSAGE", {"message": "RESULT:" + "[" * 100_000}),
        ("anything else", "AGENT_MESSAGE", {"message": "anything else"}),
        ("", "AGENT_MESSAGE", {"message": ""}),
    ],
)
def test_what_an_agent_says_becomes_an_event(payload: str, event: str, facts: dict[str, Any]) -> None:
    """By its payload; text of its own is passed on."""
    assert event_of(payload) == (OrchestratorEvent[event], facts)


def test_names_and_values_of_events() -> None:
    """Values are the names in lower case, but what agents say by another word."""
    assert all(event.value == event.name.lower() for event in OrchestratorEvent)
    assert {event.name: event.value for event in AgentEvent} == {
        "AGENT_START": "agent_started",
        "AGENT_READY": "agent_ready",
        "AGENT_CLOSE": "agent_close",
        "AGENT_HEARTBEAT": "heartbeat",
        "AGENT_ERROR": "agent_error",
        "AGENT_RESULT": "agent_result",
    }
