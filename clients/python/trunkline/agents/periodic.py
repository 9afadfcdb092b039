"""PeriodicAgent: calls its `runner` at intervals."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Any, TypeAlias, final

from trunkline.agents.config import PeriodicConfig
from trunkline.agents.looping import LoopingAgent


class PeriodicAgent(LoopingAgent):
    """Calls `runner()` at once and then every `config.execution_interval` seconds, until the agent is
    stopped, or `config.limit` times. `stop()` ends the sleep between two runs."""

    Config: TypeAlias = PeriodicConfig
    config: PeriodicConfig

    @abstractmethod
    def runner(self) -> None:
        """Does one run."""

    @final
    def cycle(self) -> None:
        """Calls `runner`; `execute` waits for the next run."""
        self.runner()

    def execute(self) -> Any:
        """Does all runs."""
        self._due = time.monotonic()
        super().execute()

    def _rest(self) -> None:
        now = time.monotonic()
        began = self._due if self.config.delay_compensation else now
        self._due = max(now, began + self.config.execution_interval)
        self.stop_event.wait(self._due - now)


class PeriodicThreadAgent(PeriodicAgent):
    """A `PeriodicAgent` in a thread."""

    a_type = "thread"


class PeriodicProcessAgent(PeriodicAgent):
    """A `PeriodicAgent` in a process of its own."""

    a_type = "process"
