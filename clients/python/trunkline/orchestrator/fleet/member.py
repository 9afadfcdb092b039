"""FleetMember: an orchestrator's part in a fleet, as far as it has a bus and a state store."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING
from uuid import uuid4

from trunkline import DeadLetterQueue
from trunkline.channels import agent_channel, check_channel
from trunkline.orchestrator.config import OrchestratorConfig
from trunkline.orchestrator.errors import DependencyError, OrchestratorError
from trunkline.orchestrator.events.event_log import EventLog
from trunkline.orchestrator.fleet.connections import Connections
from trunkline.orchestrator.fleet.final_failures import FinalFailures
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.registry.dependencies import DependencyGraph
from trunkline.orchestrator.registry.entry import AgentEntry, Stage
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentRegistry
from trunkline.orchestrator.supervision.supervisor import Supervisor

if TYPE_CHECKING:
    from trunkline.orchestrator.fleet.membership import Membership


class FleetMember:
    """Passes on what happens to the agents: to the state store by a `Membership`, and failures to the bus. Without a
    state store, agents start at once, and there is no membership. An `Observer` of the supervisor.

    Args:
        name: the orchestrator's.
        config: its configuration.
        registry: its agents.
        graph: their dependencies.
        event_log: its events.
        supervisor: starts and stops the agents.
        connections: its bus and its state store.
    """

    def __init__(
        self,
        name: str,
        config: OrchestratorConfig,
        registry: AgentRegistry,
        graph: DependencyGraph,
        event_log: EventLog,
        supervisor: Supervisor,
        connections: Connections,
    ) -> None:
        self._registry = registry
        self._graph = graph
        self._supervisor = supervisor
        self._has_bus = connections.bus is not None
        self._can_spread = False
        holder = Holder(name, str(uuid4()))
        self._failures = FinalFailures(holder, connections.bus)
        self._membership: Membership | None = None
        if connections.state is not None:  # without one, a fleet's modules and what they load are not needed
            from trunkline.orchestrator.fleet.membership import Membership
            from trunkline.orchestrator.fleet.store import has_leases

            self._can_spread = has_leases(connections.state)
            self._membership = Membership(
                connections.state,
                connections.has_shared_state,
                holder,
                config,
                registry,
                graph,
                event_log,
                supervisor,
            )

    @property
    def dead_letters(self) -> DeadLetterQueue:
        """Failures of agents that were not restarted."""
        return self._failures.dead_letters

    def check(self, name: str, is_spread: bool) -> None:
        """Checks the name of an agent, and whether it can be spread.

        Raises:
            InvalidChannelError: with a bus, the name is no channel token.
            OrchestratorError: the agent is spread, and there is no state store, or one without leases: then two
                orchestrators could take the agent at once.
        """
        if self._has_bus:
            check_channel(agent_channel(name))
        if is_spread and self._membership is None:
            raise OrchestratorError(
                f"agent {name!r} cannot be spread: there is no state store", details={"agent": name}
            )
        if is_spread and not self._can_spread:
            raise OrchestratorError(
                f"agent {name!r} cannot be spread: the state store keeps no leases (its class has no acquire()), so "
                "that two orchestrators could run it at once",
                details={"agent": name},
            )

    def check_needs(self) -> None:
        """Raises DependencyError where an agent depends on one that may run on another orchestrator."""
        for agent in self._registry.agents:
            for name in self._graph.of(agent.name):
                if self._registry.get_agent(name).is_spread and not agent.is_spread:
                    raise DependencyError(
                        f"agent {agent.name!r} is not spread and depends on {name!r}, which is and may run elsewhere",
                        details={"agent": agent.name, "dependency": name},
                    )

    def start(self, names: list[str]) -> Future[str]:
        """Starts agents here, unless another orchestrator runs them; the future is done in the supervisor's thread."""
        if self._membership is None:
            return self._supervisor.start(names)
        return self._supervisor.pass_on(self._membership.start(names))

    def start_spread(self) -> None:
        """Has the spread agents started, somewhere in the fleet; and takes over those of others from now on."""
        if self._membership is not None:
            self._membership.serve(entry.name for entry in self._registry.agents if entry.is_spread)

    def changed(self, entry: AgentEntry) -> None:
        """Writes the agent's record."""
        if self._membership is not None:
            self._membership.pending.changed(entry)

    def beat(self, name: str) -> None:
        """Writes an agent's heartbeat, at intervals."""
        if self._membership is not None and (entry := self._registry.find(name)) is not None:
            self._membership.pending.beat(entry)

    def concluded(self, entry: AgentEntry, life: Life) -> None:
        """Writes the result of the life, and reports a failure that is final."""
        if self._membership is not None:
            self._membership.pending.ended(entry, life)
        if entry.stage == Stage.FAILED:
            self._failures.gave_up(entry, life)

    def leave(self) -> None:
        """Releases the spread agents that run here, before the shutdown, so that other orchestrators take them."""
        if self._membership is not None:
            self._membership.release(
                [
                    entry.name
                    for entry in self._registry.agents
                    if entry.is_spread and entry.is_active and entry.stage != Stage.STOPPING
                ]
            )

    def close(self) -> None:
        """Writes and reports what is left; waits for that within limits."""
        self._failures.close()
        if self._membership is not None:
            self._membership.close()
