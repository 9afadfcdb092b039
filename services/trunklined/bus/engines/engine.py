"""JournalEngine: what the journal needs of whatever keeps it, and the records that pass between the two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

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


class JournalEngine(Protocol):
    """Keeps runs and what is known of them.

    One writer: `apply` writes a batch into a transaction that stays open, `commit` (which may wait for the disk, and
    may be called in another thread) makes it durable, `rollback` undoes it. Reads see what is committed, and may be
    made meanwhile.

    Raises:
        OverloadedError: there is no room.
        StorageError: the storage fails or cannot be trusted.
    """

    name: str
    durability: str
    """What a committed message has: "memory" or "stored"."""

    def open(self) -> Contents:
        """Opens it, or makes it."""

    def close(self) -> None:
        """Idempotent."""

    def apply(self, batch: Batch) -> None:
        """Writes a batch."""

    def commit(self) -> None:
        """Returns when all that was applied is durable."""

    def rollback(self) -> None:
        """Undoes what was applied and not committed. Never fails."""

    def runs(
        self, channels: Sequence[str] | None, lane: int, start: int, rows: int, size: int
    ) -> tuple[list[Run], int, bool]:
        """Runs of a lane from the one on that holds `start` or is behind it, in order; swept ones are left out.

        Args:
            channels: only of these; None: of all.
            rows: how many are looked at.
            size: bytes after which no more are returned.

        Returns:
            The runs, the sequence to go on at, and whether there are no more.
        """

    def messages(self, first: int, count: int) -> list[Run]:
        """The runs that hold any of these sequences, swept ones too."""

    def next_of_key(self, key: str, after: int, before: int) -> Iterator[Run]:
        """The runs with an ordering key between two sequences (both exclusive), in order, without swept ones."""

    def leased(self, durable: int) -> list[ParcelRow]:
        """The parcels that are leased."""

    def due(self, durable: int, now: float, limit: int) -> list[ParcelRow]:
        """Parcels that may be handed out again, the earliest first."""

    def next_due(self, durable: int) -> float | None:
        """When the earliest of those that wait may be."""

    def retrying(self, durable: int) -> int:
        """How many messages wait for another attempt."""

    def parcels_at(self, durable: int, sequence: int) -> list[ParcelRow]:
        """The parcels that span a sequence."""

    def busy_keys(self, durable: int) -> tuple[dict[str, int], set[str]]:
        """The ordering keys of parcels with their sequences, and those of which messages were passed over."""

    def count_from(self, channels: Sequence[str] | None, durable: int, start: int, end: int) -> int:
        """How many messages of these channels have sequences from `start` to before `end`, which cuts no run, and are
        for this subscription."""

    def sequence_at(self, time: float) -> int:
        """The first sequence taken at a time or later; 0 if there is none."""

    def held_back_until(self, now: float, limit: int) -> list[HeldBack]:
        """What is held back and due, the earliest first."""

    def next_held_back(self) -> float | None:
        """When the earliest of what is held back is due."""

    def recent(self, seconds: float, messages: int) -> Iterator[Run]:
        """What was taken in the last seconds before the newest, in order, what is held back too: the last ones that
        have so many messages together."""

    def expired(self, now: float, rows: int) -> list[Run]:
        """Runs that expired and are not swept, the earliest first."""

    def is_held(self, first: int, end: int) -> bool:
        """Whether a parcel refers to sequences from one to before another."""

    def removable(
        self, channel: str, after: int, until: int, needed: Sequence[int], rows: int, *, needed_too: bool
    ) -> tuple[list[Extent], int | None]:
        """Runs of a channel that may be removed, in order.

        Args:
            after: behind this sequence.
            until: before this one.
            needed: for each lane, the sequence from which on they are needed; swept ones are not.
            rows: how many are looked at.
            needed_too: all are wanted, also those that are needed, or that parcels refer to.

        Returns:
            The runs, and the sequence behind which to go on; None: there are no more.
        """

    def dead_letters(
        self, query: DeadLetterQuery, below: int | None, rows: int, newest_first: bool
    ) -> list[DeadLetter]:
        """Dead letters that match, with ids below (or, oldest first, above) one."""

    def count_dead_letters(self, query: DeadLetterQuery) -> int:
        """How many match."""

    def dead_letter_channels(self) -> Iterable[str]:
        """The channels that there are dead letters of."""

    def file_bytes(self) -> int:
        """The size of its files."""

    def has_free_space(self) -> bool:
        """Whether so much of its files is empty that some of it should be given back."""

    def tidy(self, pages: int) -> None:
        """Gives free space back to the disk, some pages of it; not within a transaction."""
