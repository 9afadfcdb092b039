"""How long tests wait for what must happen, and how they measure time on a machine that does other things too."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
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


class OwnTime:
    """Measures the time that these processes take, without that in which other work had the cores that they were ready
    for. Of each process that thread counts which waited most.

    Args:
        since_start: from the start of the processes on, in `waited`. Default: from now on.
    """

    def __init__(self, *pids: int, since_start: bool = False) -> None:
        self._pids = pids
        self._before = {} if since_start else {pid: _run_delays(pid) for pid in pids}
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Returns the time that passed, without `waited`."""
        passed = time.monotonic() - self._began
        return passed - self.waited()

    def waited(self) -> float:
        """Returns how long they waited for a core, in seconds."""
        return sum(self._longest(pid) for pid in self._pids)

    def _longest(self, pid: int) -> float:
        before = self._before.get(pid, {})
        return max((delay - before.get(thread, 0.0) for thread, delay in _run_delays(pid).items()), default=0.0)


def _run_delays(pid: int) -> dict[str, float]:
    """Returns how long each thread of a process was ready to run and did not, in seconds, as Linux counts it."""
    found = {}
    for count in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            found[count.parent.name] = int(count.read_text().split()[1]) / 1e9
    return found
