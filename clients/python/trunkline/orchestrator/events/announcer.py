"""Announcer: tells what happens, to callbacks and to the history."""

from __future__ import annotations

from typing import Any, Final

from trunkline.orchestrator.events.events import EventManager, OrchestratorEvent
from trunkline.orchestrator.events.history import Category, EventStore, Severity

_SEVERITIES: Final[dict[OrchestratorEvent, Severity]] = {
    OrchestratorEvent.AGENT_ERROR: "ERROR",
    OrchestratorEvent.AGENT_HUNG: "ERROR",
    OrchestratorEvent.AGENT_RESTARTED: "WARNING",
}
_UNTOLD: Final = frozenset({OrchestratorEvent.AGENT_HEARTBEAT})
"""Events that would fill the history."""


class Announcer:
    """Of one orchestrator. Any thread may call.

    Args:
        history_capacity: events that the history keeps.
        event_workers: callbacks that run at a time.
    """

    def __init__(self, history_capacity: int, event_workers: int) -> None:
        self.history = EventStore(history_capacity)
        self.events = EventManager(event_workers)

    def tell(self, event: OrchestratorEvent, agent: str | None, **facts: Any) -> None:
        """Something happened, to an agent or else to the orchestrator."""
        if event not in _UNTOLD:
            category: Category = "ORCHESTRATOR" if agent is None else "AGENT"
            self.history.add(category, event.name, agent, _SEVERITIES.get(event, "INFO"), **facts)
        named = {} if agent is None else {"agent_name": agent}
        self.events.emit(event, **named, **facts)
