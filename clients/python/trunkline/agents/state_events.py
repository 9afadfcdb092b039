"""StateEvents: what has happened to an agent by now; ControlEvents: what it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.agents.events import AgentEvent


@dataclass(frozen=True, slots=True)
class ControlEvents:
    """What an agent is told."""

    stop_event: threading.Event
    """It shall end."""


class StateEvents:
    """To be waited for in the process that started the agent: `ready_event.wait(10)`."""

    def __init__(self) -> None:
        self.start_event = threading.Event()
        self.ready_event = threading.Event()
        self.close_event = threading.Event()
        """It has closed, or its process has ended."""
        self.told: Callable[[str], object] | None = None
        """Told of each, where the agent runs in another process than its owner."""
        self._of = {
            AgentEvent.AGENT_START.value: self.start_event,
            AgentEvent.AGENT_READY.value: self.ready_event,
            AgentEvent.AGENT_CLOSE.value: self.close_event,
        }

    def clear(self) -> None:
        """Nothing has happened yet."""
        for event in self._of.values():
            event.clear()

    def said(self, payload: str) -> None:
        """Takes note of what the agent said of itself."""
        if (event := self._of.get(payload)) is not None:
            event.set()
            if self.told is not None:
                self.told(payload)
