"""Turn: when a role may begin, and what it says at its end."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

Figures = dict[str, float]


class Turn(Protocol):
    """Tells the coordinator that this role is ready, and returns when it may begin."""

    def __call__(self) -> Awaitable[None]: ...
