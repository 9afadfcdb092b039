"""A server of newline-delimited ServiceMessages on a UNIX socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from trunkline.message_channel.limits import (
    FLUSH_SECONDS,
    MAX_CONNECTIONS,
    MAX_LINE_BYTES,
    SILENT_CLIENT_SECONDS,
    SOCKET_LISTEN_BACKLOG,
)
from trunkline.message_channel.peer import Peer, allowed
from trunkline.message_channel.unix_socket.connection import LineConnection, LineHandler
from trunkline.message_channel.unix_socket.socket_file import SocketFile

_log = logging.getLogger(__name__)


def open_socket(
    path: str,
    allowed_uids: Iterable[int] | None = None,
    backlog: int = MAX_CONNECTIONS,
    *,
    mode: int | None = None,
    group: int | None = None,
) -> SocketFile:
    """Opens the socket for a server. Blocks for a moment (SOCKET_TIMEOUT, SOCKET_LOCK_SECONDS) where something is there
    already.

    Args:
        mode, group: of its file. Default: 0600, or 0666 where others than the own user and root may connect (the server
            checks each); the own group.
    """
    if mode is None:
        mode = 0o666 if allowed(allowed_uids) - allowed(None) else 0o600
    return SocketFile(path, mode=mode, group=group, backlog=max(backlog, SOCKET_LISTEN_BACKLOG))


class LineServer:
    """Accepts clients, checks their users, and hands their lines to a handler.

    Args:
        socket_file: an open socket; the server closes it.
        handler: gets every line.
        name: the sender of the server's own errors.
        allowed_uids: users that may connect; default the own one and root. A denial is logged.
        allowed_gids: groups whose processes may, too, by their effective group.
        max_connections, max_line_bytes: limits; a client over one gets an error.
        silent_seconds: within which a client must have sent a line.
        on_denied: is called with the refused peer and the reason, in the server's event loop; what it raises is logged.
    """

    def __init__(
        self,
        socket_file: SocketFile,
        handler: LineHandler,
        *,
        name: str,
        allowed_uids: Iterable[int] | None,
        allowed_gids: Iterable[int] = (),
        max_connections: int = MAX_CONNECTIONS,
        max_line_bytes: int = MAX_LINE_BYTES,
        silent_seconds: float = SILENT_CLIENT_SECONDS,
        on_denied: Callable[[Peer, str], None] | None = None,
    ) -> None:
        self.name = name
        self.max_line_bytes = max_line_bytes
        self.silent_seconds = silent_seconds
        self.connections: dict[LineConnection, None] = {}
        """Those that were admitted, the oldest first."""
        self.denied = 0
        self._socket_file = socket_file
        self._handler = handler
        self._allowed = allowed(allowed_uids)
        self._allowed_gids = frozenset(allowed_gids)
        self._max_connections = max_connections
        self._on_denied = on_denied
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()

    async def start(self) -> None:
        """Begins to accept."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: LineConnection(self, self._handler),
            sock=self._socket_file.socket,
            backlog=self._socket_file.backlog,
        )

    def stop_accepting(self) -> None:
        """Takes no more clients and removes the socket's file. Idempotent."""
        if self._server is not None:
            self._socket_file.remove()
            self._server.close()
            self._server = None

    async def close(self) -> None:
        """Closes every client when what was sent to it has gone out, FLUSH_SECONDS at most. Idempotent."""
        self.stop_accepting()
        self._socket_file.close()
        for connection in list(self.connections):
            connection.close()
        if self.connections:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), FLUSH_SECONDS)
            except TimeoutError:
                for connection in list(self.connections):
                    connection.abort()

    def admit(self, connection: LineConnection) -> str | None:
        """Admits a client, or returns why it is refused. Where there is no room, the oldest that never sent a line
        gives way."""
        peer = connection.peer
        if peer.uid not in self._allowed and peer.gid not in self._allowed_gids:
            return self._deny(peer, f"user {peer.uid} is not allowed to connect")
        if len(self.connections) >= self._max_connections:
            too_many = f"too many clients: {self._max_connections} are connected"
            silent = next((each for each in self.connections if each.name is None), None)
            if silent is None:
                return self._deny(peer, too_many)
            del self.connections[silent]
            silent.send_away(self._deny(silent.peer, f"{too_many}, and this one said nothing"))
        self.connections[connection] = None
        return None

    def leave(self, connection: LineConnection) -> None:
        """Notes that a connection has ended."""
        self.connections.pop(connection, None)
        if not self.connections:
            self._empty.set()

    def _deny(self, who: Peer, why: str) -> str:
        self.denied += 1
        _log.warning("%s: process %d of user %d was sent away: %s", self._socket_file.path, who.pid, who.uid, why)
        if self._on_denied is not None:
            try:
                self._on_denied(who, why)
            except Exception:  # noqa: BLE001  # a caller's mistake must not let the client in, nor end the server
                _log.exception("on_denied failed")
        return why
