"""BusLink: a connection to the bus for what is handed to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import grpc
import structlog
from grpc import aio

from trunkline.limits import KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT
from trunklined.relay.publishing import METHOD, PUBLISH_SECONDS, publish_stored
from trunklined.rpc.upstream import upstream_options


class BusLink:
    """Connects to a bus, and connects again whenever the connection is lost.

    Args:
        address: of the bus.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel: aio.Channel | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._call: Any = None

    @property
    def is_connected(self) -> bool:
        """Whether the bus is connected now."""
        return self._ready.is_set()

    def start(self) -> None:
        """Begins to connect."""
        self._channel = aio.insecure_channel(
            self.address, options=upstream_options(KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT)
        )
        self._call = self._channel.unary_unary(METHOD)
        self._watcher = asyncio.create_task(self._watch(self._channel), name="watch the bus")

    async def close(self) -> None:
        """Closes the connection. Idempotent."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        self._ready.clear()

    async def connected(self) -> None:
        """Waits until the bus is connected."""
        await self._ready.wait()

    async def publish(self, channel: str, messages: Sequence[bytes]) -> Sequence[bool]:
        """See `trunklined.relay.relay.Publish`."""
        return await publish_stored(self._publish, channel, messages)

    async def _publish(self, request: bytes) -> bytes:
        response: bytes = await self._call(request, timeout=PUBLISH_SECONDS)
        return response

    async def _watch(self, channel: aio.Channel) -> None:
        log: Any = structlog.get_logger().bind(address=self.address)
        while True:
            state = channel.get_state(try_to_connect=True)
            ready = state is grpc.ChannelConnectivity.READY
            if ready != self._ready.is_set():
                (self._ready.set if ready else self._ready.clear)()
                log.info("bus connected" if ready else "bus lost")
            await channel.wait_for_state_change(state)
