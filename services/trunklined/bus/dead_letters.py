"""Dead letters: messages that no subscriber of a durable subscription could finish."""

from __future__ import annotations

from dataclasses import dataclass

from trunklined.bus.attempts import AttemptRecord, Reason


@dataclass(slots=True)
class DeadLetter:
    """A message that no subscriber of a durable subscription could finish."""

    durable: str
    pattern: str
    channel: str
    sequence: int
    published_at: float
    dead_at: float
    reason: Reason
    error: str
    attempts: tuple[AttemptRecord, ...]
    redrives: int
    message_id: str
    message_type: str
    sender_id: str
    key: str | None
    level: int
    message: bytes
    id: int = 0
    """Set by the journal."""


@dataclass(frozen=True, slots=True)
class DeadLetterQuery:
    """Which dead letters; what is None does not matter."""

    durable: str | None = None
    channels: frozenset[str] | None = None
    reason: Reason | None = None
    message_id: str | None = None
    message_type: str | None = None
    sender_id: str | None = None
    error_contains: str | None = None
    since: float | None = None
    before: float | None = None
    ids: tuple[int, ...] | None = None
