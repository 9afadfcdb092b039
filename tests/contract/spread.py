"""SpreadStateManager: one client of several replicas, each call at another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, Self

from trunkline import StateManager

if TYPE_CHECKING:
    _Base = StateManager
else:
    _Base = object


class SpreadStateManager(_Base):
    """Sends each call to the next of some state managers: what one replica answered holds for all of them."""

    def __init__(self, managers: Sequence[StateManager]) -> None:
        self._managers = managers
        self._next = cycle(managers)

    async def connect(self) -> None:
        """Connects to all."""
        for manager in self._managers:
            await manager.connect()

    async def disconnect(self) -> None:
        """Disconnects from all."""
        for manager in self._managers:
            await manager.disconnect()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.disconnect()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return getattr(next(self._next), name)
