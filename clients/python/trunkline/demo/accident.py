"""Accident: half-way, a coding agent that holds work is killed with SIGKILL, and so is the bus itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.demo.limits import FROZEN_FILES, HELD_FILES
from trunkline.demo.team import Member


@dataclass(frozen=True, slots=True)
class Killed:
    """One kill, and when it was.

    Args:
        after_seconds: since the work began.
        away_seconds: until its successor was ready; None of an agent, which has none.
    """

    name: str
    pid: int
    after_seconds: float
    away_seconds: float | None = None


class Accident:
    """What happens when half of the files are measured. The victim is frozen first: it finishes nothing more, and goes
    on holding what it is handed of the other half. When the others have measured some more, it dies, and the bus with
    it.

    Args:
        victim: a coding agent that is a process. None: no agent is killed.
        restart_bus: kills the bus and starts it again; returns its process id. None: the bus is left alone.
    """

    def __init__(self, victim: Member | None, restart_bus: Callable[[], int] | None) -> None:
        self.victim = victim
        self.killed: list[Killed] = []
        self._restart_bus = restart_bus
        self._began = time.monotonic()
        self._frozen_at: int | None = None
        """How many files were measured then."""

    @property
    def has_begun(self) -> bool:
        """Whether half of the files are measured: the victim, if there is one, takes what is stored from now on."""
        return self._frozen_at is not None

    def go_on(self, measured: int, total: int) -> list[Killed]:
        """Goes on, now that so many files are measured. Returns what was killed by this call."""
        if self._frozen_at is None:
            if 2 * measured >= total:
                self._frozen_at = measured
                self._signal(signal.SIGSTOP)
            return []
        enough = measured >= self._frozen_at + FROZEN_FILES or measured >= total - HELD_FILES
        if self.killed or not enough:
            return []
        pid = self._signal(signal.SIGKILL)
        if self.victim is not None and pid is not None:
            self.killed.append(Killed(self.victim.post.name, pid, self._now()))
        if self._restart_bus is not None:
            at = self._now()
            self.killed.append(Killed("bus", self._restart_bus(), at, self._now() - at))
        return self.killed

    def end(self) -> None:
        """It did not come to the killing: the victim goes on."""
        if self._frozen_at is not None and not self.killed:
            self._signal(signal.SIGCONT)

    def _signal(self, signum: signal.Signals) -> int | None:
        """Signals the victim. Returns its process id; None where there is none, or it has ended."""
        if self.victim is None or not self.victim.is_alive:
            return None
        pid = self.victim.pid
        assert pid is not None
        os.kill(pid, signum)
        return pid

    def _now(self) -> float:
        return time.monotonic() - self._began
