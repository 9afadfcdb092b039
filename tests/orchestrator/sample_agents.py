"""Agents for the tests: what they are is said by what they do."""

from __future__ import annotations

from typing import ClassVar

from trunkline.agents import BaseThreadAgent, PeriodicConfig, PeriodicProcessAgent, PeriodicThreadAgent
from trunkline.message_channel import ServiceMessage


class Ticking(PeriodicThreadAgent):
    """Runs until it is stopped."""

    class Config(PeriodicConfig):
        execution_interval = 60.0

    def runner(self) -> None:
        """Nothing: that it lives is enough."""


class TickingProcess(PeriodicProcessAgent):
    """The same in a process of its own."""

    class Config(PeriodicConfig):
        execution_interval = 60.0

    def runner(self) -> None:
        """As above."""


class Failing(BaseThreadAgent):
    """Fails at once."""

    def execute(self) -> None:
        raise ValueError(self.kwargs.get("complaint", "it cannot be done"))


class Finishing(BaseThreadAgent):
    """Ends well at once, with a result."""

    def execute(self) -> object:
        return self.kwargs.get("returned", {"done": True})


class FailingOnce(Ticking):
    """Fails in its first life; `lives` counts in this process."""

    lives: ClassVar[list[str]] = []

    def setup(self) -> None:
        self.lives.append(self.name)
        if self.lives.count(self.name) == 1:
            raise ValueError("the first time")


class Saying(Failing):
    """Sends what it complains of before it fails of it."""

    def execute(self) -> None:
        self.send_message(ServiceMessage(self.name, "STATUS", self.kwargs["complaint"]))
        super().execute()
