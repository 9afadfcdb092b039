"""How long tests wait for what must happen, and how they measure time on a machine that does other things too."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
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
    for, and without that in which none of them computed: so a busy machine and a slow disk change little.

    Args:
        since_start: from the start of the processes on, in `waited`. Default: from now on.
    """

    def __init__(self, *pids: int, since_start: bool = False) -> None:
        self._pids = pids
        self._before = {} if since_start else {pid: _scheduled(pid) for pid in pids}
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Returns the time that passed, without `waited`, or what all of them computed where that is less."""
        passed = time.monotonic() - self._began
        return min(passed - self.waited(), self.computed())

    def computed(self) -> float:
        """Returns the time that their threads had a core, in seconds."""
        return sum(ran for pid in self._pids for ran, _ in self._since(pid))

    def waited(self) -> float:
        """Returns how long they waited for a core, in seconds: of each process that thread which waited most."""
        return sum(max((waited for _, waited in self._since(pid)), default=0.0) for pid in self._pids)

    def _since(self, pid: int) -> Iterator[tuple[float, float]]:
        before = self._before.get(pid, {})
        for thread, (ran, waited) in _scheduled(pid).items():
            ran_before, waited_before = before.get(thread, (0.0, 0.0))
            yield ran - ran_before, waited - waited_before


def _scheduled(pid: int) -> dict[str, tuple[float, float]]:
    """Returns for how long each thread of a process ran, and how long it was ready to run and did not, in seconds, as
    Linux counts it."""
    found = {}
    for counts in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            ran, waited, _ = counts.read_text().split()
            found[counts.parent.name] = int(ran) / 1e9, int(waited) / 1e9
    return found
