"""StateEvents: how far an agent's life has come; ControlEvents: what its owner asks of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.agents.events import AgentEvent


@dataclass(frozen=True, slots=True)
class ControlEvents:
    """What the owner of an agent asks of it."""

    stop_event: threading.Event
    """Set when the agent is to end."""


class StateEvents:
    """Life cycle events, to be waited for in the process that started the agent: `ready_event.wait(10)`."""

    def __init__(self) -> None:
        self.start_event = threading.Event()
        self.ready_event = threading.Event()
        self.close_event = threading.Event()
        """Set when the agent has closed, or its process has ended."""
        self.on_event: Callable[[str], object] | None = None
        """Called with the payload of each event, where the agent runs in another process than its owner."""
        self._of = {
            AgentEvent.AGENT_START.value: self.start_event,
            AgentEvent.AGENT_READY.value: self.ready_event,
            AgentEvent.AGENT_CLOSE.value: self.close_event,
        }

    def clear(self) -> None:
        """Clears all events, for a new life."""
        for event in self._of.values():
            event.clear()

    def record(self, payload: str) -> None:
        """Sets the event of a STATUS payload; without effect for one that is no life cycle event."""
        if (event := self._of.get(payload)) is not None:
            event.set()
            if self.on_event is not None:
                self.on_event(payload)
