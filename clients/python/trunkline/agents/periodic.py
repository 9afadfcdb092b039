"""PeriodicAgent: one run every interval."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Any, ClassVar, final

from trunkline.agents.config import AgentConfig, PeriodicConfig
from trunkline.agents.looping import LoopingAgent


class PeriodicAgent(LoopingAgent):
    """Calls `runner()` at once and then every `config.execution_interval` seconds, until it is stopped, or
    `config.limit` times. Between two it sleeps; `stop()` wakes it."""

    Config: ClassVar[type[AgentConfig]] = PeriodicConfig
    config: PeriodicConfig

    @abstractmethod
    def runner(self) -> None:
        """One run."""

    @final
    def cycle(self) -> None:
        """One run; the waiting is `execute`'s."""
        self.runner()

    def execute(self) -> Any:
        """All runs."""
        done = 0
        due = time.monotonic()
        while not self.stop_event.is_set() and done != self.config.limit:
            self._step(self.cycle)
            done += 1
            now = time.monotonic()
            due = max(now, (due if self.config.delay_compensation else now) + self.config.execution_interval)
            if done != self.config.limit:
                self.stop_event.wait(due - now)


class PeriodicThreadAgent(PeriodicAgent):
    """A `PeriodicAgent` in a thread."""

    a_type = "thread"


class PeriodicProcessAgent(PeriodicAgent):
    """A `PeriodicAgent` in a process of its own."""

    a_type = "process"
