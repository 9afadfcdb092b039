"""Attributes of an agent: those of one life, and the names that keyword arguments must not take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from trunkline.agents.clients import Connected

OF_ONE_LIFE: Final = (
    *("logger", "stop_event", "control_events", "has_ended", "state_events", "failure"),
    *("_pid", "_agent_runner", "_stop_request", "_status_reporter", "_step_runner", "_clients"),
)
"""Attributes of one life. They are not handed to another process, but made there anew."""

_OF_ALL_LIVES: Final = ("name", "kwargs", "result", "msg_channel", "bus_address", "state_address")


def check_attributes(framework: type, agent: str, names: Iterable[str]) -> None:
    """Checks the keyword arguments that become attributes of an agent.

    Args:
        framework: the class that all agents share.
        agent: its name.
        names: the arguments' names.

    Raises:
        TypeError: every agent has an attribute of that name.
    """
    taken = {*dir(framework), *framework.__annotations__, *OF_ONE_LIFE, *_OF_ALL_LIVES}
    for name in names:
        if name in taken and not isinstance(getattr(framework, name, None), Connected):
            raise TypeError(f"agent {agent!r} cannot have an attribute {name!r}: every agent has one of its own")
