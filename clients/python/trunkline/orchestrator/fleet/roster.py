"""Roster: the orchestrators of a fleet, and which of them live."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from trunkline import AgentState, AgentStatus
from trunkline.orchestrator.fleet.records import Holder, holder_of
from trunkline.orchestrator.limits import MAX_CLOCK_SKEW

DEFAULT_TIMEOUT = 5.0
"""Seconds, of a record that does not say."""


@dataclass(slots=True)
class Peer:
    """One orchestrator, as its record says."""

    holder: Holder
    load: float
    """(running + waiting) / max_workers."""
    timeout: float
    """Seconds of silence after which it is taken for dead."""
    last_beat: datetime | None
    is_over: bool
    """It has shut down."""
    seen_at: float
    """When it was last seen to beat, by this machine's monotonic clock."""


class Roster:
    """Fed with the orchestrators' records; says who lives.

    An orchestrator is dead when it has shut down, or when it was silent for its heartbeat timeout, by the clock of this
    machine and while this machine was itself in contact with the store: silence that nobody could hear does not count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._peers: dict[str, Peer] = {}
        self._heard_since = clock()
        self._heard_until = clock()

    @property
    def peers(self) -> list[Peer]:
        """All that are known, by name."""
        return [self._peers[name] for name in sorted(self._peers)]

    def in_contact(self, *, without_a_break: bool) -> None:
        """The store answered just now.

        Args:
            without_a_break: it was in contact all the time since it was last.
        """
        self._heard_until = self._clock()
        if not without_a_break:
            self._heard_since = self._heard_until

    def saw(self, record: AgentState) -> None:
        """Takes an orchestrator's record."""
        now = self._clock()
        known = self._peers.get(record.agent_id)
        peer = peer_of(record, now)
        if known is None and peer.last_beat is not None:
            if datetime.now(UTC) - peer.last_beat > timedelta(seconds=peer.timeout + MAX_CLOCK_SKEW):
                peer.seen_at = float("-inf")  # it is old whatever our clocks say
        elif known is not None and known.holder == peer.holder and known.last_beat == peer.last_beat:
            peer.seen_at = known.seen_at
        self._peers[record.agent_id] = peer

    def gone(self, name: str) -> None:
        """Somebody deleted its record."""
        self._peers.pop(name, None)

    def lives(self, holder: Holder) -> bool:
        """Whether this very start of an orchestrator lives."""
        peer = self._peers.get(holder.name)
        return peer is not None and peer.holder.id == holder.id and self._is_live(peer)

    def live(self) -> list[Peer]:
        """Those that live, the least loaded first."""
        return sorted(filter(self._is_live, self.peers), key=lambda peer: (peer.load, peer.holder.name))

    def _is_live(self, peer: Peer) -> bool:
        if peer.is_over or peer.seen_at == float("-inf"):
            return False
        return self._heard_until <= max(peer.seen_at, self._heard_since) + peer.timeout


def peer_of(record: AgentState, seen_at: float) -> Peer:
    """What an orchestrator's record says."""
    said = record.metadata
    work = _number(said, "running_count", 0.0) + _number(said, "waiting_count", 0.0)
    return Peer(
        holder=holder_of(record),
        load=work / max(1.0, _number(said, "max_workers", 1.0)),
        timeout=_number(said, "heartbeat_timeout", DEFAULT_TIMEOUT),
        last_beat=record.last_heartbeat,
        is_over=record.status != AgentStatus.RUNNING,
        seen_at=seen_at,
    )


def beats(record: AgentState, now: datetime) -> bool:
    """Whether an orchestrator lives as far as its record tells, by the clocks of both machines."""
    peer = peer_of(record, 0.0)
    if peer.is_over or peer.last_beat is None:
        return False
    return (now - peer.last_beat).total_seconds() <= peer.timeout


def _number(said: dict[str, Any], name: str, default: float) -> float:
    value = said.get(name)
    return float(value) if isinstance(value, int | float) else default
