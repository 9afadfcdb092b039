"""JournalEngine: what the journal needs of whatever keeps it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Final, Protocol

from trunklined.bus.dead_letters import DeadLetter, DeadLetterQuery
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.records import BatchHeader, Contents, HeldBack, PendingRow, TaskEventRow, TaskQuery, TaskRow
from trunklined.bus.write_batch import WriteBatch

LETTERS_BYTES: Final = 1024 * 1024
"""Messages of dead letters that are read at once."""


class JournalEngine(Protocol):
    """Keeps batches and what is known of them.

    One writer: `apply` writes a batch into a transaction that stays open, `commit` (which may wait for the disk, and
    may be called in another thread) makes it durable, `rollback` undoes it. Reads see what is committed, and may be
    made meanwhile.

    Raises:
        OverloadedError: there is no room.
        StorageError: the storage fails or cannot be trusted.
    """

    name: str
    durability: str
    """What the messages of the last commit have: "memory", "stored" or "replicated"."""
    writes_beside_reads: bool
    """Whether `apply` may be called in another thread too: reads do not see what is not committed. And so may what
    counts: it has a connection of its own."""
    waits_for_network: bool
    """Whether a commit waits for another machine: it is never made in the event loop."""

    def is_owned(self) -> bool:
        """Whether the journal is this program's, by its own clock: where it is not, nothing is handed out any more."""

    def open(self) -> Contents:
        """Opens it, or makes it."""

    def close(self) -> None:
        """Idempotent."""

    def apply(self, writes: WriteBatch) -> None:
        """Writes a batch."""

    def commit(self) -> None:
        """Returns when all that was applied is durable."""

    def rollback(self) -> None:
        """Undoes what was applied and not committed. Never fails."""

    def batches(
        self, channels: Sequence[str] | None, level: int, start: int, rows: int, size: int
    ) -> tuple[list[MessageBatch], int, bool]:
        """Batches of a level from the one on that holds `start` or is behind it, in order; swept ones are left out.

        Args:
            channels: only of these; None: of all.
            rows: how many are looked at.
            size: bytes after which no more are returned.

        Returns:
            The batches, the sequence to go on at, and whether there are no more.
        """

    def headers(self, sequences: Sequence[int]) -> dict[int, BatchHeader]:
        """Of messages, by sequence, the batches that hold them, without reading the messages."""

    def messages(self, first: int, count: int) -> list[MessageBatch]:
        """The batches that hold any of these sequences, swept ones too."""

    def next_of_key(self, key: str, after: int, before: int) -> Iterator[MessageBatch]:
        """The batches with an ordering key between two sequences (both exclusive), in order, without swept ones."""

    def with_keys(self, start: int, before: int, rows: int) -> list[MessageBatch]:
        """Batches that have an ordering key, of sequences from one on and before another, in order: at most so many,
        without swept ones."""

    def waiting_from(self, durable: int, start: int, rows: int) -> list[PendingRow]:
        """The pending batches that wait for another attempt and have sequences from one on, in order of these: at most
        so many."""

    def cancelled(self, durable: int, level: int, first: int, end: int) -> list[tuple[int, int]]:
        """What was cancelled of the sequences from one to before another, in order: from where to before where."""

    def cancelled_until(self, durable: int) -> int:
        """A sequence from which on nothing was cancelled."""

    def leased(self, durable: int) -> list[PendingRow]:
        """The pending batches that are leased."""

    def due(self, durable: int, now: float, limit: int, known: Container[int]) -> list[PendingRow]:
        """Pending batches that may be handed out again, the earliest first, without those with a known id."""

    def next_due(self, durable: int, known: Container[int]) -> float | None:
        """When the earliest of those that wait may be, without those with a known id."""

    def retrying(self, durable: int) -> int:
        """How many messages wait for another attempt."""

    def waiting(self, durable: int, sequences: Sequence[int]) -> list[tuple[int, PendingRow]]:
        """Returns of messages, by sequence, the pending batch that waits for another attempt and may hold it."""

    def busy_keys(self, durable: int) -> tuple[list[tuple[str, int]], dict[str, int]]:
        """The ordering keys of pending batches, each with a sequence, in order of these; and the keys of which messages
        were passed over, each with a sequence below which none was."""

    def count_from(self, channels: Sequence[str] | None, durable: int, start: int, end: int) -> int:
        """How many messages of these channels have sequences from `start` to before `end`, which cuts no run, and are
        for this subscription."""

    def counting(
        self, channels: Sequence[str] | None, durable: int, start: int, without: Sequence[int]
    ) -> Callable[[], int]:
        """Returns what counts, as `count_from` does, all that is committed now from `start` on. It is called once, and
        before another is asked for.

        Args:
            without: first sequences of batches that do not count.
        """

    def sequence_at(self, time: float) -> int:
        """The first sequence taken at a time or later; 0 if there is none."""

    def held_back_until(self, now: float, limit: int) -> list[HeldBack]:
        """What is held back and due, the earliest first."""

    def next_held_back(self) -> float | None:
        """When the earliest of what is held back is due."""

    def recent(self, seconds: float, messages: int) -> Iterator[MessageBatch]:
        """What was taken in the last seconds before the newest, in order, what is held back too: the last ones that
        have so many messages together."""

    def expired(self, now: float, rows: int) -> list[MessageBatch]:
        """Runs that expired and are not swept, the earliest first."""

    def is_held(self, first: int, end: int) -> bool:
        """Whether a pending batch refers to sequences from one to before another."""

    def removable(
        self, channel: str, after: int, until: int, needed: Sequence[int], rows: int, *, needed_too: bool
    ) -> tuple[list[BatchHeader], int | None]:
        """Runs of a channel that may be removed, in order.

        Args:
            after: behind this sequence.
            until: before this one.
            needed: for each level, the sequence from which on they are needed; swept ones are not.
            rows: how many are looked at.
            needed_too: all are wanted, also those that are needed, or that pending batches refer to.

        Returns:
            The batches, and the sequence behind which to go on; None: there are no more.
        """

    def dead_letters(
        self, query: DeadLetterQuery, below: int | None, rows: int, newest_first: bool
    ) -> list[DeadLetter]:
        """Dead letters that match, with ids below (or, oldest first, above) one: at most so many, and none behind the
        one with which they reach LETTERS_BYTES. An empty list only where there are no more."""

    def count_dead_letters(self, query: DeadLetterQuery) -> int:
        """How many match. May be called in another thread where `apply` may."""

    def dead_letter_channels(self) -> Iterable[str]:
        """The channels that there are dead letters of."""

    def task(self, id: str) -> TaskRow | None:
        """The task with this id."""

    def tasks(self, query: TaskQuery, below: int | None, rows: int) -> list[TaskRow]:
        """Tasks that match, with numbers below one (None: all), the newest first; at most so many."""

    def task_channels(self) -> Iterable[str]:
        """The channels that there are tasks of."""

    def task_events(self, task: int, after: int, size: int) -> list[TaskEventRow]:
        """The events of a task behind a number, in order; none behind the one with which they reach `size` bytes."""

    def ended_tasks(self, now: float | None, limit: int) -> list[int]:
        """The numbers of tasks that have ended and whose time is over; None: that have ended, those first whose time is
        over first."""

    def file_bytes(self) -> int:
        """The size of its files."""

    def has_free_space(self) -> bool:
        """Whether so much of its files is empty that some of it should be given back."""

    def tidy(self, pages: int) -> None:
        """Gives free space back to the disk, some pages of it; not within a transaction."""
