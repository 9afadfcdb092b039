"""Routing: whether what is to be stored goes to the bus, or is held here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from trunkline.errors import BusDisconnectedError
from trunklined.forwarding.forwarder import UPSTREAM_WAIT


class Route(Enum):
    """What becomes of a message that is to be stored."""

    FORWARD = "forward"
    """It goes to the bus, which is there, and nothing is held."""
    WAIT = "wait"
    """That is being decided: what is held is on its way, or the first connection is. It waits, but not for long."""
    HOLD = "hold"
    """It is held here: the bus is away, or does not take what is held."""


class Routing:
    """The route of what callers publish to be stored, and the state of the bus that it follows from.

    While something is held, nothing that is to be stored overtakes it: order goes before speed. What need not be stored
    goes to the bus whenever it is connected, whatever the route.
    """

    def __init__(self) -> None:
        self.is_connected = False
        """Whether the bus is connected."""
        self._route = Route.WAIT
        self._stopping = False
        self._changed = asyncio.Event()

    @property
    def is_forwarding(self) -> bool:
        """Whether everything goes to the bus."""
        return self._route is Route.FORWARD

    def turn(self, route: Route) -> None:
        """Sets the route of what is to be stored from now on."""
        self._route = route
        self._notify()

    def bus_changed(self, connected: bool) -> None:
        """Notes that the bus was connected or lost, or could not be reached at first."""
        self.is_connected = connected
        if not connected:
            self._route = Route.HOLD
        self._notify()

    def stop(self) -> None:
        """The sidecar stops: ends every wait."""
        self._stopping = True
        self._notify()

    async def holds(self, time_remaining: float | None = None) -> bool:
        """Whether what is to be stored is held here now. While that is being decided, waits: UPSTREAM_WAIT at the most,
        and half of what a call has left; then it is held behind the rest."""
        patience = UPSTREAM_WAIT if time_remaining is None else min(UPSTREAM_WAIT, time_remaining / 2)
        with suppress(TimeoutError, BusDisconnectedError):
            async with asyncio.timeout(patience):
                await self.wait_until(lambda: self._route is not Route.WAIT)
        return not self.is_forwarding

    async def wait_until(self, reached: Callable[[], bool]) -> None:
        """Waits until a condition on this routing holds.

        Raises:
            BusDisconnectedError: the sidecar stops.
        """
        while not reached():
            if self._stopping:
                raise BusDisconnectedError("the sidecar is stopping")
            await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
