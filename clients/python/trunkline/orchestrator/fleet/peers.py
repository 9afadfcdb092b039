"""Peers: the orchestrators of a fleet that are there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from trunkline import AgentState
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.fleet.records import holder_of


@dataclass(frozen=True, slots=True)
class Peer:
    """One orchestrator, by its record."""

    holder: Holder
    load: float
    """(running + waiting) / max_workers."""


class Peers:
    """Orchestrators by name. One is there as long as its record is, which ends with its lease."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}

    def saw(self, record: AgentState) -> None:
        """Takes the record of an orchestrator."""
        self._peers[record.agent_id] = _peer_of(record)

    def gone(self, name: str) -> None:
        """Removes an orchestrator whose record has ended."""
        self._peers.pop(name, None)

    def keep(self, names: Collection[str]) -> None:
        """Removes all others than these."""
        self._peers = {name: peer for name, peer in self._peers.items() if name in names}

    def lives(self, holder: Holder) -> bool:
        """Tells whether this very start of an orchestrator is there."""
        peer = self._peers.get(holder.name)
        return peer is not None and peer.holder.id == holder.id

    def live(self) -> list[Peer]:
        """Returns all orchestrators, the least loaded first."""
        return sorted(self._peers.values(), key=lambda peer: (peer.load, peer.holder.name))


def _peer_of(record: AgentState) -> Peer:
    metadata = record.metadata
    work = _number(metadata, "running_count", 0.0) + _number(metadata, "waiting_count", 0.0)
    return Peer(holder_of(record), work / max(1.0, _number(metadata, "max_workers", 1.0)))


def _number(metadata: dict[str, Any], name: str, default: float) -> float:
    value = metadata.get(name)
    return float(value) if isinstance(value, int | float) else default
