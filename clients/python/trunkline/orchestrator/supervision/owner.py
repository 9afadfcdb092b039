"""Owner: what a supervisor asks of its orchestrator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from trunkline.agents import BaseAgent
from trunkline.orchestrator.events.events import OrchestratorEvent
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentEntry


class Owner(Protocol):
    """What the supervisor asks of its orchestrator."""

    def make(self, entry: AgentEntry) -> BaseAgent:
        """A new object of the agent, for one life. Called in a thread of its own."""

    def tell(self, event: OrchestratorEvent, entry: AgentEntry | None, **facts: Any) -> None:
        """Something happened."""

    def when_heard(self, action: Callable[[], object]) -> None:
        """Calls an action, in any thread, when everything was heard that agents have said by now."""

    def is_stuck(self) -> bool:
        """Whether it hears nobody at present, because what one agent said takes long to handle."""

    def changed(self, entry: AgentEntry) -> None:
        """An agent stands elsewhere than before."""

    def concluded(self, entry: AgentEntry, life: Life) -> None:
        """A life is over, and what comes of it is decided."""
