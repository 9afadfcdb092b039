"""SendBuffer: what is handed out to one subscriber and waits for its stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Final

from trunklined.bus.run import Run, next_of

SEND_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""What is handed out to one subscriber ahead of its stream, and so the memory that one which does not read costs."""


class SendBuffer:
    """First in, first out."""

    __slots__ = ("_runs", "size")

    def __init__(self) -> None:
        self._runs: deque[Run] = deque()
        self.size = 0

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    @property
    def is_full(self) -> bool:
        """Whether nothing more is handed out for now."""
        return self.size >= SEND_BUFFER_BYTES

    def put(self, run: Run) -> None:
        """Puts a run behind the others."""
        self._runs.append(run)
        self.size += run.size

    def take(self, most: int) -> Run | None:
        """What goes next, at most so many messages and what fits a frame; None if there is nothing."""
        if not self._runs:
            return None
        run = next_of(self._runs, most)
        self.size -= run.size
        return run

    def withdraw(self, sequences: Collection[int]) -> list[int]:
        """Takes messages back, of those sequences that are here; returns which."""
        withdrawn: list[int] = []
        kept: deque[Run] = deque()
        for run in self._runs:
            gone = [each for each in range(run.first_sequence, run.end) if each in sequences]
            withdrawn += gone
            start = run.first_sequence
            for end in (*gone, run.end):
                if end > start:
                    kept.append(run.part(start - run.first_sequence, end - run.first_sequence))
                start = end + 1
        if withdrawn:
            self._runs = kept
            self.size = sum(run.size for run in kept)
        return withdrawn

    def clear(self) -> None:
        """Takes everything back."""
        self._runs.clear()
        self.size = 0
