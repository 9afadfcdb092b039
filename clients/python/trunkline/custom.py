"""What a `MessageBus` or `StateManager` of one's own may do without, and what it then answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def unsupported(who: object, what: str) -> NotImplementedError:
    """The error of a call that a class of one's own does without; those of Trunkline have them all."""
    return NotImplementedError(
        f"{type(who).__name__} has no {what}; the in-memory and the gRPC classes of trunkline have it"
    )


def takes(method: Callable[..., Any], option: str) -> bool:
    """Whether a method takes a keyword option: one that was written for ConductorAI takes none of Trunkline's."""
    parameters = inspect.signature(method).parameters
    return option in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
