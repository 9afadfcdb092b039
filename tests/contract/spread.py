"""spread: one client of several replicas, each call at another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any, Self, cast

from trunkline import StateManager
from trunkline.state.state_manager import StateStatistics

_COUNTED = ("saves", "gets", "lists", "deletes", "commits", "watchers", "connections", "lease_waiters")
"""What each replica counts of its own; the rest is the store's."""


def spread(managers: Sequence[StateManager]) -> StateManager:
    """Returns a state manager that sends each call to the next one of these: what one replica answered holds for all of
    them."""
    return cast(StateManager, _SpreadStateManager(managers))


class _SpreadStateManager:
    def __init__(self, managers: Sequence[StateManager]) -> None:
        self._managers = managers
        self._next = cycle(managers)

    async def connect(self) -> None:
        for manager in self._managers:
            await manager.connect()

    async def disconnect(self) -> None:
        for manager in self._managers:
            await manager.disconnect()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.disconnect()

    async def statistics(self) -> StateStatistics:
        """Returns what all replicas count together."""
        first, *others = [await manager.statistics() for manager in self._managers]
        sums = {name: sum(getattr(each, name) for each in (first, *others)) for name in _COUNTED}
        return replace(first, **sums)

    def __getattr__(self, name: str) -> Any:
        return getattr(next(self._next), name)
