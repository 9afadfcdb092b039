"""FleetView: the state of a fleet, by the records of one moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from trunkline import AgentState
from trunkline.orchestrator.fleet.peers import Peer, PeerTable, peer_of
from trunkline.orchestrator.fleet.records import RELEASED, holder_of, is_active, is_orchestrator

LOST: Final = "lost"
"""State of an agent that ran at the last heartbeat of its orchestrator, which is dead."""


class FleetView(PeerTable):
    """The orchestrators and agents of some records.

    An orchestrator is alive if its last heartbeat is within its heartbeat timeout, by the clock of this machine, which
    should therefore agree with the others'.
    """

    def __init__(self, records: Iterable[AgentState]) -> None:
        super().__init__()
        self._now = datetime.now(UTC)
        self._agents: dict[str, AgentState] = {}
        self._orchestrators: dict[str, AgentState] = {}
        for record in records:
            if is_orchestrator(record):
                self._orchestrators[record.agent_id] = record
                self._peers[record.agent_id] = peer_of(record)
            else:
                self._agents[record.agent_id] = record

    def _is_alive(self, peer: Peer) -> bool:
        return peer.beats(self._now)

    def ps(self) -> dict[str, Any]:
        """Returns the contents of `trunkline ps`."""
        orchestrators = [self._orchestrator_row(name) for name in sorted(self._orchestrators)]
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
        record = self._orchestrators[name]
        metadata = record.metadata
        return {
            "name": name,
            "alive": self._is_alive(self._peers[name]),
            "running_count": metadata.get("running_count", 0),
            "max_workers": metadata.get("max_workers", 0),
            "waiting_count": metadata.get("waiting_count", 0),
            "host": metadata.get("host"),
            "pid": metadata.get("pid"),
            "last_heartbeat": None if record.last_heartbeat is None else record.last_heartbeat.isoformat(),
        }
