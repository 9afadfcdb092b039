"""Parcel: messages that a durable subscription has looked at and not done with."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from trunklined.bus.attempts import LEASE_EXPIRED, AttemptRecord
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.queue import Subscriber
from trunklined.bus.records import PendingRow


class Pending:
    """Messages of one level, with sequences that follow each other, that have been handed out equally often.

    Leased, it is with a subscriber; else it waits for its next attempt. Parts of it are settled one by one; what fails
    alone becomes a pending batch of its own.
    """

    __slots__ = (
        *("id", "sequence", "count", "level", "attempts", "base", "due", "open", "left", "key", "log", "redrives"),
        *("holder", "peer", "handed_out_at", "deadline"),
    )

    def __init__(
        self,
        id: int,
        level: int,
        open: Sequence[int],
        *,
        attempts: int = 0,
        base: int = 0,
        due: float | None = None,
        key: str | None = None,
        log: tuple[AttemptRecord, ...] = (),
        redrives: int = 0,
    ) -> None:
        self.id = id
        self.sequence = open[0]
        self.count = open[-1] - open[0] + 1
        self.level = level
        self.attempts = attempts
        """How often it was handed out."""
        self.base = base
        """How often before it was redriven."""
        self.due = due
        """When it may be handed out again; None: it is leased."""
        self.open = open
        """Sequences that are not settled; of a leased one, those that were not when it was handed out."""
        self.left = len(open)
        """How many are not settled."""
        self.key = key
        self.log = log
        self.redrives = redrives
        self.holder: Subscriber | None = None
        self.peer = ""
        self.handed_out_at = 0.0
        self.deadline = 0.0

    @classmethod
    def of_run(cls, id: int, batch: MessageBatch) -> Pending:
        """The messages of a batch that nobody was given yet, or that was a dead letter."""
        _, attempts, redrives, log = batch.redriven or (0, 0, 0, ())
        open = range(batch.first_sequence, batch.end)
        return cls(id, batch.level, open, attempts=attempts, base=attempts, key=batch.key, log=log, redrives=redrives)

    @classmethod
    def of_row(cls, row: PendingRow) -> Pending:
        """The pending batch that a row says."""
        open: Sequence[int] = range(row.sequence, row.sequence + row.messages)
        if row.open is not None:
            open = [sequence for sequence, left in zip(open, row.open, strict=True) if left]
        pending = cls(
            row.id,
            row.level,
            open,
            attempts=row.attempts,
            base=row.base,
            due=row.due,
            key=row.key,
            log=row.log,
            redrives=row.redrives,
        )
        pending.peer, pending.handed_out_at = row.peer, row.handed_out_at
        return pending

    def row(self, durable: int, unsettled: Collection[int]) -> PendingRow:
        """The row that says how it is now.

        Args:
            unsettled: contains those of its sequences that are not settled.
        """
        marks = None
        if self.left < self.count:
            marks = bytes(sequence in unsettled for sequence in range(self.sequence, self.sequence + self.count))
        return PendingRow(
            self.id,
            durable,
            self.sequence,
            self.count,
            self.level,
            self.attempts,
            self.base,
            self.due,
            marks,
            self.key,
            self.log,
            self.redrives,
            self.peer,
            self.handed_out_at,
        )

    def part(self, id: int, open: Sequence[int]) -> Pending:
        """Some of its messages as a pending batch of their own."""
        part = Pending(
            id,
            self.level,
            open,
            attempts=self.attempts,
            base=self.base,
            due=self.due,
            key=self.key,
            log=self.log,
            redrives=self.redrives,
        )
        part.peer, part.handed_out_at = self.peer, self.handed_out_at
        return part

    def keep(self, open: Sequence[int]) -> None:
        """Keeps only these of its messages: the others are settled, or in another pending batch."""
        self.open, self.left = open, len(open)
        self.sequence = open[0]
        self.count = open[-1] - open[0] + 1

    def end_attempt(self, now: float, error: str) -> None:
        """Notes how the attempt ended."""
        self.log = (*self.log, AttemptRecord(self.attempts, self.handed_out_at, now, self.peer, error))

    @property
    def is_suspect(self) -> bool:
        """Whether the lease of its last attempt lapsed: one of its messages may be what killed its holder."""
        return bool(self.log) and self.log[-1].error == LEASE_EXPIRED

    @property
    def attempt(self) -> int:
        """How often it was handed out since it was redriven, if it was."""
        return self.attempts - self.base
