"""Cursor: how far a durable subscription is in one level of the journal, and what it has read ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from trunklined.bus.message_batch import MessageBatch, next_of

PAGE_ROWS: Final = 256
PAGE_BYTES: Final = 1024 * 1024
"""What is read from the journal at once."""
KEPT_BATCHES: Final = 1_024
"""Runs that are kept in memory, as they come, for subscribers that keep up; beyond it they are read when asked for."""

Read = Callable[[int, int], tuple[list[MessageBatch], int, bool]]
"""Reads on in a level from a sequence: the batches, the sequence to go on at, and whether there are no more."""


class Cursor:
    """Everything below `position` was looked at.

    A subscriber that keeps up is served from memory: what is committed is offered here. One that does not keep up costs
    no memory: what it has not looked at is read from the journal when it asks.
    """

    __slots__ = ("_batches", "_bytes", "_caught_up", "_level", "_read", "_read_to", "position")

    def __init__(self, level: int, position: int, read: Read) -> None:
        self.position = position
        self._level = level
        self._read = read
        self._batches: deque[MessageBatch] = deque()
        self._bytes = 0
        self._read_to = position
        """`_runs` has everything from `position` to here."""
        self._caught_up = False
        """Nothing that is committed lies behind `_read_to`."""

    def offer(self, batch: MessageBatch, *, keep: bool) -> bool:
        """A batch was committed; True if it may be news. `keep`: somebody may take it soon."""
        if batch.first_sequence < self._read_to:
            return False  # it was read already
        if not keep or len(self._batches) >= KEPT_BATCHES or self._bytes >= PAGE_BYTES:
            self._caught_up = False
        elif self._caught_up:
            self._batches.append(batch)
            self._bytes += batch.size
            self._read_to = batch.end
        return keep

    def next(self, most: int) -> MessageBatch | None:
        """The next batch, at most so many messages, which thereby is looked at; None where nothing was read ahead."""
        batches = self._batches
        if not batches:
            return None
        batch = next_of(batches, most)
        self._bytes -= batch.size
        self.position = batch.end
        return batch

    def read_on(self) -> bool:
        """Reads a page ahead, of which perhaps nothing is wanted; False where there is no more."""
        if self._caught_up:
            return False
        batches, self._read_to, self._caught_up = self._read(self._level, self._read_to)
        self._batches.extend(batches)
        self._bytes = sum(batch.size for batch in self._batches)
        if not self._batches:
            self.position = self._read_to
        return bool(self._batches) or not self._caught_up

    def drop(self, first: int, end: int) -> None:
        """Passes over what was read ahead from one sequence to before another."""
        self._batches = deque(batch for batch in self._batches if not first <= batch.first_sequence < end)
        self._bytes = sum(batch.size for batch in self._batches)

    def forget(self) -> None:
        """Keeps nothing in memory."""
        self._batches.clear()
        self._bytes = 0
        self._read_to = self.position
        self._caught_up = False

    def move(self, position: int) -> None:
        """Goes to another place."""
        self.position = position
        self.forget()
