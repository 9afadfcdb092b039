"""OutboxRelay: hands the bus the messages of an outbox, for as long as its service runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from trunklined.relay.journal import Journal
from trunklined.relay.relay import Relay


class Link(Protocol):
    """The way to the bus."""

    address: str

    @property
    def is_connected(self) -> bool:
        """Whether the bus is connected now."""

    def start(self) -> None:
        """Begins to connect."""

    async def close(self) -> None:
        """Closes the connection. Idempotent."""

    async def connected(self) -> None:
        """Waits until the bus is connected."""

    async def publish(self, channel: str, messages: Sequence[bytes]) -> Sequence[bool]:
        """See `trunklined.relay.relay.Publish`."""


class OutboxRelay:
    """Sends what an outbox holds whenever there is something and the bus is connected.

    Args:
        outbox: what is held.
        link: the way to the bus.
    """

    def __init__(self, outbox: Journal, link: Link) -> None:
        self.link = link
        self.relay = Relay(outbox, link.publish)
        self._outbox = outbox
        self._arrived = asyncio.Event()
        self._emptied = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sends from now on, also what is held since an earlier run."""
        self._arrived.set()
        self.link.start()
        self._runner = asyncio.create_task(self._run(), name="outbox")

    def wake(self) -> None:
        """Sends what was committed."""
        self._arrived.set()

    async def emptied(self) -> None:
        """Waits until nothing is held, or the bus is away, or another process hands it on."""
        while self._outbox.stock.messages and self._outbox.is_ours and self.link.is_connected:
            self._emptied.clear()
            await self._emptied.wait()

    async def close(self) -> None:
        """Stops sending; what the bus has not taken stays held. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            with suppress(asyncio.CancelledError):
                await runner
        await self.link.close()

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            await self.link.connected()
            await self._outbox.turn()
            self._arrived.clear()
            try:
                await self.relay.empty()
            except Exception as error:  # noqa: BLE001  # whatever it is, what is held is not left lying
                self._arrived.set()
                self._emptied.set()
                await self.relay.pause(error)
            else:
                self.relay.succeeded()
                self._emptied.set()
