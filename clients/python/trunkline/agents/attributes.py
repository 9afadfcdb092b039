"""Attributes: which names an agent's keyword arguments may have."""

from __future__ import annotations

from collections.abc import Iterable

from trunkline.agents.clients import Connected


def check_attributes(framework: type, made: Iterable[str], agent: str, names: Iterable[str]) -> None:
    """Checks keyword arguments that are to become an agent's attributes.

    Args:
        framework: the class that all agents share.
        made: attributes that its constructor makes.
        agent: its name.
        names: those of the arguments.

    Raises:
        TypeError: every agent has an attribute of that name.
    """
    taken = {*dir(framework), *framework.__annotations__, *made}
    for name in names:
        if name in taken and not isinstance(getattr(framework, name, None), Connected):
            raise TypeError(f"agent {agent!r} cannot have an attribute {name!r}: every agent has one of its own")
