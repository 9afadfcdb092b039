"""Cursor: how far a durable subscription is in one lane of the journal, and what it has read ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from trunklined.bus.run import Run, next_of

PAGE_ROWS: Final = 256
PAGE_BYTES: Final = 1024 * 1024
"""What is read from the journal at once."""
KEPT_RUNS: Final = 1_024
"""Runs that are kept in memory, as they come, for subscribers that keep up; beyond it they are read when asked for."""

Read = Callable[[int, int], tuple[list[Run], int, bool]]
"""Reads on in a lane from a sequence: the runs, the sequence to go on at, and whether there are no more."""


class Cursor:
    """Everything below `position` was looked at.

    A subscriber that keeps up is served from memory: what is committed is offered here. One that does not keep up costs
    no memory: what it has not looked at is read from the journal when it asks.
    """

    __slots__ = ("_bytes", "_caught_up", "_lane", "_read", "_read_to", "_runs", "position")

    def __init__(self, lane: int, position: int, read: Read) -> None:
        self.position = position
        self._lane = lane
        self._read = read
        self._runs: deque[Run] = deque()
        self._bytes = 0
        self._read_to = position
        """`_runs` has everything from `position` to here."""
        self._caught_up = False
        """Nothing that is committed lies behind `_read_to`."""

    def offer(self, run: Run, *, keep: bool) -> bool:
        """A run was committed; True if it may be news. `keep`: somebody may take it soon."""
        if run.first_sequence < self._read_to:
            return False  # it was read already
        if not keep or len(self._runs) >= KEPT_RUNS or self._bytes >= PAGE_BYTES:
            self._caught_up = False
        elif self._caught_up:
            self._runs.append(run)
            self._bytes += run.size
            self._read_to = run.end
        return keep

    def next(self, most: int) -> Run | None:
        """The next run, at most so many messages, which thereby is looked at; None where nothing was read ahead."""
        runs = self._runs
        if not runs:
            return None
        run = next_of(runs, most)
        self._bytes -= run.size
        self.position = run.end
        return run

    def read_on(self) -> bool:
        """Reads a page ahead, of which perhaps nothing is wanted; False where there is no more."""
        if self._caught_up:
            return False
        runs, self._read_to, self._caught_up = self._read(self._lane, self._read_to)
        self._runs.extend(runs)
        self._bytes = sum(run.size for run in self._runs)
        if not self._runs:
            self.position = self._read_to
        return bool(self._runs) or not self._caught_up

    def drop(self, first: int, end: int) -> None:
        """Passes over what was read ahead from one sequence to before another."""
        self._runs = deque(run for run in self._runs if not first <= run.first_sequence < end)
        self._bytes = sum(run.size for run in self._runs)

    def forget(self) -> None:
        """Keeps nothing in memory."""
        self._runs.clear()
        self._bytes = 0
        self._read_to = self.position
        self._caught_up = False

    def move(self, position: int) -> None:
        """Goes to another place."""
        self.position = position
        self.forget()
