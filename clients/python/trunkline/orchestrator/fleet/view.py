"""FleetView: how a fleet stands, as far as the state store tells."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from trunkline import AgentState, StateManager
from trunkline.orchestrator.fleet.records import ORCHESTRATOR, RELEASED, Holder, holder_of, is_active, is_orchestrator
from trunkline.orchestrator.fleet.roster import Peer, beats, peer_of

LOST: Final = "lost"
"""Of an agent that ran when its orchestrator was last heard of."""


class FleetView:
    """The records of one moment.

    An orchestrator lives if its last heartbeat is not older than its heartbeat timeout: by the clock of this machine,
    which should therefore agree with theirs.
    """

    def __init__(self, records: Iterable[AgentState]) -> None:
        self._now = datetime.now(UTC)
        self._agents: dict[str, AgentState] = {}
        self._orchestrators: dict[str, AgentState] = {}
        for record in records:
            (self._orchestrators if is_orchestrator(record) else self._agents)[record.agent_id] = record

    def lives(self, holder: Holder) -> bool:
        """Whether this very start of an orchestrator lives."""
        record = self._orchestrators.get(holder.name)
        return record is not None and holder_of(record).id == holder.id and beats(record, self._now)

    def live(self) -> list[Peer]:
        """The orchestrators that live, the least loaded first."""
        peers = [peer_of(record, 0.0) for record in self._orchestrators.values() if beats(record, self._now)]
        return sorted(peers, key=lambda peer: (peer.load, peer.holder.name))

    def ps(self) -> dict[str, Any]:
        """What `trunkline ps` shows."""
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
        """Where an agent stands."""
        state = str(record.metadata.get("state", record.status))
        if state != RELEASED and is_active(record) and not self.lives(holder_of(record)):
            return LOST
        return state

    def _agent_row(self, record: AgentState) -> dict[str, Any]:
        said = record.metadata
        is_heard = self.lives(holder_of(record))
        return {
            "agent_name": record.agent_id,
            "alive": is_heard and bool(said.get("alive")),
            "started": bool(said.get("started")),
            "in_queue": is_heard and bool(said.get("in_queue")),
            "state": self.state(record),
            "orchestrator": holder_of(record).name,
        }

    def _orchestrator_row(self, name: str) -> dict[str, Any]:
        record = self._orchestrators[name]
        said = record.metadata
        return {
            "name": name,
            "alive": beats(record, self._now),
            "running_count": said.get("running_count", 0),
            "max_workers": said.get("max_workers", 0),
            "waiting_count": said.get("waiting_count", 0),
            "host": said.get("host"),
            "pid": said.get("pid"),
            "last_heartbeat": None if record.last_heartbeat is None else record.last_heartbeat.isoformat(),
        }


async def orchestrators_in(state: StateManager) -> list[AgentState]:
    """The orchestrators' records. A store of one's own may know no filter."""
    if "type" in inspect.signature(state.list_agent_states).parameters:
        return await state.list_agent_states(type=ORCHESTRATOR)
    return list(filter(is_orchestrator, await state.list_agent_states()))
