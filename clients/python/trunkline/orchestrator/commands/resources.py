"""Resources: CPU, memory and threads of processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import psutil

from trunkline.orchestrator.limits import CPU_WINDOW

Figures = dict[str, float | None]

_MEBIBYTE: Final = 1024 * 1024
_NONE: Final[Figures] = dict.fromkeys(("cpu_percent", "memory_mb", "memory_percent", "threads"))


@dataclass(slots=True)
class _Measured:
    process: psutil.Process
    at: float
    """Time of the measurement by the monotonic clock; at first, the start of the process."""
    used: float
    """CPU seconds used by then."""
    percent: float = 0.0


class Resources:
    """Measures processes, and keeps the last measurement of each. Any thread may call."""

    def __init__(self) -> None:
        self._measured: dict[int, _Measured] = {}
        self._lock = threading.Lock()

    def of(self, pid: int | None) -> Figures:
        """Returns `cpu_percent` (of one core, since the previous call, at first since the process began), `memory_mb`
        (MiB, resident), `memory_percent` (of the machine's) and `threads`. Each is None where there is no such process.
        """
        if pid is None:
            return dict(_NONE)
        with self._lock:
            try:
                return self._measure(pid)
            except psutil.Error:  # the process has ended meanwhile
                self._measured.pop(pid, None)
                return dict(_NONE)

    def keep(self, pids: Collection[int]) -> None:
        """Forgets the measurements of all other processes."""
        with self._lock:
            for pid in self._measured.keys() - set(pids):
                del self._measured[pid]

    def _measure(self, pid: int) -> Figures:
        last = self._measured.get(pid)
        if last is None or not last.process.is_running():
            process = psutil.Process(pid)
            age = max(0.0, time.time() - process.create_time())
            last = self._measured[pid] = _Measured(process, time.monotonic() - age, 0.0)
        process = last.process
        with process.oneshot():
            now, times = time.monotonic(), process.cpu_times()
            used = times.user + times.system
            if now - last.at >= CPU_WINDOW or not last.used:
                last.percent = 100 * (used - last.used) / max(now - last.at, CPU_WINDOW)
                last.at, last.used = now, used
            return {
                "cpu_percent": round(last.percent, 1),
                "memory_mb": round(process.memory_info().rss / _MEBIBYTE, 1),
                "memory_percent": round(process.memory_percent(), 2),
                "threads": process.num_threads(),
            }
