"""What a process costs: its own as the system counts it for itself, another's as Linux does under /proc."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def own_cpu_seconds() -> float:
    """Seconds of one core that this process used so far, with those of its children that have ended."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def cpu_seconds(pid: int) -> float:
    """Seconds of one core that a process used so far, in steps of Linux's clock (10 ms)."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class CpuClock:
    """What other processes use from now on."""

    def __init__(self, *pids: int) -> None:
        """Starts it."""
        self._pids = pids
        self._before = self._seconds()

    def used(self) -> float:
        """Seconds of one core since the start."""
        return self._seconds() - self._before

    def _seconds(self) -> float:
        return sum(cpu_seconds(pid) for pid in self._pids)


def resident_megabytes(pid: int) -> float:
    """Memory that a process holds now, in MB (10^6 bytes)."""
    return _status(pid, "VmRSS")


def peak_megabytes(pid: int) -> float:
    """The most that it held so far, in MB (10^6 bytes)."""
    return _status(pid, "VmHWM")


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(f"process {pid} is gone")
