"""One client of a line server."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final, Protocol, cast

from trunkline.message_channel.limits import (
    HALF_CLOSED_CHECK,
    HALF_CLOSED_SECONDS,
    MAX_CLIENT_OUTBOX_BYTES,
    NO_NEWLINE_PAUSE,
    OVERLONG_PAUSE,
)
from trunkline.message_channel.peer import CredentialSocket, Peer, has_left, peer_of
from trunkline.message_channel.service_message import ServiceMessage
from trunkline.message_channel.unix_socket.dialects import (
    SEED,
    Dialect,
    Line,
    LineError,
    decode,
    encode,
    failure,
    is_whole,
)
from trunkline.message_channel.unix_socket.framing import LineBuffer, LineTooLongError

NO_PEER: Final = Peer(pid=0, uid=-1, gid=-1)
"""The peer of a connection that has none yet."""

_log = logging.getLogger(__name__)


class LineHandler(Protocol):
    """Handles the lines of a server's connections. All is called in the server's event loop."""

    def received(self, connection: LineConnection, line: Line) -> None:
        """Handles a line. `connection.pause()` keeps the next one back."""

    def closed(self, connection: LineConnection) -> None:
        """Notes that a client has disconnected, or was sent away."""


class Server(Protocol):
    """The part of a server that its connections use."""

    name: str
    max_line_bytes: int
    silent_seconds: float

    def admit(self, connection: LineConnection) -> str | None:
        """Admits a connection, or returns why it is refused."""

    def leave(self, connection: LineConnection) -> None:
        """Notes that a connection has ended."""


class LineConnection(asyncio.Protocol):
    """One client: turns its bytes into lines and its lines into messages, and sends lines back.

    `name` is the sender of the last message, and the name that it is reached by. A client that half-closes is kept
    until its requests are answered (HALF_CLOSED_SECONDS at most).
    """

    def __init__(self, server: Server, handler: LineHandler) -> None:
        self._server = server
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._buffer = LineBuffer(server.max_line_bytes)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._admitted = False
        self._paused = False
        self._half_closed_at: float | None = None
        self._unanswered = 0
        self._socket: CredentialSocket | None = None
        self.peer = NO_PEER
        self.name: str | None = None
        self.dialect: Dialect = SEED

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._socket = self._transport.get_extra_info("socket")
        if self._socket is not None:
            self.peer = peer_of(self._socket)
        refusal = self._server.admit(self)
        if refusal is None:
            self._admitted = True
            self._silence = self._loop.call_later(self._server.silent_seconds, self._drop_silent)
        else:
            self.send_away(refusal)

    def data_received(self, data: bytes) -> None:
        if not self._admitted or self._transport is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._buffer.feed(data)
        self._work()

    def eof_received(self) -> bool:
        self._half_closed_at = time.monotonic()
        self._work()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for timer in (self._timer, self._silence):
            if timer is not None:
                timer.cancel()
        if self._admitted:
            self._handler.closed(self)
        self._server.leave(self)

    # What a handler calls.

    @property
    def is_open(self) -> bool:
        """Whether lines can still be sent. Any thread may read it."""
        return self._transport is not None and not self._transport.is_closing()

    def pause(self) -> None:
        """Takes no more lines, and in the end no more bytes, until `resume`."""
        if not self._paused and self._transport is not None:
            self._paused = True
            if self._half_closed_at is None:
                self._transport.pause_reading()

    def resume(self) -> None:
        """Undoes `pause`; lines that have come already are taken first."""
        if self._paused and self._transport is not None:
            self._paused = False
            if self._half_closed_at is None:
                self._transport.resume_reading()
            self._work()

    def expect_reply(self) -> None:
        """Notes that a reply is due: a half-closed client is kept for it."""
        self._unanswered += 1

    def replied(self) -> None:
        """Notes that a reply was sent, or never will be."""
        self._unanswered -= 1
        self._close_if_done()

    def send(self, line: bytes) -> bool:
        """Sends one line; False where the client is gone. One that lets MAX_CLIENT_OUTBOX_BYTES wait is cut off."""
        if self._transport is None or self._transport.is_closing():
            return False
        if self._transport.get_write_buffer_size() + len(line) > MAX_CLIENT_OUTBOX_BYTES:
            _log.warning("client %r does not read its messages and is cut off", self.name)
            self._transport.abort()
            return False
        self._transport.write(line)
        return True

    def fail(self, text: str, dialect: Dialect | None = None) -> None:
        """Sends an error to the client."""
        message = ServiceMessage(self._server.name, "STATUS", failure(text))
        self.send(encode(message, dialect or self.dialect.without_request()))

    def send_away(self, why: str) -> None:
        """Sends the reason to the client, and closes."""
        self.fail(why)
        self.close()

    def close(self) -> None:
        """Closes when what was sent has gone out. Idempotent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Closes at once. Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    # Lines.

    def _work(self) -> None:
        while not self._paused and self._transport is not None and not self._transport.is_closing():
            try:
                line = self._buffer.next()
            except LineTooLongError as error:
                self._refuse(error)
                continue
            if line is None:
                self._work_on_rest()
                return
            self._take(line)

    def _work_on_rest(self) -> None:
        """Takes what has no newline: the last line of a client that half-closed, or a whole object."""
        if self._half_closed_at is not None:
            if len(self._buffer):
                self._take(self._buffer.take_rest())
            self._refuse_overlong()
            self._watch_half_closed()
        elif len(self._buffer):
            self._timer = self._loop.call_later(NO_NEWLINE_PAUSE, self._take_whole)
        elif self._buffer.is_overlong:
            self._timer = self._loop.call_later(OVERLONG_PAUSE, self._refuse_overlong)

    def _take_whole(self) -> None:
        self._timer = None
        if not self._paused and is_whole(self._buffer.peek()):
            self._take(self._buffer.take_rest())

    def _refuse_overlong(self) -> None:
        if self._buffer.is_overlong:
            self._refuse(self._buffer.refuse())

    def _take(self, raw: bytes) -> None:
        if not raw.strip():
            return
        self._has_sent()
        try:
            line = decode(raw)
        except LineError as error:
            self._refuse(error, error.dialect)
            return
        self.name = line.message.sender
        self.dialect = line.dialect
        try:
            self._handler.received(self, line)
        except Exception:  # noqa: BLE001  # one line's failure must not end the others' service
            _log.exception("a line of client %r was not handled", self.name)
            self.fail("the message could not be handled", line.dialect)

    def _refuse(self, error: ValueError, dialect: Dialect | None = None) -> None:
        self._has_sent()
        _log.warning("client %r sent a line that is refused: %s", self.name, error)
        self.fail(str(error), dialect)

    def _has_sent(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _drop_silent(self) -> None:
        self._silence = None
        _log.warning("process %d of user %d said nothing and is sent away", self.peer.pid, self.peer.uid)
        self.send_away(f"no line came within {self._server.silent_seconds:g} s; connect again to say one")

    # The end of a client that half-closed.

    def _watch_half_closed(self) -> None:
        if not self._close_if_done():
            self._timer = self._loop.call_later(HALF_CLOSED_CHECK, self._watch_half_closed)

    def _close_if_done(self) -> bool:
        if self._half_closed_at is None or self._transport is None:
            return self._transport is None
        done = self._unanswered <= 0 and not self._paused and not len(self._buffer)
        late = time.monotonic() - self._half_closed_at > HALF_CLOSED_SECONDS
        left = self._socket is not None and has_left(self._socket)
        if done or late or left:
            self.close()
            return True
        return False
