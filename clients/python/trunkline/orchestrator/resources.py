"""Resources: what processes take of the machine."""

from __future__ import annotations

import psutil


class Resources:
    """Remembers processes from one question to the next: CPU is what was used in between."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}

    def of(self, pid: int | None) -> dict[str, float | None]:
        """`cpu_percent` (of one core, since the question before; 0 at the first) and `memory_bytes` (resident).
        None where there is no such process."""
        try:
            if pid is not None:
                process = self._processes.get(pid)
                if process is None or not process.is_running():
                    process = self._processes[pid] = psutil.Process(pid)
                return {"cpu_percent": process.cpu_percent(), "memory_bytes": process.memory_info().rss}
        except psutil.Error:  # it has ended meanwhile
            if pid is not None:
                self._processes.pop(pid, None)
        return {"cpu_percent": None, "memory_bytes": None}
