"""Agents that tell what they receive, of every kind. "to NAME: TEXT" they pass on to NAME; "fail" they fail of."""

from __future__ import annotations

from typing import Any

from trunkline.agents import (
    BaseAgent,
    BaseProcessAgent,
    BaseThreadAgent,
    LoopingProcessAgent,
    LoopingThreadAgent,
    PeriodicProcessAgent,
    PeriodicThreadAgent,
)
from trunkline.message_channel import ServiceMessage

SHORT = 0.05
"""Seconds that one look into the mailbox takes: so long an agent does not notice that it shall end."""


def listen(agent: BaseAgent) -> None:
    """Takes one message, if there is one soon."""
    message = agent.msg_channel.receive(SHORT)
    if message is None:
        return
    target, colon, text = message.payload.removeprefix("to ").partition(": ")
    if message.payload == "fail":
        raise ValueError("told to fail")
    if colon:
        agent.msg_channel.send(target, ServiceMessage(agent.name, "STATUS", text))
    else:
        agent.send_message(ServiceMessage(agent.name, "STATUS", f"got {message.payload}"))


class Execute:
    """Listens until it shall end."""

    def execute(self: Any) -> None:
        while not self.stop_event.is_set():
            listen(self)


class BaseThread(Execute, BaseThreadAgent):
    """As a thread."""


class BaseProcess(Execute, BaseProcessAgent):
    """As a process."""


class LoopingThread(LoopingThreadAgent):
    """As a thread that loops."""

    def cycle(self) -> None:
        listen(self)


class LoopingProcess(LoopingProcessAgent):
    """As a process that loops."""

    def cycle(self) -> None:
        listen(self)


class PeriodicThread(PeriodicThreadAgent):
    """As a thread with a rhythm."""

    class Config(PeriodicThreadAgent.Config):
        execution_interval = SHORT

    def runner(self) -> None:
        listen(self)


class PeriodicProcess(PeriodicProcessAgent):
    """As a process with a rhythm."""

    class Config(PeriodicProcessAgent.Config):
        execution_interval = SHORT

    def runner(self) -> None:
        listen(self)


class Failing(BaseThreadAgent):
    """Fails at once."""

    def execute(self) -> None:
        raise ValueError("it cannot be done")


class Finishing(BaseThreadAgent):
    """Ends well at once, with a result: what it was given as `gives`."""

    def execute(self) -> object:
        return self.kwargs.get("gives", {"done": True})


THREADS = ("BaseThread", "LoopingThread", "PeriodicThread")
PROCESSES = ("BaseProcess", "LoopingProcess", "PeriodicProcess")
