"""LoopingAgent: one turn after the other."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from trunkline.agents.base import BaseAgent
from trunkline.agents.config import AgentConfig, LoopingConfig


class LoopingAgent(BaseAgent):
    """Calls `cycle()` until it is stopped, or `config.limit` times. Its pace is its own: `cycle` waits where it shall.

    `result` is what the subclass sets it to.
    """

    Config: ClassVar[type[AgentConfig]] = LoopingConfig
    config: LoopingConfig

    _is_one_step: ClassVar[bool] = False

    @abstractmethod
    def cycle(self) -> None:
        """One turn."""

    def execute(self) -> Any:
        """All turns."""
        done = 0
        while not self.stop_event.is_set() and done != self.config.limit:
            self._step(self.cycle)
            done += 1


class LoopingThreadAgent(LoopingAgent):
    """A `LoopingAgent` in a thread."""

    a_type = "thread"


class LoopingProcessAgent(LoopingAgent):
    """A `LoopingAgent` in a process of its own."""

    a_type = "process"
