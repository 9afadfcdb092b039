"""LineBridges: the bridges of a line socket: one for all of its users, or one for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from trunkline.message_channel.unix_socket.connection import LineConnection
from trunkline.message_channel.unix_socket.dialects import Line
from trunkline.message_channel.unix_socket.line_server import LineServer
from trunklined.sidecar.lines.bridge import LineBridge, LineStatistics


class LineBridges:
    """Gives each connection to its bridge. Who may connect at all, the server says: so there are few users.

    Args:
        make: makes the bridge of a user; None: of all.
        by_user: whether each user of this machine has a bridge, and is somebody to the bus.
    """

    def __init__(self, make: Callable[[int | None], LineBridge], *, by_user: bool) -> None:
        self._make = make
        self._by_user = by_user
        self._bridges: dict[int | None, LineBridge] = {}
        self._server: LineServer | None = None

    async def start(self, server: LineServer) -> None:
        """Begins to accept, and to connect to the bus; users of their own connect when they come."""
        self._server = server
        if not self._by_user:
            self._bridge(None)
        await server.start()

    async def drain(self, seconds: float) -> None:
        """Accepts no more clients, and waits for the lines that are being worked on."""
        if self._server is None:
            return
        self._server.stop_accepting()
        if pending := {task for bridge in self._bridges.values() for task in bridge.pending}:
            await asyncio.wait(pending, timeout=seconds)

    async def close(self) -> None:
        """Closes every client, and the connections to the bus. Idempotent."""
        if self._server is not None:
            await self._server.close()
        for bridge in self._bridges.values():
            await bridge.close()

    @property
    def denied(self) -> int:
        """Clients that were sent away since the start."""
        return self._server.denied if self._server else 0

    def statistics(self) -> Collection[LineStatistics]:
        """Returns the counts of each bridge, frozen."""
        return [bridge.statistics() for bridge in list(self._bridges.values())]

    def received(self, connection: LineConnection, line: Line) -> None:
        """See `LineHandler`."""
        self._bridge(connection.peer.uid if self._by_user else None).received(connection, line)

    def closed(self, connection: LineConnection) -> None:
        """See `LineHandler`."""
        if (bridge := self._bridges.get(connection.peer.uid if self._by_user else None)) is not None:
            bridge.closed(connection)

    def _bridge(self, uid: int | None) -> LineBridge:
        found = self._bridges.get(uid)
        if found is None:
            found = self._bridges[uid] = self._make(uid)
            found.start()
        return found
