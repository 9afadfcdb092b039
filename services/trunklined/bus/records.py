"""The records that pass between the journal and whatever keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from trunklined.bus.run import Run

SMALL_BYTES: Final = 16 * 1024


class Reason(IntEnum):
    """Why a message became a dead letter; the numbers are those of the wire."""

    MAX_DELIVERIES = 1
    TERMINATED = 2
    EXPIRED = 3


class AttemptRecord(NamedTuple):
    """One time that a message was handed out."""

    number: int
    delivered_at: float
    ended_at: float
    peer: str
    error: str


class ParcelRow(NamedTuple):
    """Messages that one durable subscription has looked at and not done with: leased, or waiting for another
    attempt."""

    id: int
    durable: int
    sequence: int
    messages: int
    lane: int
    attempts: int
    """How often they were handed out, those before a redrive included."""
    base: int
    """How often before the last redrive."""
    due: float | None
    """When they may be handed out again; None: they are leased."""
    open: bytes | None
    """A 1 for each message that is not settled, a 0 for each that is; None: none is settled."""
    key: str | None
    log: tuple[AttemptRecord, ...]
    redrives: int


class DurableRow(NamedTuple):
    """A durable subscription as it is kept."""

    id: int
    name: str
    pattern: str
    ack_wait: float
    max_deliveries: int
    backoff_initial: float
    backoff_multiplier: float
    backoff_maximum: float
    created_at: float
    positions: tuple[int, ...]
    """Of each lane, the first sequence that it has not looked at."""
    waiting: int
    acked: int
    redelivered: int
    dead_lettered: int


class ChannelRow(NamedTuple):
    """What the journal holds of one channel."""

    id: int
    name: str
    compacted: int
    """The highest sequence that was removed."""
    compacted_time: float
    """When the youngest message that was removed had been taken."""
    messages: int
    bytes: int


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
    lane: int
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


class HeldBack(NamedTuple):
    """A message that takes its place in the order later."""

    sequence: int
    """Of its receipt."""
    due: float
    run: Run


@dataclass(slots=True)
class Batch:
    """What one commit makes durable. Rows say how things are now: writing one again changes nothing."""

    runs: list[Run] = field(default_factory=list)
    held_back: list[HeldBack] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    """Sequences of what is held back no longer."""
    wiped: list[int] = field(default_factory=list)
    """Durable subscriptions whose parcels and keys are forgotten, before anything else of this batch is written."""
    deleted: list[int] = field(default_factory=list)
    """Durable subscriptions that are gone."""
    durables: list[DurableRow] = field(default_factory=list)
    parcels: list[ParcelRow] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    """Parcels that are done, by id."""
    skipped_keys: list[tuple[int, str]] = field(default_factory=list)
    """Ordering keys of which messages were passed over, by durable subscription."""
    free_keys: list[tuple[int, str]] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    forgotten_letters: list[int] = field(default_factory=list)
    """Dead letters that are none any more."""
    swept: list[int] = field(default_factory=list)
    """Runs that expired and were made dead letters of whoever waited for them, by their first sequence."""
    removed: list[int] = field(default_factory=list)
    """Runs that are kept no longer, by their first sequence."""
    channels: list[ChannelRow] = field(default_factory=list)
    last_sequence: int = 0
    last_durable: int = 0

    @property
    def is_small(self) -> bool:
        """Whether it is what one publisher or one subscriber causes who waits for it."""
        return len(self.runs) + len(self.parcels) + len(self.settled) <= 2 and (
            sum(run.size for run in self.runs) <= SMALL_BYTES and not (self.dead_letters or self.removed)
        )


@dataclass(slots=True)
class Contents:
    """What a journal that is opened holds, beside its runs."""

    last_sequence: int
    last_parcel: int
    last_dead_letter: int
    last_durable: int
    dead_letters: int
    held_back: int
    channels: list[ChannelRow]
    durables: list[DurableRow]


class Extent(NamedTuple):
    """A run without its messages."""

    first_sequence: int
    channel: str
    messages: int
    size: int
    time: float
    lane: int
    key: str | None
    target: int | None
    """The only durable subscription that it is for; None: it is for all."""
    swept: bool
    """It expired, and who had not been given it has it as a dead letter."""

    @property
    def end(self) -> int:
        """The sequence behind its last message."""
        return self.first_sequence + self.messages
