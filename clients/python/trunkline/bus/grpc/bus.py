"""GrpcMessageBus: the bus over gRPC, against a BusService or a sidecar."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from trunkline.addresses import check_target
from trunkline.bus.grpc.base import BaseBus
from trunkline.bus.grpc.frames import parse_frame
from trunkline.bus.grpc.moving import Move, wind_up
from trunkline.bus.grpc.session import BusSession
from trunkline.errors import BusDisconnectedError, TrunklineError
from trunkline.limits import BUS_PORT, CLIENT_DISCONNECT_SECONDS, MAX_MESSAGE_BYTES
from trunkline.tls.options import Tls
from trunkline.wire.channel import check_tls
from trunkline.wire.stream import Compression, Stream, StreamUser, check_compression
from trunkline.wire.token import Caller, Token, given_name

log = logging.getLogger(__name__)

_CONNECT: Final = "/trunkline.v1.BusService/OpenStream"


class GrpcMessageBus(BaseBus):
    """A bus whose messages travel through a BusService.

    A live `publish` returns once the bounded buffer (4 MiB) took the message; `flush` returns once the service took
    all of them. A lost connection is restored by itself: calls that were pending fail with `BusDisconnectedError`,
    subscriptions come back, and what is published meanwhile waits in the buffer (when that is full, `publish` raises
    `BusDisconnectedError`).

    Args:
        address: `host:port`, `tls://host:port` or `unix:/path`, of a bus or a sidecar.
        connect_timeout: seconds that `connect` waits for the service.
        wait_for_ready: `connect` waits for a service that cannot be reached yet. False: it raises at once, as a tool
            for people does.
        max_message_bytes: limit of one encoded message; the service has its own.
        compression: "gzip" compresses what goes over the network, both ways; the service must allow it
            (`--compression gzip`). Worth it on networks slower than about 10 MB/s: it costs 40 µs of each side's time
            for each KB. None, the default: nothing is compressed.
        tls: what is trusted and shown at a `tls://` address. None: what TRUNKLINE_TLS_CA, _CERT, _KEY and _SERVER_NAME
            say, and the operating system's authorities where they say nothing.
        token: who the client is, where the service asks: a token as text, or the path of its file, which is read anew
            when it changes. None: what TRUNKLINE_TOKEN or TRUNKLINE_TOKEN_FILE says. It is never sent beyond this
            machine without TLS: then `connect` raises `TlsError`.
        on_behalf_of: whose the calls are, where the service trusts this client to say so: then that one's permissions
            and limits count. None: the client's own.
        client_name: what the client is called, for people: subscriptions, leases and records that it wrote show it,
            also after a reconnect. It proves nothing. None: what TRUNKLINE_CLIENT_NAME says, else its host and process.
        on_disconnected: called with the reason when the connection was lost.
        on_reconnected: called when it is back, after the subscriptions were asked for again.
    """

    def __init__(
        self,
        address: str = f"127.0.0.1:{BUS_PORT}",
        *,
        connect_timeout: float = 5.0,
        wait_for_ready: bool = True,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        compression: Compression | None = None,
        tls: Tls | None = None,
        token: Token | None = None,
        on_behalf_of: str | None = None,
        client_name: str | None = None,
        on_disconnected: Callable[[TrunklineError], None] | None = None,
        on_reconnected: Callable[[], None] | None = None,
    ) -> None:
        check_compression(compression)
        super().__init__(check_target(address), max_message_bytes)
        check_tls(address, tls)
        self._connect_timeout = connect_timeout
        self._wait_for_ready = wait_for_ready
        self._compression = compression
        self._tls = tls
        self._token = token
        self._on_behalf_of = on_behalf_of
        self._client_name = given_name(client_name)
        self._on_disconnected = on_disconnected
        self._on_reconnected = on_reconnected
        self._mover: asyncio.Task[None] | None = None
        self._asked: set[BusSession] = set()
        """Sessions that were asked to move, and did not begin to."""
        self._move: Move | None = None
        self._stays = False
        """Whether it is being disconnected: it moves no more."""
        self._winding_up: set[asyncio.Task[None]] = set()
        """The ends of connections that others have taken the place of."""

    @property
    def client_name(self) -> str:
        return super().client_name if self._client_name is None else self._client_name

    async def _begin(self) -> BusSession:
        self._asked.clear()
        session = BusSession(self._open_stream, self._on_disconnected, self._on_reconnected, self._asked_to_move)
        await session.stream.open(self._connect_timeout)
        return session

    async def disconnect(self) -> None:
        self._stays = True
        try:
            if (mover := self._mover) is not None:
                if self._move is not None and self._move.is_made:  # what was published goes out with its end
                    await asyncio.wait({mover}, timeout=CLIENT_DISCONNECT_SECONDS)
                await _ended(mover)
            await super().disconnect()
            for task in list(self._winding_up):
                await _ended(task)
        finally:
            self._stays = False

    def _asked_to_move(self, session: BusSession) -> None:
        """The service asks to go on at another replica."""
        self._asked.add(session)
        self._move_if_asked()

    def _move_if_asked(self) -> None:
        """Begins to move, where the session of now was asked to. One that is asked while it is being moved to is moved
        from when it is there: its replica stops, too."""
        session = self._session
        if session in self._asked and self._mover is None and not self._stays:
            self._asked.clear()
            self._mover = asyncio.create_task(self._go_elsewhere(session), name=f"move from {self.address}")

    async def _go_elsewhere(self, session: BusSession) -> None:
        self._move = move = Move(session, self._begin_elsewhere, self._switch)
        try:
            await move.run()
        except Exception:  # a defect here must not end the connection that there is
            log.exception("the connection to %s was not moved: something unexpected went wrong here", self.address)
        finally:
            self._mover = self._move = None
            if move.is_made:
                winding_up = asyncio.create_task(wind_up(session), name=f"left {self.address}")
                self._winding_up.add(winding_up)
                winding_up.add_done_callback(self._winding_up.discard)
            self._move_if_asked()

    async def _begin_elsewhere(self) -> BusSession:
        session = BusSession(self._open_stream, None, None, self._asked_to_move)
        session.stream.opens_at_once = True  # it may be the replica that stops
        await session.stream.open(self._connect_timeout)
        return session

    def _switch(self, session: BusSession) -> None:
        self._session = session

    def _open_stream(self, user: StreamUser) -> Stream:
        lost, compression, wait = BusDisconnectedError, self._compression, self._wait_for_ready
        caller = Caller(self._token, self._on_behalf_of, self.client_name)
        options = (compression, wait, self._tls, caller)
        return Stream(self.address, _CONNECT, parse_frame, user, lost, *options)


async def _ended(task: asyncio.Task[None]) -> None:
    """Ends a task, and waits for its end."""
    task.cancel()
    await asyncio.wait({task})
