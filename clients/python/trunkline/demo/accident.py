"""Accident: one agent, a process of its own, is killed with SIGKILL while it holds work."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess

from trunkline.demo.limits import FREEZE_SECONDS
from trunkline.demo.team import Member


@dataclass(frozen=True, slots=True)
class Killed:
    """Who was killed, and with what in its hands."""

    name: str
    pid: int
    path: str


class Accident:
    """Strikes when half of the work is done and the victim says that it begins with a file.

    Between those words and the blow, the victim could finish that file. So it is frozen first (SIGSTOP), and killed
    only if, once all that it said has arrived, its figures have not; else it goes on until the next file.
    """

    def __init__(self, victim: Member | None) -> None:
        self._victim = victim
        self._frozen: tuple[str, float] | None = None
        self.killed: Killed | None = None

    def started(self, agent_id: str, path: str, now: float) -> None:
        """An agent begins with a file, and half of the work is done."""
        if self._is_victim(agent_id) and self._frozen is None and self.killed is None:
            self._signal(signal.SIGSTOP)
            self._frozen = (path, now + FREEZE_SECONDS)

    def measured(self, agent_id: str, path: str) -> None:
        """An agent is done with a file."""
        if self._is_victim(agent_id) and self._frozen is not None and self._frozen[0] == path:
            self._frozen = None
            self._signal(signal.SIGCONT)

    def strike(self, now: float) -> bool:
        """Kills the victim if it has been frozen for long enough; says whether it did."""
        if self._frozen is None or self._victim is None or now < self._frozen[1]:
            return False
        path, self._frozen = self._frozen[0], None
        self._signal(signal.SIGKILL)
        self.killed = Killed(self._victim.post.name, self._process.pid or 0, path)
        return True

    @property
    def is_pending(self) -> bool:
        """Whether the victim is frozen now."""
        return self._frozen is not None

    def call_off(self) -> None:
        """Lets a frozen victim go on."""
        if self._frozen is not None:
            self._frozen = None
            self._signal(signal.SIGCONT)

    def _is_victim(self, agent_id: str) -> bool:
        return self._victim is not None and self._victim.post.agent_id == agent_id

    @property
    def _process(self) -> SpawnProcess:
        assert self._victim is not None
        assert isinstance(self._victim.runner, SpawnProcess)
        return self._victim.runner

    def _signal(self, signum: signal.Signals) -> None:
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, signum)
