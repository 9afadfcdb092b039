"""Relay: a TCP line between a client and a service that a test can make deaf, and cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Relay:
    """Passes bytes both ways. While it is deaf, what the service says stays here; a cut loses that.

    Args:
        address: `host:port` of the service.
    """

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._hears = asyncio.Event()
        self._hears.set()
        self._writers: list[asyncio.StreamWriter] = []
        self.address = ""
        self.from_client = 0
        """Bytes that clients sent."""
        self.from_service = 0

    def deafen(self) -> None:
        """From now on the client hears nothing; the service hears it."""
        self._hears.clear()

    def cut(self) -> None:
        """Ends the connections there are; those that come hear again."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self._hears = asyncio.Event()
        self._hears.set()

    async def accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        from_service, to_service = await asyncio.open_connection(self._host, self._port)
        self._writers += (to_client, to_service)
        always = asyncio.Event()
        always.set()
        ways = [
            asyncio.ensure_future(_pass_on(from_client, to_service, always, self._count_up)),
            asyncio.ensure_future(_pass_on(from_service, to_client, self._hears, self._count_down)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in (to_client, to_service):
                writer.transport.abort()

    def _count_up(self, size: int) -> None:
        self.from_client += size

    def _count_down(self, size: int) -> None:
        self.from_service += size


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event, count: Callable[[int], None]
) -> None:
    try:
        while data := await reader.read(65_536):
            count(len(data))
            await passes.wait()
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return  # the other end is gone, which ends this one


@asynccontextmanager
async def relay(address: str) -> AsyncIterator[Relay]:
    """A relay before a service."""
    made = Relay(address)
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(made.accept(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    made.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
