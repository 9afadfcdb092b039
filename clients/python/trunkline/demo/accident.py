"""Accident: one agent, a process of its own, is killed with SIGKILL while it holds work."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.demo.team import Member


@dataclass(frozen=True, slots=True)
class Killed:
    """Who was killed, and with what in its hands."""

    name: str
    pid: int
    path: str


class Accident:
    """What happens to the victim when half of the work is done: it hangs, is assigned one more file as nobody knows
    that yet, and dies with it.

    Args:
        victim: an agent that is a process. None: there is no accident.
    """

    def __init__(self, victim: Member | None) -> None:
        self.victim = victim
        self.killed: Killed | None = None

    def is_due(self, done: int, total: int) -> bool:
        """Whether it should happen now."""
        return self.victim is not None and self.killed is None and 2 * done >= total and self.victim.is_alive

    def happen(self, path: str, assign: Callable[[], None]) -> Killed:
        """Freezes the victim, so that it cannot finish the file that `assign` gives it, and kills it."""
        assert self.victim is not None
        pid = getattr(self.victim.runner, "pid", None)
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGSTOP)
        try:
            assign()
        finally:
            os.kill(pid, signal.SIGKILL)
        self.killed = Killed(self.victim.post.name, pid, path)
        return self.killed
