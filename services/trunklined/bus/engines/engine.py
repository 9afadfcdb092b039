"""JournalEngine: what the journal needs of whatever keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from trunklined.bus.batch import Batch
from trunklined.bus.dead_letters import DeadLetter, DeadLetterQuery
from trunklined.bus.records import Contents, Extent, HeldBack, ParcelRow
from trunklined.bus.run import Run


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
