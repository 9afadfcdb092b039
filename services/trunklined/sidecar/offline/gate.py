"""Gate: whether what is to be stored passes to the bus, or is held here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from trunkline.errors import BusDisconnectedError
from trunklined.sidecar.config import UPSTREAM_WAIT


class Way(Enum):
    """What becomes of a message that is to be stored."""

    PASS = "pass"
    """It goes to the bus, which is there, and nothing is held."""
    WAIT = "wait"
    """That is being decided: what is held is on its way, or the first connection is. It waits, but not for long."""
    KEEP = "keep"
    """It is held here: the bus is away, or does not take what is held."""


class Gate:
    """Stands between the callers and the bus.

    While something is held, nothing passes it that is to be stored: order goes before speed. And whatever the gate
    says, what need not be stored passes whenever the bus is connected.
    """

    def __init__(self) -> None:
        self.is_connected = False
        """Whether the bus is connected."""
        self._way = Way.WAIT
        self._stopping = False
        self._changed = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether everything passes."""
        return self._way is Way.PASS

    def turn(self, way: Way) -> None:
        """Says where what is to be stored goes from now on."""
        self._way = way
        self._tell()

    def bus_changed(self, connected: bool) -> None:
        """The bus was connected or lost, or could not be reached at first."""
        self.is_connected = connected
        if not connected:
            self._way = Way.KEEP
        self._tell()

    def drain(self) -> None:
        """The sidecar stops: whoever waits is told so."""
        self._stopping = True
        self._tell()

    async def keeps(self, time_remaining: float | None = None) -> bool:
        """Whether what is to be stored is held here now. While that is being decided, waits: UPSTREAM_WAIT at the most,
        and half of what a call has left; then it is held behind the rest."""
        patience = UPSTREAM_WAIT if time_remaining is None else min(UPSTREAM_WAIT, time_remaining / 2)
        with suppress(TimeoutError, BusDisconnectedError):
            async with asyncio.timeout(patience):
                await self.until(lambda: self._way is not Way.WAIT)
        return not self.is_open

    async def until(self, reached: Callable[[], bool]) -> None:
        """Waits until something is true of the gate.

        Raises:
            BusDisconnectedError: the sidecar stops.
        """
        while not reached():
            if self._stopping:
                raise BusDisconnectedError("the sidecar is stopping")
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
