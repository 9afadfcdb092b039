"""Balancer: one address for several servers, as kube-proxy has it: each connection goes to the next one, and stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count


class Balancer:
    """Hands connections on, in turn, to those of its servers that take them.

    Attributes:
        servers: where they are; may change at any time.
        address: where it serves.
        taken: how many connections a server took.
        open: the number of open connections of each server.
        is_mute: what servers say is dropped, until `tear`.
    """

    def __init__(self, servers: list[str]) -> None:
        self.servers = servers
        self.address = ""
        self.taken = 0
        self.open: dict[str, int] = {}
        self.is_mute = False
        self._turns = count()
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes one connection."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for _ in range(len(self.servers)):
                server = self.servers[next(self._turns) % len(self.servers)]
                host, _, port = server.rpartition(":")
                with suppress(OSError):
                    there = await asyncio.open_connection(host, int(port))
                    break
            else:
                return
            self.taken += 1
            self.open[server] = self.open.get(server, 0) + 1
            up, down = _pass(reader, there[1]), _pass(there[0], writer, lambda: self.is_mute)
            ways = [asyncio.ensure_future(up), asyncio.ensure_future(down)]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.open[server] -= 1
                for way in ways:
                    way.cancel()
                there[1].close()
        finally:
            writer.close()

    async def tear(self) -> None:
        """Ends all connections; those that come are passed on."""
        await self.close()
        self.is_mute = False

    async def close(self) -> None:
        """Ends all connections."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drops: Callable[[], bool] = lambda: False
) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            if drops():
                continue
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def balanced(servers: list[str]) -> AsyncIterator[Balancer]:
    """One address for these servers."""
    balancer = Balancer(servers)
    server = await asyncio.start_server(balancer.accept, "127.0.0.1", 0)
    balancer.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield balancer
    finally:
        server.close()
        await balancer.close()
