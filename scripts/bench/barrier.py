"""Barrier: all roles of a run are ready before one begins; and the figures that a role returns."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

Figures = dict[str, float]


class Barrier(Protocol):
    """Tells the coordinator that this role is ready, and returns when all are."""

    def __call__(self) -> Awaitable[None]: ...
