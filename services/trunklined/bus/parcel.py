"""Parcel: messages that a durable subscription has looked at and not done with."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from trunklined.bus.engines.engine import AttemptRecord, ParcelRow
from trunklined.bus.queue import Subscriber


class Parcel:
    """Messages of one lane, with sequences that follow each other, that have been handed out equally often.

    Leased, it is with a subscriber; else it waits for its next attempt. Parts of it are settled one by one; what fails
    alone becomes a parcel of its own.
    """

    __slots__ = (
        *("id", "sequence", "count", "lane", "attempts", "base", "due", "open", "left", "key", "log", "redrives"),
        *("holder", "peer", "handed_out_at", "deadline"),
    )

    def __init__(
        self,
        id: int,
        sequence: int,
        count: int,
        lane: int,
        *,
        attempts: int = 0,
        base: int = 0,
        due: float | None = None,
        open: Sequence[int] | None = None,
        key: str | None = None,
        log: tuple[AttemptRecord, ...] = (),
        redrives: int = 0,
    ) -> None:
        self.id = id
        self.sequence = sequence
        self.count = count
        self.lane = lane
        self.attempts = attempts
        self.base = base
        self.due = due
        self.open: Sequence[int] = range(sequence, sequence + count) if open is None else open
        """Sequences that are not settled; of a leased one, those that were not when it was handed out."""
        self.left = len(self.open)
        """How many are not settled."""
        self.key = key
        self.log = log
        self.redrives = redrives
        self.holder: Subscriber | None = None
        self.peer = ""
        self.handed_out_at = 0.0
        self.deadline = 0.0

    @classmethod
    def of(cls, row: ParcelRow) -> Parcel:
        """The parcel that a row says."""
        sequences = range(row.sequence, row.sequence + row.messages)
        return cls(
            row.id,
            row.sequence,
            row.messages,
            row.lane,
            attempts=row.attempts,
            base=row.base,
            due=row.due,
            open=None if row.open is None else [each for each, left in zip(sequences, row.open, strict=True) if left],
            key=row.key,
            log=row.log,
            redrives=row.redrives,
        )

    def row(self, durable: int, unsettled: Collection[int]) -> ParcelRow:
        """The row that says how it is now.

        Args:
            unsettled: contains those of its sequences that are not settled.
        """
        marks = None
        if self.left < self.count:
            marks = bytes(sequence in unsettled for sequence in range(self.sequence, self.sequence + self.count))
        return ParcelRow(
            self.id,
            durable,
            self.sequence,
            self.count,
            self.lane,
            self.attempts,
            self.base,
            self.due,
            marks,
            self.key,
            self.log,
            self.redrives,
        )

    def attempt(self, now: float, error: str) -> AttemptRecord:
        """What is to be said of the attempt that ends now."""
        return AttemptRecord(self.attempts, self.handed_out_at, now, self.peer, error)
