"""SendBuffer: what is handed out to one subscriber and waits for its stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Final

from trunklined.bus.message_batch import MessageBatch, next_of

SEND_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""What is handed out to one subscriber ahead of its stream, and so the memory that one which does not read costs."""


class SendBuffer:
    """First in, first out."""

    __slots__ = ("_batches", "size")

    def __init__(self) -> None:
        self._batches: deque[MessageBatch] = deque()
        self.size = 0

    def __iter__(self) -> Iterator[MessageBatch]:
        return iter(self._batches)

    @property
    def is_full(self) -> bool:
        """Whether nothing more is handed out for now."""
        return self.size >= SEND_BUFFER_BYTES

    def put(self, batch: MessageBatch) -> None:
        """Puts a batch behind the others."""
        self._batches.append(batch)
        self.size += batch.size

    def take(self, most: int) -> MessageBatch | None:
        """What goes next, at most so many messages and what fits a frame; None if there is nothing."""
        if not self._batches:
            return None
        batch = next_of(self._batches, most)
        self.size -= batch.size
        return batch

    def withdraw(self, sequences: Collection[int]) -> list[int]:
        """Takes messages back, of those sequences that are here; returns which."""
        withdrawn: list[int] = []
        kept: deque[MessageBatch] = deque()
        for batch in self._batches:
            gone = [each for each in range(batch.first_sequence, batch.end) if each in sequences]
            withdrawn += gone
            start = batch.first_sequence
            for end in (*gone, batch.end):
                if end > start:
                    kept.append(batch.part(start - batch.first_sequence, end - batch.first_sequence))
                start = end + 1
        if withdrawn:
            self._batches = kept
            self.size = sum(batch.size for batch in kept)
        return withdrawn

    def clear(self) -> None:
        """Takes everything back."""
        self._batches.clear()
        self.size = 0
