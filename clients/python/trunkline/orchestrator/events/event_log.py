"""EventLog: passes events on to callbacks, and keeps them in the history."""

from __future__ import annotations

from typing import Any, Final

from trunkline.orchestrator.events.events import EventManager, OrchestratorEvent
from trunkline.orchestrator.events.history import Category, EventStore, Severity

_SEVERITIES: Final[dict[OrchestratorEvent, Severity]] = {
    OrchestratorEvent.AGENT_ERROR: "ERROR",
    OrchestratorEvent.AGENT_HUNG: "ERROR",
    OrchestratorEvent.AGENT_RESTARTED: "WARNING",
}
_NOT_KEPT: Final = frozenset({OrchestratorEvent.AGENT_HEARTBEAT})
"""Events that are not kept, since they would fill the history."""


class EventLog:
    """The events of one orchestrator. Any thread may call.

    Args:
        history_capacity: events that the history keeps.
        event_workers: callbacks that run at a time.
    """

    def __init__(self, history_capacity: int, event_workers: int) -> None:
        self.history = EventStore(history_capacity)
        self.events = EventManager(event_workers)

    def record(self, event: OrchestratorEvent, agent: str | None, **details: Any) -> None:
        """Records an event of an agent, or of the orchestrator where `agent` is None."""
        if event not in _NOT_KEPT:
            category: Category = "ORCHESTRATOR" if agent is None else "AGENT"
            self.history.add(category, event.name, agent, _SEVERITIES.get(event, "INFO"), **details)
        named = {} if agent is None else {"agent_name": agent}
        self.events.emit(event, **named, **details)
