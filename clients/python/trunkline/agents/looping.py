"""LoopingAgent: calls its `cycle` again and again."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from typing import Any, TypeAlias

from trunkline.agents.base import BaseAgent
from trunkline.agents.config import LoopingConfig
from trunkline.agents.errors import RecoverableError


class LoopingAgent(BaseAgent):
    """Calls `cycle()` until the agent is stopped, or `config.limit` times. There is no pause between two turns: `cycle`
    itself waits where that is needed.

    A `RecoverableError` of one turn is reported, and the next turn follows; any other exception makes the agent fail.
    The result is the value that the subclass sets `result` to.
    """

    Config: TypeAlias = LoopingConfig
    config: LoopingConfig

    @abstractmethod
    def cycle(self) -> None:
        """Does one turn."""

    def execute(self) -> Any:
        """Runs all turns."""
        turns = range(self.config.limit) if self.config.limit >= 0 else itertools.count()
        for turn in turns:
            if turn:
                self._rest()
            if self.stop_event.is_set():
                return
            self._turn()

    def _perform(self) -> Any:
        return self.execute()

    def _turn(self) -> None:
        try:
            self._step_runner.run(self.cycle)
        except RecoverableError as error:
            self._status_reporter.report_recoverable(error)

    def _rest(self) -> None:
        """Waits between two turns."""


class LoopingThreadAgent(LoopingAgent):
    """A `LoopingAgent` in a thread."""

    a_type = "thread"


class LoopingProcessAgent(LoopingAgent):
    """A `LoopingAgent` in a process of its own."""

    a_type = "process"
