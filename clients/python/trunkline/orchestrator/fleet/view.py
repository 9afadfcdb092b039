"""FleetView: the state of a fleet, by the records of one moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from trunkline import AgentState, LeaseInfo
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.fleet.lease import lease_name
from trunkline.orchestrator.fleet.peers import Peers
from trunkline.orchestrator.fleet.records import RELEASED, holder_of, is_active, is_orchestrator

LOST: Final = "lost"
"""State of an agent that its orchestrator recorded as running, and the orchestrator is not there."""


class FleetView(Peers):
    """The orchestrators and agents of some records.

    Args:
        records: of orchestrators and agents.
        leases: those of the orchestrators, which tell when each was heard of; others are ignored.
    """

    def __init__(self, records: Iterable[AgentState], leases: Iterable[LeaseInfo] = ()) -> None:
        super().__init__()
        now = datetime.now(UTC)
        self._renewed = {
            lease.name: now - timedelta(seconds=lease.ttl - lease.remaining)
            for lease in leases
            if lease.remaining is not None
        }
        self._agents: dict[str, AgentState] = {}
        self._orchestrators: dict[str, AgentState] = {}
        self._gone: dict[str, tuple[Holder, datetime]] = {}
        """Orchestrators that are not there, by name, and when the newest record of an agent of theirs was written."""
        for record in records:
            if is_orchestrator(record):
                self._orchestrators[record.agent_id] = record
                self.saw(record)
            else:
                self._agents[record.agent_id] = record
        for record in self._agents.values():
            holder = holder_of(record)
            if holder.name and holder.name not in self._orchestrators:
                before = self._gone.get(holder.name)
                if before is None or before[1] < record.updated_at:
                    self._gone[holder.name] = holder, record.updated_at

    def ps(self) -> dict[str, Any]:
        """Returns the contents of `trunkline ps`."""
        names = sorted({*self._orchestrators, *self._gone})
        orchestrators = [self._orchestrator_row(name) for name in names]
        live = [row for row in orchestrators if row["alive"]]
        return {
            "agents": [self._agent_row(self._agents[name]) for name in sorted(self._agents)],
            "running_count": sum(row["running_count"] for row in live),
            "max_workers": sum(row["max_workers"] for row in live),
            "waiting_count": sum(row["waiting_count"] for row in live),
            "orchestrators": orchestrators,
        }

    def state(self, record: AgentState) -> str:
        """Returns the state of an agent."""
        state = str(record.metadata.get("state", record.status))
        if state != RELEASED and is_active(record) and not self.lives(holder_of(record)):
            return LOST
        return state

    def _agent_row(self, record: AgentState) -> dict[str, Any]:
        metadata = record.metadata
        is_heard = self.lives(holder_of(record))
        return {
            "agent_name": record.agent_id,
            "alive": is_heard and bool(metadata.get("alive")),
            "started": bool(metadata.get("started")),
            "in_queue": is_heard and bool(metadata.get("in_queue")),
            "state": self.state(record),
            "orchestrator": holder_of(record).name,
        }

    def _orchestrator_row(self, name: str) -> dict[str, Any]:
        record = self._orchestrators.get(name)
        if record is None:
            holder, heard = self._gone[name]
            metadata: dict[str, Any] = {"host": holder.host}
        else:
            heard, metadata = self._renewed.get(lease_name(name), record.updated_at), record.metadata
        return {
            "name": name,
            "alive": record is not None,
            "running_count": metadata.get("running_count", 0),
            "max_workers": metadata.get("max_workers", 0),
            "waiting_count": metadata.get("waiting_count", 0),
            "host": metadata.get("host"),
            "pid": metadata.get("pid"),
            "last_heartbeat": heard.isoformat(),
        }
