"""Drain: turns what is to be stored to the bus again, when what the sidecar holds has been handed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from trunkline.errors import BusDisconnectedError
from trunklined.forwarding.forwarder import Forwarder
from trunklined.relay.publishing import METHOD, PUBLISH_SECONDS, publish_stored
from trunklined.relay.relay import Relay
from trunklined.sidecar.offline.backlog import Backlog
from trunklined.sidecar.offline.routing import Route, Routing


class Drain:
    """Hands the bus what is held whenever it is connected; see `Relay`.

    Args:
        backlog: what is held.
        routing: turned to the bus when nothing is held.
        forwarder: the way to the bus.
        clock: UNIX time in seconds.
    """

    def __init__(
        self, backlog: Backlog, routing: Routing, forwarder: Forwarder, clock: Callable[[], float] = time.time
    ) -> None:
        self.relay = Relay(backlog, self._publish, self._progress, clock)
        self._backlog = backlog
        self._routing = routing
        self._forwarder = forwarder
        self._runner: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sends from now on, whenever the bus is connected."""
        self._runner = asyncio.create_task(self._run(), name="drain")

    async def close(self) -> None:
        """Stops sending; what the bus has not taken stays held. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            with suppress(asyncio.CancelledError):
                await runner

    async def _run(self) -> None:
        with suppress(BusDisconnectedError):  # the sidecar stops
            while True:
                await self._routing.wait_until(lambda: self._routing.is_connected)
                await self._serve()

    async def _serve(self) -> None:
        """Runs from when the bus is connected until it is lost, or does not take what is held or forwarded."""
        routing = self._routing
        if not self.relay.has_failed:
            routing.turn(Route.WAIT)
        try:
            await self._empty()
        except Exception as error:  # noqa: BLE001  # whatever it is, what is held is not left lying
            routing.turn(Route.HOLD)
            await self.relay.pause(error)
            return
        self.relay.succeeded()
        routing.turn(Route.FORWARD if routing.is_connected else Route.HOLD)
        await self._backlog.tidy()
        await routing.wait_until(lambda: not (routing.is_connected and routing.is_forwarding))

    async def _empty(self) -> None:
        """Sends until nothing is held, which holds until the next turn of the loop."""
        await self.relay.empty()
        while self._backlog.stock.messages:
            await self._backlog.settled()  # some are on their way to the disk
            await self.relay.empty()

    async def _publish(self, channel: str, messages: Sequence[bytes]) -> Sequence[bool]:
        return await publish_stored(
            lambda request: self._forwarder.send(METHOD, request, PUBLISH_SECONDS), channel, messages
        )

    def _progress(self) -> None:
        if self._routing.is_connected:
            self._routing.turn(Route.WAIT)
