"""WallTimer: calls back at a time of the clock on the wall, which people set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

LOOK_SECONDS: Final = 10.0
"""How long it goes by the event loop's clock alone, which stands still while the machine sleeps, and is never set."""
MARGIN_SECONDS: Final = 0.001
"""Later than asked for: so the time has come by either clock."""


class WallTimer:
    """One time, or none.

    Args:
        clock: UNIX time in seconds.
        on_time: called once when the time has come by that clock; not before, also where the clock was put back.
    """

    __slots__ = ("_at", "_clock", "_handle", "_on_time")

    def __init__(self, clock: Callable[[], float], on_time: Callable[[], None]) -> None:
        self._clock = clock
        self._on_time = on_time
        self._at = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at: float | None) -> None:
        """Takes another time. None: none."""
        self.stop()
        if at is not None:
            self._at = at
            self._wait()

    def stop(self) -> None:
        """Forgets it."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _wait(self) -> None:
        wait = min(max(0.0, self._at - self._clock()) + MARGIN_SECONDS, LOOK_SECONDS)
        self._handle = asyncio.get_running_loop().call_later(wait, self._look)

    def _look(self) -> None:
        if self._clock() < self._at:
            self._wait()
        else:
            self._handle = None
            self._on_time()
