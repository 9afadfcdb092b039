"""A subscription that a person follows: its stream is read itself, and it outlives its connection.

The stream, not the public client: a line shows the channel that a message came on, and says where messages were
dropped, which the public client's callback is not told.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

from trunkline.cli.bus.message_lines import Printer
from trunkline.errors import BusDisconnectedError
from trunkline.wire.reconnect import reconnect_delays


class Following(ABC):
    """One subscription, which outlives its connection once it has started; `stop` ends it."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self._delays = reconnect_delays()
        self._begun = False
        self._lost = False
        self._stopped = asyncio.Event()
        self._code = 0
        self._error: Exception | None = None
        self._address = ""

    def stop(self, code: int, error: Exception | None = None) -> None:
        """Ends it: `run` returns the code, or raises the error. The first word counts."""
        if not self._stopped.is_set():
            self._code, self._error = code, error
            self._stopped.set()

    async def run(self, address: str) -> int:
        """Returns what `stop` says when it was stopped.

        Raises:
            TrunklineError: the service cannot be reached at the start, or refuses the subscription.
        """
        self._address = address
        while not self._stopped.is_set():
            try:
                await self._once()
            except BusDisconnectedError as error:
                if not self._begun:
                    raise
                if not self._lost:
                    self._printer.lost(error)
                self._lost = True
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), next(self._delays))
        if self._error is not None:
            raise self._error
        return self._code

    async def _once(self) -> None:
        from trunkline.cli.wire import bus_stub

        async with bus_stub(self._address) as stub:
            living = asyncio.create_task(self._live(stub))
            stopped = asyncio.create_task(self._stopped.wait())
            try:
                await asyncio.wait({living, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if self._stopped.is_set():
                    await self._wind_down(living)
                else:
                    await living
                    raise BusDisconnectedError("the service ended the stream")
            finally:
                stopped.cancel()
                living.cancel()

    @abstractmethod
    async def _live(self, stub: Any) -> None:
        """One life of the stream; returns when the service ended it."""

    async def _wind_down(self, living: asyncio.Task[None]) -> None:
        """It was stopped: ends the stream."""
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)

    @abstractmethod
    def _say_started(self) -> None:
        """It is registered for the first time."""

    def _started(self) -> None:
        if self._begun:
            self._printer.back()
        else:
            self._say_started()
        self._begun, self._lost, self._delays = True, False, reconnect_delays()
