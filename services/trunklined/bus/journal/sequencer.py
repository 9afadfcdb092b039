"""Sequencer: the order of everything that the bus takes."""

from __future__ import annotations

from collections.abc import Callable


class Sequencer:
    """Gives each message its place, from 1, and times that rise with the places.

    Args:
        clock: UNIX time in seconds.
    """

    __slots__ = ("_clock", "_last_time", "last")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.last = 0
        """The last sequence that was given out."""
        self._clock = clock
        self._last_time = 0.0

    def load(self, last: int) -> None:
        """Goes on behind the last sequence that was given out before, here or elsewhere."""
        self.last = max(self.last, last)

    def load_time(self, time: float) -> None:
        """Never goes back behind a time that was given out before."""
        self._last_time = max(self._last_time, time)

    def allot(self, messages: int) -> int:
        """Returns the first of so many sequences."""
        first = self.last + 1
        self.last += messages
        return first

    def now(self) -> float:
        """Returns the time, in UNIX time, of what is taken now."""
        self._last_time = max(self._last_time, self._clock())
        return self._last_time
