"""Session: one connection of an external agent, its lines at work, and the requests it has to answer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from trunkline.bus.message_bus import MessageBus
from trunkline.errors import TrunklineError
from trunkline.message_channel.bus.agent_messages import addressed, from_agent_message
from trunkline.message_channel.pending_replies import PendingReplies
from trunkline.message_channel.service_message import ServiceMessage
from trunkline.message_channel.unix_socket.connection import LineConnection
from trunkline.message_channel.unix_socket.dialects import Dialect, Line, encode
from trunkline.models import AgentMessage
from trunklined.forwarding.forwarder import UPSTREAM_WAIT
from trunklined.sidecar.config import MAX_PENDING_LINES, MAX_REMEMBERED

DEFAULT_TARGET: Final = "orchestrator"

_Queued = tuple[Line, asyncio.Task[None] | None]
"""A line, and what to await until its sender can be reached."""


@dataclass(slots=True)
class SessionContext:
    """The bus, the settings and the counts of all sessions.

    Args:
        bus: where lines go.
        command_timeout: seconds that a COMMAND waits for its reply.
        requested: correlation ids of commands, pending or recent. Their replies go to the connection that sent them,
            and to no other that speaks under the same name. The oldest beyond MAX_REMEMBERED is forgotten.
    """

    bus: MessageBus
    command_timeout: float
    requested: OrderedDict[str, None] = field(default_factory=OrderedDict)
    lines_in: int = 0
    lines_out: int = 0
    failed: int = 0


class Session:
    """One connection. Its lines reach the bus in their order; its commands wait for their replies side by side."""

    def __init__(self, connection: LineConnection, context: SessionContext) -> None:
        self.name: str | None = None
        self.commands: set[asyncio.Task[None]] = set()
        """Commands that wait for their replies."""
        self._connection = connection
        self._context = context
        self._lines: deque[_Queued] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._unreachable: asyncio.Task[None] | None = None
        self._requests: PendingReplies[str, str] = PendingReplies(MAX_REMEMBERED)
        """Correlation ids of the requests to this agent, found by themselves or by the requester."""

    @property
    def pending(self) -> set[asyncio.Task[None]]:
        """The tasks that are at work."""
        return self.commands | {self._worker} if self._worker is not None else set(self.commands)

    def take(self, line: Line, listening: asyncio.Task[None] | None) -> None:
        """Works on a line after those before it. While MAX_PENDING_LINES wait, the connection is not read."""
        self._connection.expect_reply()
        self._lines.append((line, listening))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        if len(self._lines) + len(self.commands) >= MAX_PENDING_LINES:
            self._connection.pause()

    def deliver(self, came: AgentMessage) -> None:
        """Sends what was published for this agent as a line; a request as one with a `request_id`."""
        if came.correlation_id in self._context.requested:
            return
        message = from_agent_message(came)
        dialect = self._connection.dialect.without_request()
        if came.correlation_id is not None:
            requester = came.sender_id if message.type == "COMMAND" else None
            self._requests.add(came.correlation_id, came.correlation_id, requester)
            self._requests.received(came.correlation_id)
            dialect = dialect.with_request_id(came.correlation_id)
        self._send(message, dialect)

    def close(self) -> None:
        """Ends the waiting for replies: the client has disconnected. Lines that it sent are still handed to the bus."""
        for command in self.commands:
            command.cancel()

    async def _work(self) -> None:
        while self._lines:
            line, listening = self._lines.popleft()
            await self._reachable(listening)
            correlation_id = self._answered_by(line)
            if correlation_id is None and line.message.type == "COMMAND":
                command = asyncio.create_task(self._command(line))
                self.commands.add(command)
                command.add_done_callback(self._command_done)
                await asyncio.sleep(0)  # it starts here, before the next line does
            else:
                await self._publish(line, correlation_id)
                self._line_done()
        self._worker = None

    async def _reachable(self, listening: asyncio.Task[None] | None) -> None:
        """Waits until the sender can be reached; for UPSTREAM_WAIT at most, and not once more for its next lines."""
        if listening is None or listening.done() or listening is self._unreachable:
            return
        _, waiting = await asyncio.wait({listening}, timeout=UPSTREAM_WAIT)
        self._unreachable = listening if waiting else None

    async def _publish(self, line: Line, correlation_id: str | None) -> None:
        try:
            await self._context.bus.publish(*addressed(line.message, _target_of(line), correlation_id))
        except (TrunklineError, ValueError) as error:
            self._fail(line, error)

    async def _command(self, line: Line) -> None:
        try:
            channel, request = addressed(line.message, _target_of(line))
            self._context.requested[request.message_id] = None
            if len(self._context.requested) > MAX_REMEMBERED:
                self._context.requested.popitem(last=False)
            reply = await self._context.bus.request(channel, request, self._context.command_timeout)
        except (TrunklineError, ValueError) as error:
            self._fail(line, error)
            return
        answer = from_agent_message(reply)
        self._send(ServiceMessage(answer.sender, "STATUS", answer.payload, answer.timestamp), line.dialect)

    def _answered_by(self, line: Line) -> str | None:
        """Returns the correlation id of the request that a line answers; None where it answers none."""
        for given in (line.dialect.request_id, line.dialect.payload_request_id):
            if isinstance(given, str) and self._requests.take(given) is not None:
                return given
        if line.message.type != "STATUS":
            return None
        return self._requests.take_oldest(_target_of(line))

    def _send(self, message: ServiceMessage, dialect: Dialect) -> None:
        try:
            line = encode(message, dialect)
        except TrunklineError as error:
            self._context.failed += 1
            self._connection.fail(_text(error), dialect)
            return
        if self._connection.send(line):
            self._context.lines_out += 1

    def _fail(self, line: Line, error: Exception) -> None:
        self._context.failed += 1
        self._connection.fail(_text(error), line.dialect)

    def _command_done(self, command: asyncio.Task[None]) -> None:
        self.commands.discard(command)
        self._line_done()

    def _line_done(self) -> None:
        self._connection.replied()
        if len(self._lines) + len(self.commands) < MAX_PENDING_LINES // 2:
            self._connection.resume()


def _target_of(line: Line) -> str:
    return DEFAULT_TARGET if line.target is None else line.target


def _text(error: Exception) -> str:
    return f"{error.error_code}: {error.message}" if isinstance(error, TrunklineError) else f"INVALID_MESSAGE: {error}"
