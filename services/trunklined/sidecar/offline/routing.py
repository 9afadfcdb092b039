"""Routing: whether what is to be stored goes to the bus, or is held here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Final

from trunkline.errors import BusDisconnectedError
from trunklined.forwarding.forwarder import UPSTREAM_WAIT

REFUSAL_SECONDS: Final = 0.1
"""For how long a bus that refused or ended a stream, and stays connected, is given none: it goes away, or goes on."""


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
        self.is_stopping = False
        """Whether the sidecar stops."""
        self._route = Route.WAIT
        self._refusing: asyncio.TimerHandle | None = None
        """While no stream is given to the bus, which refused one."""
        self._changed = asyncio.Event()

    @property
    def is_forwarding(self) -> bool:
        """Whether everything goes to the bus."""
        return self._route is Route.FORWARD

    @property
    def takes_streams(self) -> bool:
        """Whether the bus is connected, and has refused or ended no stream just now."""
        return self.is_connected and self._refusing is None

    def turn(self, route: Route) -> None:
        """Sets the route of what is to be stored from now on."""
        self._route = route
        self._notify()

    def follow_held(self) -> None:
        """Notes that something is held: what comes behind it is held, too, or waits for it."""
        if self.is_forwarding:
            self.turn(Route.HOLD)

    def refuse_streams(self) -> None:
        """Notes that the bus has ended or refused a stream, as it does when it goes away: for REFUSAL_SECONDS, or until
        it is connected anew, it is given none."""
        if self._refusing is None:
            self._refusing = asyncio.get_running_loop().call_later(REFUSAL_SECONDS, self._end_refusal)
            self._notify()

    def _end_refusal(self) -> None:
        if self._refusing is not None:
            self._refusing.cancel()
            self._refusing = None
            self._notify()

    def bus_changed(self, connected: bool) -> None:
        """Notes that the bus was connected or lost, or could not be reached at first."""
        self._end_refusal()
        self.is_connected = connected
        if not connected:
            self._route = Route.HOLD
        self._notify()

    def stop(self) -> None:
        """The sidecar stops: ends every wait."""
        self.is_stopping = True
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
            if self.is_stopping:
                raise BusDisconnectedError("the sidecar is stopping")
            await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
