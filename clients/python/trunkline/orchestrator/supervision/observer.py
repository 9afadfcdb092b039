"""Observer: is notified of what the supervisor does with agents."""

from __future__ import annotations

from typing import Protocol

from trunkline.orchestrator.registry.entry import AgentEntry
from trunkline.orchestrator.registry.life import Life


class Observer(Protocol):
    """Called in the supervisor's thread; must not wait."""

    def changed(self, entry: AgentEntry) -> None:
        """Called when the stage of an agent, or its reason, has changed."""

    def concluded(self, entry: AgentEntry, life: Life) -> None:
        """Called when a life of an agent is over, and the stage that follows is set."""
