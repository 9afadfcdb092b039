"""FleetMember: what an orchestrator is to the state store, the bus and its fleet, where it has them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from trunkline import DeadLetterQueue
from trunkline.channels import agent_channel, check_channel
from trunkline.orchestrator.errors import DependencyError, OrchestratorError
from trunkline.orchestrator.events.events import OrchestratorEvent
from trunkline.orchestrator.fleet.final_failures import FinalFailures
from trunkline.orchestrator.fleet.links import Links
from trunkline.orchestrator.fleet.membership import Membership
from trunkline.orchestrator.fleet.records import Holder
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentEntry, Stage

if TYPE_CHECKING:
    from trunkline.orchestrator.orchestrator import Orchestrator


class FleetMember:
    """Passes on what happens to the agents, and answers what the `Membership` asks."""

    def __init__(self, orchestrator: Orchestrator, links: Links) -> None:
        self._of = orchestrator
        self._started_at = datetime.now(UTC)
        holder = Holder(orchestrator.name, str(uuid4()))
        self._failures = FinalFailures(holder, links.bus)
        self._has_bus = links.bus is not None
        self._membership: Membership | None = None
        if links.state is not None:
            config = orchestrator.config
            self._membership = Membership(
                links.state,
                links.has_shared_state,
                holder,
                self,
                config.heartbeat_interval,
                config.heartbeat_timeout,
            )

    # What its orchestrator tells.

    @property
    def dead_letters(self) -> DeadLetterQueue:
        """What agents failed of, when they were not started again."""
        return self._failures.dead_letters

    def check(self, name: str, is_spread: bool) -> None:
        """Raises InvalidChannelError or OrchestratorError where an agent cannot be called so, or cannot be spread."""
        if self._has_bus:
            check_channel(agent_channel(name))
        if is_spread and self._membership is None:
            raise OrchestratorError(
                f"agent {name!r} cannot be spread: there is no state store", details={"agent": name}
            )

    def check_needs(self) -> None:
        """Raises DependencyError where an agent needs one that may run elsewhere than itself."""
        for agent in self._of.memory.agents:
            for name in self._of.graph.of(agent.name):
                if self._of.memory.get_agent(name).is_spread and not agent.is_spread:
                    raise DependencyError(
                        f"agent {agent.name!r} is not spread and depends on {name!r}, which is and may run elsewhere",
                        details={"agent": agent.name, "dependency": name},
                    )

    def start(self, names: list[str]) -> Future[str]:
        """Starts agents here, if no other orchestrator runs them; done in the supervisor's thread."""
        if self._membership is None:
            return self.launch(names)
        return self._of.supervisor.pass_on(self._membership.start(names))

    def start_spread(self) -> None:
        """Has the agents that are spread started, somewhere; and takes over others' from now on."""
        if self._membership is not None:
            self._membership.serve(entry.name for entry in self._of.memory.agents if entry.is_spread)

    def changed(self, entry: AgentEntry) -> None:
        """An agent stands elsewhere than before."""
        if self._membership is not None:
            self._membership.recorder.changed(entry)

    def beat(self, name: str) -> None:
        """An agent says that it lives."""
        if self._membership is not None and (entry := self._of.memory.find(name)) is not None:
            self._membership.recorder.beat(entry)

    def concluded(self, entry: AgentEntry, life: Life) -> None:
        """A life of an agent is over."""
        if self._membership is not None:
            self._membership.recorder.ended(entry, life)
        if entry.stage == Stage.FAILED:
            self._failures.gave_up(entry, life)

    def leave(self) -> None:
        """The orchestrator begins to shut down: what is spread and runs here goes on elsewhere."""
        if self._membership is not None:
            self._membership.release(
                [
                    entry.name
                    for entry in self._of.memory.agents
                    if entry.is_spread and entry.is_active and entry.stage != Stage.STOPPING
                ]
            )

    def close(self) -> None:
        """Tells and writes what is left, and waits for that a moment."""
        self._failures.close()
        if self._membership is not None:
            self._membership.close()

    # What its membership asks.

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
        self._of.announcer.tell(OrchestratorEvent.AGENT_ERROR, entry.name, error_message=why)
        self._of.supervisor.stop(entry.name)
