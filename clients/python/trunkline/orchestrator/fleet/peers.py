"""Peers: the orchestrators of a fleet, and which of them are alive."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from trunkline import AgentState, AgentStatus
from trunkline.orchestrator.fleet.records import Holder, holder_of
from trunkline.orchestrator.limits import MAX_CLOCK_SKEW

DEFAULT_TIMEOUT = 5.0
"""Heartbeat timeout in seconds of a record that names none."""


@dataclass(slots=True)
class Peer:
    """One orchestrator, by its record."""

    holder: Holder
    load: float
    """(running + waiting) / max_workers."""
    timeout: float
    """Seconds of silence after which the orchestrator counts as dead."""
    last_beat: datetime | None
    is_over: bool
    """Whether the orchestrator has shut down."""
    seen_at: float
    """Time at which a new heartbeat was last seen, by this machine's monotonic clock."""

    def beats(self, now: datetime) -> bool:
        """Tells whether the last heartbeat is within the timeout, by the clocks of both machines."""
        if self.is_over or self.last_beat is None:
            return False
        return (now - self.last_beat).total_seconds() <= self.timeout


class PeerTable(ABC):
    """Orchestrators by name. A subclass decides which are alive."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}

    @abstractmethod
    def _is_alive(self, peer: Peer) -> bool: ...

    @property
    def all(self) -> list[Peer]:
        """All known orchestrators, by name."""
        return [self._peers[name] for name in sorted(self._peers)]

    def lives(self, holder: Holder) -> bool:
        """Tells whether this very start of an orchestrator is alive."""
        peer = self._peers.get(holder.name)
        return peer is not None and peer.holder.id == holder.id and self._is_alive(peer)

    def live(self) -> list[Peer]:
        """Returns the orchestrators that are alive, the least loaded first."""
        return sorted(filter(self._is_alive, self._peers.values()), key=lambda peer: (peer.load, peer.holder.name))


class Peers(PeerTable):
    """The orchestrators as one of them sees the others, from a watch.

    An orchestrator is dead when it has shut down, or when it was silent for its heartbeat timeout, by the clock of this
    machine and while this machine was itself in contact with the store: silence during an outage does not count.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._heard_since = clock()
        self._heard_until = clock()

    def in_contact(self, *, without_a_break: bool) -> None:
        """Notes that the store has answered just now.

        Args:
            without_a_break: there was no outage since the previous answer.
        """
        self._heard_until = self._clock()
        if not without_a_break:
            self._heard_since = self._heard_until

    def saw(self, record: AgentState) -> None:
        """Takes the record of an orchestrator."""
        now = self._clock()
        known = self._peers.get(record.agent_id)
        peer = peer_of(record, now)
        if known is None and peer.last_beat is not None:
            if datetime.now(UTC) - peer.last_beat > timedelta(seconds=peer.timeout + MAX_CLOCK_SKEW):
                peer.seen_at = float("-inf")  # too old for any difference of the clocks
        elif known is not None and known.holder == peer.holder and known.last_beat == peer.last_beat:
            peer.seen_at = known.seen_at
        self._peers[record.agent_id] = peer

    def gone(self, name: str) -> None:
        """Removes an orchestrator whose record was deleted."""
        self._peers.pop(name, None)

    def _is_alive(self, peer: Peer) -> bool:
        if peer.is_over or peer.seen_at == float("-inf"):
            return False
        return self._heard_until <= max(peer.seen_at, self._heard_since) + peer.timeout


def peer_of(record: AgentState, seen_at: float = 0.0) -> Peer:
    """Returns what the record of an orchestrator says."""
    metadata = record.metadata
    work = _number(metadata, "running_count", 0.0) + _number(metadata, "waiting_count", 0.0)
    return Peer(
        holder=holder_of(record),
        load=work / max(1.0, _number(metadata, "max_workers", 1.0)),
        timeout=_number(metadata, "heartbeat_timeout", DEFAULT_TIMEOUT),
        last_beat=record.last_heartbeat,
        is_over=record.status != AgentStatus.RUNNING,
        seen_at=seen_at,
    )


def _number(metadata: dict[str, Any], name: str, default: float) -> float:
    value = metadata.get(name)
    return float(value) if isinstance(value, int | float) else default
