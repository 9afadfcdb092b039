"""FleetMember: what an orchestrator is to its fleet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trunkline.orchestrator.errors import DependencyError
from trunkline.orchestrator.events import OrchestratorEvent
from trunkline.orchestrator.memory import AgentEntry
from trunkline.orchestrator.records import Holder

if TYPE_CHECKING:
    from trunkline.orchestrator.orchestrator import Orchestrator


class FleetMember:
    """A `Member`."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._of = orchestrator
        self._started_at = datetime.now(UTC)

    def facts(self) -> dict[str, Any]:
        """What its record says of it."""
        config = self._of.config
        return {
            "running_count": self._of.supervisor.running_count,
            "waiting_count": self._of.supervisor.waiting_count,
            "max_workers": config.max_workers,
            "agents": len(self._of.memory),
            "pid": os.getpid(),
            "started_at": self._started_at.isoformat(),
            "command_socket": config.command_socket_path if config.enable_command_interface else None,
        }

    def needs(self, name: str) -> list[str]:
        """What an agent depends on."""
        return self._of.graph.of(name)

    def to_start(self, names: Sequence[str]) -> list[AgentEntry]:
        """Which agents would be started, for these to run."""
        return self._of.supervisor.to_start(names)

    def anywhere(self) -> list[AgentEntry]:
        """The agents that are spread, and do not run here."""
        return [entry for entry in self._of.memory.agents if entry.is_spread and not entry.is_active]

    def launch(self, names: list[str]) -> Future[str]:
        """Starts agents here."""
        return self._of.supervisor.start(names)

    def lost(self, entry: AgentEntry, other: Holder) -> None:
        """Ends an agent that another one has taken over, while this one was not heard of."""
        why = f"orchestrator {other.name!r} on {other.host} runs it too, and has taken it over"
        entry.note_error(why)
        self._of.tell(OrchestratorEvent.AGENT_ERROR, entry, error_message=why)
        self._of.supervisor.stop(entry.name)

    def released(self) -> list[str]:
        """The agents that run here and shall go on elsewhere, when this orchestrator shuts down."""
        return [entry.name for entry in self._of.memory.agents if entry.is_spread and entry.is_active]

    def check_needs(self) -> None:
        """Raises DependencyError where an agent needs one that may run elsewhere than itself."""
        for agent in self._of.memory.agents:
            for name in self._of.graph.of(agent.name):
                if self._of.memory.get_agent(name).is_spread and not agent.is_spread:
                    raise DependencyError(
                        f"agent {agent.name!r} is not spread and depends on {name!r}, which is and may run elsewhere",
                        details={"agent": agent.name, "dependency": name},
                    )
