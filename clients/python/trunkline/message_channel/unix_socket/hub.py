"""SocketHub: unix_socket mode within a program. A line server in one thread, and the owner's mailbox behind it."""

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
from trunkline.message_channel.unix_socket.connection import Connection
from trunkline.message_channel.unix_socket.dialects import Dialect, Spoken, encode
from trunkline.message_channel.unix_socket.outgoing import Outgoing
from trunkline.message_channel.unix_socket.server import LineServer, open_socket


class SocketHub:
    """The owner's mailbox (`put get close`), its clients (`send broadcast`), and the handler of their lines.

    The thread sleeps in the kernel until a client says something; what it says is in the mailbox at once. While the
    mailbox is full, clients are not read.
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
        self.inbox = ThreadMailbox()
        """Where the messages wait; for looking and waiting only."""
        self._paused: set[Connection] = set()
        self._tokens: dict[Connection, dict[int, None]] = {}
        """Of each client, what it asked and was not answered, the oldest first."""
        self._router: Router | None = None
        self._server: LineServer | None = None
        self._loop = asyncio.new_event_loop()
        self._outgoing = Outgoing(self._loop, self._answered)
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

    # The owner's mailbox.

    def put(self, message: ServiceMessage) -> None:
        """From this process."""
        self.inbox.put(message)

    def get(self, timeout: float | None) -> ServiceMessage | None:
        """As `Mailbox.get`."""
        message = self.inbox.get(timeout)
        if self._paused and len(self.inbox) < MAX_INBOX_MESSAGES // 2:
            self._outgoing.call(self._resume)
        return message

    def close(self) -> None:
        """Ends the server and removes the socket; returns when its thread has ended. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.inbox.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(FLUSH_SECONDS + 1)

    # The clients.

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

    # What the server calls, in its thread.

    def received(self, connection: Connection, spoken: Spoken) -> None:
        """Puts what a client said into the mailbox that it names."""
        assert self._router is not None
        receiver = self._name if spoken.target is None else spoken.target
        mailbox = self._router.mailbox(receiver)
        if not isinstance(mailbox, ThreadMailbox | SocketHub):
            connection.fail(f"nobody named {receiver!r} is here", spoken.dialect)
            return
        if len(mailbox) >= MAX_INBOX_MESSAGES and mailbox is not self:
            connection.fail(f"{receiver!r} has {len(mailbox)} messages to receive and takes no more", spoken.dialect)
            return
        message = spoken.message.with_peer(connection.peer)
        if message.type == "COMMAND":
            message = message.with_token(self._ask(connection, receiver, spoken))
        mailbox.put(message)
        if len(self.inbox) >= MAX_INBOX_MESSAGES:
            self._paused.add(connection)
            connection.pause()

    def closed(self, connection: Connection) -> None:
        """Remembers for a while whose answers have nobody to go to."""
        assert self._router is not None
        self._paused.discard(connection)
        for token in self._tokens.pop(connection, ()):
            self._router.disconnected(token)

    def __len__(self) -> int:
        return len(self.inbox)

    # Between the threads.

    def _ask(self, connection: Connection, receiver: str, spoken: Spoken) -> int:
        assert self._router is not None
        asker = _Asker(self, connection, spoken.dialect)
        asker.token = self._router.expect_reply(receiver, spoken.message.sender, asker)
        connection.asked()
        tokens = self._tokens.setdefault(connection, {})
        tokens[asker.token] = None
        if len(tokens) > MAX_UNANSWERED:
            del tokens[next(iter(tokens))]
        return asker.token

    def answer(self, asker: _Asker, message: ServiceMessage) -> None:
        """Sends an answer to the connection that asked. Any thread may call."""
        connection = asker.connection
        if not connection.is_open:
            raise UnknownTargetError("the client that asked has gone", details={"target": connection.name})
        self._outgoing.send(connection, encode(message, asker.dialect), asker.token)

    def _answered(self, connection: Connection, token: int) -> None:
        self._tokens.get(connection, {}).pop(token, None)
        connection.answered()

    def _send(self, connection: Connection, message: ServiceMessage) -> None:
        self._outgoing.send(connection, encode(message, connection.dialect.without_request()))

    def _connections(self) -> list[Connection]:
        return [] if self._server is None else list(self._server.connections)

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


@dataclass(slots=True)
class _Asker:
    """A command that a client waits for the answer to."""

    hub: SocketHub
    connection: Connection
    dialect: Dialect
    token: int = 0

    def __call__(self, message: ServiceMessage) -> None:
        self.hub.answer(self, message)
