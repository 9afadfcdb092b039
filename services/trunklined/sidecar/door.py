"""Door: lets programs of other users come to the sidecar's gRPC socket, each asked who it is.

gRPC's Python server does not tell whose process connected to a UNIX socket, so its own stays closed to all but the own
user. Where others are let in, this listens at the path that they know, asks the kernel who each is, and hands their
bytes on. Nobody pays for it who does not set it up.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from typing import cast

import structlog

from trunkline.message_channel.limits import SOCKET_LISTEN_BACKLOG
from trunkline.message_channel.peer import Peer, peer_of
from trunkline.message_channel.unix_socket.socket_file import SocketFile
from trunklined.rpc.identity import name_of_peer
from trunklined.sidecar.config import SocketAccess


class Door:
    """Listens for other users' programs.

    Args:
        path: where.
        behind: the path of the socket that they are let through to.
        access: who is let in, and the file's mode and group.
    """

    def __init__(self, path: str, behind: str, access: SocketAccess) -> None:
        self.denied = 0
        self._path = path
        self._behind = behind
        self._access = access
        self._file: SocketFile | None = None
        self._server: asyncio.Server | None = None
        self._ways: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begins to let in.

        Raises:
            MessageChannelError: the socket cannot be made, or is another program's.
        """
        access = self._access
        self._file = await asyncio.to_thread(
            SocketFile, self._path, mode=access.mode, group=access.group, backlog=SOCKET_LISTEN_BACKLOG
        )
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: _Outside(self), sock=self._file.socket, backlog=SOCKET_LISTEN_BACKLOG
        )

    async def close(self) -> None:
        """Removes the socket; who is inside stays until the socket behind hangs up. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        if self._file is not None:
            self._file.close()
        for way in list(self._ways):
            way.cancel()

    def admit(self, outside: _Outside, connected: asyncio.Transport) -> None:
        """Lets a connection in, or hangs up."""
        peer = peer_of(connected.get_extra_info("socket"))
        if not self._access.admits(peer):
            self.denied += 1
            structlog.get_logger().warning(
                "a program was sent away from the socket", path=self._path, uid=peer.uid, gid=peer.gid, pid=peer.pid
            )
            connected.abort()
            return
        way = asyncio.create_task(self._lead(outside, connected, peer), name=f"lead in a program of user {peer.uid}")
        self._ways.add(way)
        way.add_done_callback(self._ways.discard)

    async def _lead(self, outside: _Outside, connected: asyncio.Transport, peer: Peer) -> None:
        loop = asyncio.get_running_loop()
        inside = socket.socket(socket.AF_UNIX)
        try:
            inside.setblocking(False)
            # Its own name is how gRPC tells calls of one user from those of another.
            inside.bind(f"\0{name_of_peer(peer.uid)}{peer.pid}-{secrets.token_hex(8)}")
            await loop.sock_connect(inside, self._behind)
            transport, _ = await loop.create_unix_connection(lambda: _Way(connected), sock=inside)
        except OSError as error:
            inside.close()
            structlog.get_logger().debug("nobody could be led in", path=self._behind, reason=str(error))
            connected.abort()  # it meets a socket on which nobody listens: the program is about to end
            return
        except BaseException:
            inside.close()
            connected.abort()
            raise
        outside.lead_to(transport)


class _Way(asyncio.Protocol):
    """One direction: what comes here goes to the other side, no faster than that takes it."""

    def __init__(self, other: asyncio.Transport | None = None) -> None:
        self._other = other

    def data_received(self, data: bytes) -> None:
        assert self._other is not None
        self._other.write(data)

    def eof_received(self) -> bool:
        return False  # gRPC never half-closes: the line is over, and connection_lost tells the other side

    def pause_writing(self) -> None:
        if self._other is not None and not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and not self._other.is_closing():
            self._other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None:
            self._other.close()


class _Outside(_Way):
    """The side of who came. What it says before it is led in waits."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self._door = door
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connected = cast("asyncio.Transport", transport)  # uvloop's is of no common class
        self._door.admit(self, self._connected)

    def data_received(self, data: bytes) -> None:
        if self._other is not None:
            self._other.write(data)
        elif not self._connected.is_closing():
            self._early.append(data)
            self._connected.pause_reading()

    def lead_to(self, inside: asyncio.Transport) -> None:
        """Hands on what came, and what comes from now on."""
        self._other = inside
        inside.writelines(self._early)
        if self._connected.is_closing():
            inside.close()
        elif self._early:
            self._connected.resume_reading()
        self._early.clear()
