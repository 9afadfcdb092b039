"""GrpcMessageBus: the bus over gRPC, against a BusService or a sidecar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trunkline.bus.grpc.base import BaseBus
from trunkline.bus.grpc.frames import parse_frame
from trunkline.bus.grpc.moving import Move, wind_up
from trunkline.bus.grpc.session import BusSession
from trunkline.errors import BusDisconnectedError, TrunklineError
from trunkline.limits import BUS_PORT, CLIENT_DISCONNECT_SECONDS, MAX_MESSAGE_BYTES
from trunkline.tls.options import Tls
from trunkline.wire.connect_options import ConnectOptions
from trunkline.wire.mover import Mover
from trunkline.wire.stream import Compression, Stream, StreamUser
from trunkline.wire.token import Token

_CONNECT: Final = "/trunkline.v1.BusService/OpenStream"


class GrpcMessageBus(BaseBus):
    """A bus whose messages travel through a BusService.

    A live `publish` returns once the bounded buffer (4 MiB) took the message; `flush` returns once the service took
    all of them. A lost connection is restored by itself: calls that were pending fail with `BusDisconnectedError` (to a
    sidecar that holds stored publishes these wait for it, 30 s at most, and each is stored once), subscriptions come
    back, and what is published meanwhile waits in the buffer (when that is full, `publish` raises
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
        self._options = ConnectOptions(
            address, connect_timeout, wait_for_ready, compression, tls, token, on_behalf_of, client_name
        )
        super().__init__(address, max_message_bytes)
        self._on_disconnected = on_disconnected
        self._on_reconnected = on_reconnected
        self._mover: Mover[BusSession] = Mover(lambda: self.address, lambda: self._session, self._go_elsewhere)
        self._move: Move | None = None
        """The one that is under way."""

    @property
    def client_name(self) -> str:
        return self._options.client_name

    async def _begin(self) -> BusSession:
        self._mover.begin_anew()
        session = BusSession(self._open_stream, self._on_disconnected, self._on_reconnected, self._mover.ask)
        await session.stream.open(self._options.connect_timeout)
        return session

    async def disconnect(self) -> None:
        is_made = self._move is not None and self._move.is_made  # what was published goes out with its end
        async with self._mover.staying(CLIENT_DISCONNECT_SECONDS if is_made else 0.0):
            await super().disconnect()

    async def _go_elsewhere(self, session: BusSession) -> None:
        self._move = move = Move(session, self._begin_elsewhere, self._switch)
        try:
            await move.run()
        finally:
            self._move = None
            if move.is_made:
                self._mover.leave(wind_up(session))

    async def _begin_elsewhere(self) -> BusSession:
        session = BusSession(self._open_stream, None, None, self._mover.ask)
        session.stream.opens_at_once = True  # it may be the replica that stops
        await session.stream.open(self._options.connect_timeout)
        return session

    def _switch(self, session: BusSession) -> None:
        self._session = session

    def _open_stream(self, user: StreamUser) -> Stream:
        return self._options.stream(self.address, _CONNECT, parse_frame, user, BusDisconnectedError)
