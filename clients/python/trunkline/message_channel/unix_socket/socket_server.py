"""SocketServer: unix_socket mode within a program, a line server in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from trunkline.message_channel.errors import UnknownTargetError
from trunkline.message_channel.limits import FLUSH_SECONDS, MAX_INBOX_MESSAGES, MAX_UNANSWERED, SILENT_CLIENT_SECONDS
from trunkline.message_channel.mailbox import ThreadMailbox
from trunkline.message_channel.peer import Peer
from trunkline.message_channel.router import Router
from trunkline.message_channel.service_message import ServiceMessage
from trunkline.message_channel.unix_socket.connection import LineConnection
from trunkline.message_channel.unix_socket.dialects import Dialect, Line, encode
from trunkline.message_channel.unix_socket.line_sender import LineSender
from trunkline.message_channel.unix_socket.line_server import LineServer, open_socket


class SocketServer:
    """Puts the lines of clients into mailboxes, and sends them messages.

    The thread sleeps in the kernel until a client sends something, which is in a mailbox at once. While the owner's
    mailbox is full, clients are not read.

    Args:
        name: the owner's name.
        path, allowed_uids, on_denied: as `MessageChannel`.

    Raises:
        SocketInUseError: as `MessageChannel`.
    """

    def __init__(
        self,
        name: str,
        path: str,
        allowed_uids: Iterable[int] | None,
        on_denied: Callable[[Peer, str], None] | None,
    ) -> None:
        self._name = name
        self._on_denied = on_denied
        self._allowed_uids = allowed_uids
        self._socket_file = open_socket(path, allowed_uids)
        self.inbox: ThreadMailbox = _Inbox(self._taken)
        """The owner's mailbox."""
        self._paused: set[LineConnection] = set()
        self._tokens: dict[LineConnection, dict[int, None]] = {}
        """Of each client, its unanswered requests, the oldest first."""
        self._router: Router | None = None
        self._server: LineServer | None = None
        self._loop = asyncio.new_event_loop()
        self._sender = LineSender(self._loop, self._replied)
        self._stop = asyncio.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="message-channel-socket", daemon=True)
        self._ready = threading.Event()

    def start(self, router: Router) -> None:
        """Begins to serve; returns when clients are accepted."""
        self._router = router
        router.clients = self
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """Ends the server and removes the socket; returns when its thread has ended. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(FLUSH_SECONDS + 1)

    # What the router calls.

    def send(self, target: str, message: ServiceMessage) -> bool:
        """Sends to the connections that speak as `target`; False where there is none."""
        found = [connection for connection in self._connections() if connection.name == target and connection.is_open]
        for connection in found:
            self._send(connection, message)
        return bool(found)

    def broadcast(self, message: ServiceMessage) -> None:
        """Sends to every connection."""
        for connection in self._connections():
            self._send(connection, message)

    # What the line server calls, in its thread.

    def received(self, connection: LineConnection, line: Line) -> None:
        """Puts a message into the mailbox that its line names."""
        assert self._router is not None
        receiver = self._name if line.target is None else line.target
        mailbox = self._router.mailbox(receiver)
        if not isinstance(mailbox, ThreadMailbox):
            connection.fail(f"nobody named {receiver!r} is here", line.dialect)
            return
        if len(mailbox) >= MAX_INBOX_MESSAGES and mailbox is not self.inbox:
            connection.fail(f"{receiver!r} has {len(mailbox)} messages to receive and takes no more", line.dialect)
            return
        message = line.message.with_peer(connection.peer)
        if message.type == "COMMAND":
            message = message.with_token(self._expect_reply(connection, receiver, line))
        mailbox.put(message)
        if len(self.inbox) >= MAX_INBOX_MESSAGES:
            self._paused.add(connection)
            connection.pause()

    def closed(self, connection: LineConnection) -> None:
        """Notes that the client's unanswered requests have lost their requester."""
        assert self._router is not None
        self._paused.discard(connection)
        for token in self._tokens.pop(connection, ()):
            self._router.disconnected(token)

    # Between the threads.

    def reply(self, request: _Request, message: ServiceMessage) -> None:
        """Sends a reply to the connection that the request came from. Any thread may call."""
        connection = request.connection
        if not connection.is_open:
            raise UnknownTargetError("the client that asked has gone", details={"target": connection.name})
        self._sender.send(connection, encode(message, request.dialect), request.token)

    def _expect_reply(self, connection: LineConnection, receiver: str, line: Line) -> int:
        assert self._router is not None
        request = _Request(self, connection, line.dialect)
        request.token = self._router.expect_reply(receiver, line.message.sender, request)
        connection.expect_reply()
        tokens = self._tokens.setdefault(connection, {})
        tokens[request.token] = None
        if len(tokens) > MAX_UNANSWERED:
            del tokens[next(iter(tokens))]
        return request.token

    def _replied(self, connection: LineConnection, token: int) -> None:
        self._tokens.get(connection, {}).pop(token, None)
        connection.replied()

    def _send(self, connection: LineConnection, message: ServiceMessage) -> None:
        self._sender.send(connection, encode(message, connection.dialect.without_request()))

    def _connections(self) -> list[LineConnection]:
        return [] if self._server is None else list(self._server.connections)

    def _taken(self) -> None:
        """The owner took a message: paused clients are read again once the mailbox is half empty."""
        if self._paused and len(self.inbox) < MAX_INBOX_MESSAGES // 2:
            self._sender.call(self._resume)

    def _resume(self) -> None:
        for connection in list(self._paused):
            self._paused.discard(connection)
            connection.resume()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        self._server = LineServer(
            self._socket_file,
            self,
            name=self._name,
            allowed_uids=self._allowed_uids,
            silent_seconds=SILENT_CLIENT_SECONDS,
            on_denied=self._on_denied,
        )
        try:
            await self._server.start()
            self._ready.set()
            await self._stop.wait()
        finally:
            await self._server.close()


class _Inbox(ThreadMailbox):
    """A mailbox that says when a message was taken from it."""

    def __init__(self, on_taken: Callable[[], None]) -> None:
        super().__init__()
        self._on_taken = on_taken

    def get(self, timeout: float | None) -> ServiceMessage | None:
        message = super().get(timeout)
        self._on_taken()
        return message


@dataclass(slots=True)
class _Request:
    """A command of a client; calling it sends the reply."""

    server: SocketServer
    connection: LineConnection
    dialect: Dialect
    token: int = 0

    def __call__(self, message: ServiceMessage) -> None:
        self.server.reply(self, message)
