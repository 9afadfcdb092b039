"""LineBridge: programs on the UNIX socket, reached over the bus by the names that they speak under.

A line of sender S for target T (its field `target`; default "orchestrator") is published on `conductor:agent:T`; a
COMMAND as a request, whose reply is one line to the connection that sent it. What is published on `conductor:agent:S`
comes as lines to the connections whose last line was S's. Such a line may be a request (it has a `request_id` then): a
STATUS that S sends to the requester, or any line with that `request_id`, is the reply.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import structlog

from trunkline.bus.message_bus import MessageBus
from trunkline.errors import BusDisconnectedError, InvalidChannelError, TrunklineError
from trunkline.message_channel.bus.name_subscriptions import NameSubscriptions
from trunkline.message_channel.unix_socket.connection import LineConnection
from trunkline.message_channel.unix_socket.dialects import Line
from trunkline.models import AgentMessage
from trunkline.wire.reconnect import reconnect_delays
from trunklined.sidecar.lines.session import Session, SessionContext


@dataclass(frozen=True, slots=True)
class LineStatistics:
    """Counts since the start (lines_in, lines_out, failed), and what there is now."""

    lines_in: int
    lines_out: int
    failed: int
    clients: int
    pending: int


class LineBridge:
    """Joins the lines of a UNIX socket to the bus.

    Args:
        bus: not yet connected; connected here, for as long as it takes, and disconnected in the end.
        command_timeout: seconds that a COMMAND waits for its reply.
    """

    def __init__(self, bus: MessageBus, command_timeout: float) -> None:
        self._bus = bus
        self._context = SessionContext(bus, command_timeout)
        self._sessions: dict[LineConnection, Session] = {}
        self._named: dict[str, set[Session]] = {}
        self._subscriptions = NameSubscriptions(bus, self._deliver)
        self._connecting: asyncio.Task[None] | None = None
        self._has_connected = False

    def start(self) -> None:
        """Begins to connect to the bus. A bus that is not there yet is no error."""
        self._connecting = asyncio.create_task(self._connect(), name="connect the bus")

    @property
    def pending(self) -> set[asyncio.Task[None]]:
        """The lines that are being worked on."""
        return {task for session in self._sessions.values() for task in session.pending}

    async def close(self) -> None:
        """Closes the bus, when the clients are gone. Idempotent."""
        if self._connecting is not None:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._connecting
        await self._bus.disconnect()

    def statistics(self) -> LineStatistics:
        """Returns the counts, frozen."""
        return LineStatistics(
            lines_in=self._context.lines_in,
            lines_out=self._context.lines_out,
            failed=self._context.failed,
            clients=len(self._sessions),
            pending=sum(len(session.commands) for session in list(self._sessions.values())),
        )

    # What the server calls.

    def received(self, connection: LineConnection, line: Line) -> None:
        """Hands a line to its connection's session."""
        session = self._sessions.get(connection)
        if session is None:
            session = self._sessions[connection] = Session(connection, self._context)
        self._context.lines_in += 1
        listening = self._name(session, line.message.sender)
        session.take(line, listening)

    def closed(self, connection: LineConnection) -> None:
        """Ends the session of a client that has disconnected."""
        session = self._sessions.pop(connection, None)
        if session is not None:
            session.close()
            self._unname(session)

    # Names.

    def _name(self, session: Session, name: str) -> asyncio.Task[None] | None:
        """Makes a session reachable by a name; the task, if there is one, is done when it is."""
        if session.name != name:
            self._unname(session)
            session.name = name
            self._named.setdefault(name, set()).add(session)
        return self._listen(name)

    def _listen(self, name: str) -> asyncio.Task[None] | None:
        if not self._has_connected:
            return self._connecting  # which subscribes to all names in the end
        try:
            return self._subscriptions.listen(name)
        except InvalidChannelError:
            return None  # a name that no channel can have: it may send, but receives nothing

    def _unname(self, session: Session) -> None:
        name = session.name
        if name is None or (sessions := self._named.get(name)) is None:
            return
        sessions.discard(session)
        if not sessions:
            del self._named[name]
            self._subscriptions.unlisten(name)

    async def _deliver(self, name: str, message: AgentMessage) -> None:
        for session in list(self._named.get(name, ())):
            session.deliver(message)

    async def _connect(self) -> None:
        log = structlog.get_logger()
        told = ""
        for delay in reconnect_delays():
            try:
                await self._bus.connect()
            except TrunklineError as error:
                if not isinstance(error, BusDisconnectedError) and told != error.message:
                    told = error.message
                    log.error("the bus does not take the lines of the socket", reason=told)
                log.debug("the bus is not reached yet", reason=error.message)
                await asyncio.sleep(delay)
            else:
                self._has_connected = True
                if listening := [task for task in map(self._listen, self._named) if task is not None]:
                    await asyncio.wait(listening)
                return
