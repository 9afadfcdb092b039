"""How long tests wait for what must happen, and how they measure time on a machine that does other things too."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

PATIENCE: Final = 60.0
"""Seconds. Only a test that fails waits for so long."""

TRIES: Final = 20


class Stopwatch:
    """Measures tries of one thing. Other work on the machine makes it take longer, never shorter: so no try may take
    less than `least` seconds, and one of some tries must take less than `most`.

    Args:
        clock: what is measured: `time.process_time` for what it costs.
    """

    def __init__(self, least: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._least, self._most, self._clock = least, most, clock
        self._taken: list[float] = []

    def measure(self, action: Callable[[], object]) -> None:
        """Tries it until a try was in time."""
        while self._goes_on():
            began = self._clock()
            action()
            self._taken.append(self._clock() - began)

    async def measure_async(self, action: Callable[[], Awaitable[object]]) -> None:
        """The same."""
        while self._goes_on():
            began = self._clock()
            await action()
            self._taken.append(self._clock() - began)

    def _goes_on(self) -> bool:
        if not self._taken:
            return True
        assert self._taken[-1] >= self._least
        if self._taken[-1] < self._most:
            return False
        assert len(self._taken) < TRIES, f"never in less than {self._most} s: {self._taken}"
        return True


def waited_for_a_core(pid: int) -> float:
    """Returns the seconds that a process was ready to run and other work had the cores: of that thread for which they
    are most. Linux counts them."""
    counts = (path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return max((int(count[1]) for count in counts), default=0) / 1e9
