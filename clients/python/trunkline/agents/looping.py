"""LoopingAgent: one turn after the other."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from typing import Any, TypeAlias

from trunkline.agents.base import BaseAgent
from trunkline.agents.config import LoopingConfig
from trunkline.agents.errors import RecoverableError


class LoopingAgent(BaseAgent):
    """Calls `cycle()` until it is stopped, or `config.limit` times. Its pace is its own: `cycle` waits where it shall.

    A `RecoverableError` of one turn is told, and the next turn follows; anything else that it raises, the agent fails
    of. Its result is what the subclass sets `result` to.
    """

    Config: TypeAlias = LoopingConfig
    config: LoopingConfig

    @abstractmethod
    def cycle(self) -> None:
        """One turn."""

    def execute(self) -> Any:
        """All turns."""
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
            self._steps.take(self.cycle)
        except RecoverableError as error:
            self._voice.stumble(error)

    def _rest(self) -> None:
        """Between two turns."""


class LoopingThreadAgent(LoopingAgent):
    """A `LoopingAgent` in a thread."""

    a_type = "thread"


class LoopingProcessAgent(LoopingAgent):
    """A `LoopingAgent` in a process of its own."""

    a_type = "process"
