"""GrpcStateManager: the state store over gRPC, of a StateService or a sidecar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trunkline.addresses import check_target
from trunkline.errors import StateDisconnectedError, TrunklineError
from trunkline.limits import STATE_PORT
from trunkline.state.grpc.base import BaseStateManager
from trunkline.state.grpc.frames import ServerFrame
from trunkline.tls.options import Tls
from trunkline.wire.channel import check_tls
from trunkline.wire.stream import Compression, Stream, check_compression
from trunkline.wire.token import Token

_CONNECT: Final = "/trunkline.v1.StateService/ConnectState"


class GrpcStateManager(BaseStateManager):
    """A state manager whose records are kept by a StateService.

    A lost connection is restored automatically. Calls that were pending fail with `StateDisconnectedError` at once; it
    is then unknown whether their writes were made. New calls wait for the reconnect, for up to `timeout` seconds in
    all; a call that times out while it waits was not sent. Watches resume automatically.

    Args:
        address: `host:port`, `tls://host:port` or `unix:/path`, of a state service or a sidecar.
        connect_timeout: seconds that `connect` waits for the service; then it raises `StateDisconnectedError`.
        wait_for_ready: `connect` waits for a service that cannot be reached yet. False: it raises at once.
        timeout: seconds that a call may take, including the wait for a reconnect; then `StateDisconnectedError`.
        compression: "gzip" compresses the traffic, both ways; see `GrpcMessageBus`.
        tls: what is trusted and shown at a `tls://` address. None: what TRUNKLINE_TLS_CA, _CERT, _KEY and _SERVER_NAME
            say, and the operating system's authorities where they say nothing.
        token: who the client is, where the service asks: a token as text, or the path of its file, which is read anew
            when it changes. None: what TRUNKLINE_TOKEN or TRUNKLINE_TOKEN_FILE says. It is never sent beyond this
            machine without TLS: then `connect` raises `TlsError`.
        on_disconnected: called with the reason when the connection is lost.
        on_reconnected: called when the connection is restored.

    Raises:
        InvalidAddressError: the address is none.
        TlsError: `tls` is given for an address that is called without TLS.
    """

    def __init__(
        self,
        address: str = f"127.0.0.1:{STATE_PORT}",
        *,
        connect_timeout: float = 5.0,
        wait_for_ready: bool = True,
        timeout: float = 30.0,
        compression: Compression | None = None,
        tls: Tls | None = None,
        token: Token | None = None,
        on_disconnected: Callable[[TrunklineError], None] | None = None,
        on_reconnected: Callable[[], None] | None = None,
    ) -> None:
        check_compression(compression)
        super().__init__(check_target(address), timeout, on_disconnected, on_reconnected)
        check_tls(address, tls)
        self._connect_timeout = connect_timeout
        self._wait_for_ready = wait_for_ready
        self._compression = compression
        self._tls = tls
        self._token = token

    async def _begin(self) -> Stream:
        parse, lost = ServerFrame.FromString, StateDisconnectedError
        secure = self._tls, self._token
        stream = Stream(self.address, _CONNECT, parse, self, lost, self._compression, self._wait_for_ready, *secure)
        await stream.open(self._connect_timeout)
        return stream
