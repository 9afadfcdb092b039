"""Attributes: which of an agent's belong to one life, and which names are taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from trunkline.agents.clients import Connected

OF_ONE_LIFE: Final = (
    *("logger", "stop_event", "control_events", "has_ended", "state_events", "failure"),
    *("_pid", "_vessel", "_stop_request", "_voice", "_steps", "_clients"),
)
"""Not handed to another process: made anew where the agent runs."""

_OF_ALL_LIVES: Final = ("name", "kwargs", "result", "msg_channel", "bus_address", "state_address")


def check_attributes(framework: type, agent: str, names: Iterable[str]) -> None:
    """Checks keyword arguments that are to become an agent's attributes.

    Args:
        framework: the class that all agents share.
        agent: its name.
        names: those of the arguments.

    Raises:
        TypeError: every agent has an attribute of that name.
    """
    taken = {*dir(framework), *framework.__annotations__, *OF_ONE_LIFE, *_OF_ALL_LIVES}
    for name in names:
        if name in taken and not isinstance(getattr(framework, name, None), Connected):
            raise TypeError(f"agent {agent!r} cannot have an attribute {name!r}: every agent has one of its own")
