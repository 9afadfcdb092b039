"""GrpcStateManager: the state store over gRPC, of a StateService or a sidecar."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from trunkline.callbacks import notify
from trunkline.errors import StateDisconnectedError, TrunklineError
from trunkline.limits import STATE_PORT
from trunkline.state.grpc.base import BaseStateManager, take_frame
from trunkline.state.grpc.frames import ServerFrame
from trunkline.tls.options import Tls
from trunkline.wire.connect_options import ConnectOptions
from trunkline.wire.mover import Mover
from trunkline.wire.reconnect import reconnect_delays
from trunkline.wire.stream import Compression, Stream
from trunkline.wire.token import Token

log = logging.getLogger(__name__)

_CONNECT: Final = "/trunkline.v1.StateService/OpenStateStream"


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
        on_behalf_of: whose the calls are, where the service trusts this client to say so: then that one's permissions
            and limits count. None: the client's own.
        client_name: what the client is called, for people: subscriptions, leases and records that it wrote show it,
            also after a reconnect. It proves nothing. None: what TRUNKLINE_CLIENT_NAME says, else its host and process.
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
        on_behalf_of: str | None = None,
        client_name: str | None = None,
        on_disconnected: Callable[[TrunklineError], None] | None = None,
        on_reconnected: Callable[[], None] | None = None,
    ) -> None:
        self._options = ConnectOptions(
            address, connect_timeout, wait_for_ready, compression, tls, token, on_behalf_of, client_name
        )
        super().__init__(address, timeout, on_disconnected, on_reconnected)
        self._line: _Line | None = None
        self._mover: Mover[_Line] = Mover(lambda: self.address, lambda: self._line, self._go_elsewhere)

    @property
    def client_name(self) -> str:
        return self._options.client_name

    async def _begin(self) -> Stream:
        self._mover.begin_anew()
        line = self._line = self._new_line()
        await line.stream.open(self._options.connect_timeout)
        return line.stream

    async def disconnect(self) -> None:
        async with self._mover.staying():
            await super().disconnect()

    def _new_line(self) -> _Line:
        line = _Line(self._mover.ask, self._on_disconnected, self._on_reconnected)
        line.stream = self._options.stream(self.address, _CONNECT, ServerFrame.FromString, line, StateDisconnectedError)
        return line

    def _asked_to_move(self) -> None:
        if self._line is not None:
            self._mover.ask(self._line)

    async def _go_elsewhere(self, old: _Line) -> None:
        """Calls go out by the new connection when those of the old one are answered, so that nobody reads there what
        was before a write here."""
        new = await self._line_elsewhere(old)
        if new is None:
            return
        new.stream.hold()
        old.retire()
        new.watch_over(self._on_disconnected, self._on_reconnected)
        self._line, self._stream = new, new.stream
        try:
            for watch in self._watches:
                watch.move()
            await old.answered()
        finally:
            new.stream.release()
            self._mover.leave(old.stream.leave())

    async def _line_elsewhere(self, old: _Line) -> _Line | None:
        """Connects anew, as often as it takes; None: the old connection was lost meanwhile, and comes back."""
        delays, lives = reconnect_delays(), old.lives
        while old.stream.is_up and old.lives == lives:
            line = self._new_line()
            line.watch_over(None, None)
            line.stream.opens_at_once = True  # it may be the replica that stops
            try:
                await line.stream.open(self._options.connect_timeout)
            except TrunklineError as error:
                log.info("%s asks to move, which cannot be done yet: %s", self.address, error)
                await asyncio.sleep(next(delays))
                continue
            if old.stream.is_up and old.lives == lives:
                return line
            await line.stream.close()
        return None


class _Line:
    """The user of one connection; see `StreamUser`.

    Args:
        on_move: told of the line that the service asks to go on elsewhere.
        on_disconnected: told why it was lost.
        on_reconnected: told that it is back.
    """

    stream: Stream

    def __init__(
        self,
        on_move: Callable[[_Line], None],
        on_disconnected: Callable[[TrunklineError], None] | None,
        on_reconnected: Callable[[], None] | None,
    ) -> None:
        self._on_move = on_move
        self.watch_over(on_disconnected, on_reconnected)
        self.lives = 0
        """How often it came up."""
        self._is_retired = False
        self._came = asyncio.Event()

    def watch_over(
        self, on_disconnected: Callable[[TrunklineError], None] | None, on_reconnected: Callable[[], None] | None
    ) -> None:
        """Says who is told from now on."""
        self._on_disconnected = on_disconnected
        self._on_reconnected = on_reconnected

    def retire(self) -> None:
        """Another connection has taken its place."""
        self._is_retired = True
        self.stream.retire()

    async def answered(self) -> None:
        """Waits until nothing is pending any more."""
        while self.stream.pending and self.stream.is_up:
            self._came.clear()
            with suppress(TimeoutError):  # whoever gives up a call says nothing
                async with asyncio.timeout(1.0):
                    await self._came.wait()

    def on_up(self) -> None:
        """Nothing must be said to the service anew: watches have streams of their own."""
        self.lives += 1
        if self.lives > 1:
            notify(self._on_reconnected)

    def on_down(self, error: TrunklineError) -> None:
        """What was pending is failed by the stream."""
        self._came.set()
        if not self._is_retired:
            notify(self._on_disconnected, error)

    def gather(self, room: int) -> list[bytes]:
        """Everything is put when it is called for."""
        return []

    def on_frame(self, frame: Any) -> None:
        """Answers those who wait."""
        if take_frame(self.stream, frame) and not self._is_retired:
            self._on_move(self)
        self._came.set()
