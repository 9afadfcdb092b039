"""GrpcMessageBus: the bus over gRPC, against a BusService or a sidecar."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from trunkline.channels import check_channel, check_name, check_pattern
from trunkline.codec import decode_message, encode_message
from trunkline.errors import (
    BusDisconnectedError,
    BusNotConnectedError,
    InvalidMessageError,
    MessageTooLargeError,
    NoRespondersError,
    RequestTimeoutError,
    TrunklineError,
)
from trunkline.limits import (
    BUS_PORT,
    CLIENT_BUFFER_BYTES,
    CLIENT_DISCONNECT_SECONDS,
    DEFAULT_REQUEST_TIMEOUT,
    MAX_MESSAGE_BYTES,
    MAX_REQUEST_TIMEOUT,
)
from trunkline.line import Line
from trunkline.message_bus import MessageBus, MessageCallback
from trunkline.models import AgentMessage
from trunkline.outgoing import Outgoing
from trunkline.status import error_from_item
from trunkline.subscription import LiveSubscription, tell
from trunkline.v1 import bus_pb2

log = logging.getLogger(__name__)

_CONNECT = "/trunkline.v1.BusService/Connect"
_REPLY_GRACE = 1.0
"""Seconds that a request waits beyond its timeout for the service's own word, which has the better error."""


class GrpcMessageBus(MessageBus):
    """A bus whose messages travel through a BusService.

    A live `publish` returns once the bounded buffer (4 MiB) took the message; `flush` returns once the service took
    all of them. A lost connection is restored by itself: calls that were pending fail with `BusDisconnectedError`,
    subscriptions come back, and what is published meanwhile waits in the buffer (when that is full, `publish` raises
    `BusDisconnectedError`).

    Args:
        address: `host:port` or `unix:/path`, of a bus or a sidecar.
        connect_timeout: seconds that `connect` waits for the service.
        max_message_bytes: limit of one encoded message; the service has its own.
        on_disconnected: called with the reason when the connection was lost.
        on_reconnected: called when it is back, after the subscriptions were asked for again.
    """

    def __init__(
        self,
        address: str = f"127.0.0.1:{BUS_PORT}",
        *,
        connect_timeout: float = 5.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        on_disconnected: Callable[[TrunklineError], None] | None = None,
        on_reconnected: Callable[[], None] | None = None,
    ) -> None:
        self.address = address
        self._connect_timeout = connect_timeout
        self._max_message_bytes = max_message_bytes
        self._on_disconnected = on_disconnected
        self._on_reconnected = on_reconnected
        self._line: Line | None = None
        self._subscriptions: dict[int, LiveSubscription] = {}
        self._published = 0
        self._outgoing = Outgoing(self._put, self._kick)
        self._refused: TrunklineError | None = None
        self._connecting = asyncio.Lock()
        self._buffer_is_full = False
        """The line is lost, and what was published since fills the buffer."""

    async def connect(self) -> None:
        async with self._connecting:
            if self._line is not None:
                return
            self._published = 0
            self._refused = None
            self._buffer_is_full = False
            self._outgoing = Outgoing(self._put, self._kick)
            line = Line(self.address, _CONNECT, bus_pb2.ConnectResponse.FromString, self, BusDisconnectedError)
            await line.open(self._connect_timeout)
            self._line = line

    async def disconnect(self) -> None:
        line = self._line
        if line is None:
            return
        if line.is_up:
            try:
                async with asyncio.timeout(CLIENT_DISCONNECT_SECONDS):
                    await self.flush()
            except (TimeoutError, TrunklineError) as error:
                log.warning("not all that was published may have reached %s: %r", self.address, error)
        for subscription in self._subscriptions.values():
            subscription.end(BusNotConnectedError("the bus was disconnected"))
            subscription.stop()
        self._subscriptions.clear()
        self._line = None
        await line.close()

    async def publish(self, channel: str, message: AgentMessage) -> None:
        line = self._connected()
        check_channel(channel)
        if message.ttl_seconds is not None and message.is_expired():
            log.debug("message %s expired before it was published", message.message_id)
            return
        encoded = self._encode(message)
        if self._buffer_is_full:
            await asyncio.sleep(0)  # whoever tries again and again lets the line come back
            raise line.disconnected(f"its buffer of {CLIENT_BUFFER_BYTES} bytes is full")
        self._published += 1
        if self._outgoing.publish(channel, encoded):
            await self._pace(line)

    async def subscribe(
        self,
        channel: str,
        callback: MessageCallback,
        *,
        group: str | None = None,
        concurrency: int = 1,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}, it must be at least 1")
        if credit is None and group is not None:
            credit = 2 * concurrency
        subscription = await self._open(channel, group, credit, on_lagged)
        subscription.run(callback, concurrency)

    async def unsubscribe(self, channel: str) -> None:
        self._connected()
        check_pattern(channel)
        for subscription in [each for each in self._subscriptions.values() if each.pattern == channel]:
            self._close(subscription)

    async def request(
        self, channel: str, message: AgentMessage, timeout: float = DEFAULT_REQUEST_TIMEOUT
    ) -> AgentMessage:
        line = self._connected()
        check_channel(channel)
        if not 0 < timeout <= MAX_REQUEST_TIMEOUT:
            raise InvalidMessageError(
                f"timeout is {timeout:g} s, it must be more than 0 and at most {MAX_REQUEST_TIMEOUT:g} s",
                details={"field": "timeout", "value": f"{timeout:g}"},
            )
        if not line.is_up:
            raise line.disconnected("it is being restored")
        correlation_id = message.correlation_id or message.message_id
        encoded = self._encode(message, correlation_id)
        id, answer = line.expect()
        published = not message.is_expired()
        self._published += published
        wanted = self._outgoing.item(id, len(encoded)).request
        wanted.channel = channel
        wanted.message = encoded
        wanted.timeout.seconds = int(timeout)
        wanted.timeout.nanos = int(timeout % 1 * 1e9)
        if line.pending == 1:
            line.pump()  # a lone request waits for nothing to go with it
        loop = asyncio.get_running_loop()
        timer = loop.call_later(timeout + _REPLY_GRACE, self._give_up, id, channel, correlation_id, timeout)
        try:
            reply: AgentMessage = await answer
            return reply
        except asyncio.CancelledError:
            self._cancel(id)
            raise
        except (NoRespondersError, InvalidMessageError):
            self._published -= published  # it was refused
            raise
        finally:
            timer.cancel()
            line.forget(id)

    async def messages(
        self,
        pattern: str,
        *,
        group: str | None = None,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
    ) -> AsyncIterator[AgentMessage]:
        if credit is None and group is not None:
            credit = 2
        subscription = await self._open(pattern, group, credit, on_lagged)
        try:
            while (message := await subscription.next()) is not None:
                yield message
        finally:
            self._close(subscription)

    async def flush(self) -> None:
        line = self._connected()
        if not line.is_up:
            raise line.disconnected("it is being restored")
        id, answer = line.expect()
        self._outgoing.item(id).ping.SetInParent()
        try:
            await answer
        finally:
            line.forget(id)
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused

    @property
    def is_connected(self) -> bool:
        return self._line is not None and self._line.is_up

    @property
    def published_count(self) -> int:
        return self._published

    # What the line calls.

    def gather(self, room: int) -> list[bytes]:
        """The open frame: the youngest of what goes out."""
        return self._outgoing.gather(room)

    def on_up(self) -> None:
        """Asks for every subscription again, then sends what was published and could not be sent."""
        line = self._line
        if line is None:  # its first life: there is nothing yet
            return
        self._buffer_is_full = False
        self._outgoing.forget_items()  # credits and cancels of the lost stream's subscriptions
        held = self._outgoing.gather(0)
        for subscription in self._subscriptions.values():
            subscription.start()
        self._outgoing.seal()
        for frame in (*line.take_kept(), *held):
            line.put(frame, keep=True)
        tell(self._on_reconnected)

    def on_down(self, error: TrunklineError) -> None:
        """Says that the connection was lost; what was published and not flushed may be lost too."""
        log.warning("the connection to %s was lost: %s", self.address, error)
        self._refused = self._refused or error
        self._outgoing.forget_items()
        tell(self._on_disconnected, error)

    def on_frame(self, frame: bus_pb2.ConnectResponse) -> None:
        """Gives each item of a frame to whom it is for."""
        line = self._line
        if line is None:  # it is being closed
            return
        for item in frame.items:
            match item.WhichOneof("item"):
                case "subscription":
                    subscription = self._subscriptions.get(item.id)
                    if subscription is not None:
                        subscription.take(item.subscription)
                case "reply":
                    try:
                        line.settle(item.id, decode_message(item.reply.message))
                    except InvalidMessageError as error:
                        line.fail(item.id, error)
                case "error":
                    self._take_error(line, item.id, error_from_item(item.error))
                case "pong" | "cancelled" as kind:
                    line.settle(item.id, kind)

    def _take_error(self, line: Line, id: int, error: TrunklineError) -> None:
        subscription = self._subscriptions.get(id)
        if subscription is not None:
            log.error("the service ended the subscription of %r: %s", subscription.pattern, error)
            subscription.end(error)
            del self._subscriptions[id]
        elif not line.fail(id, error):
            log.error("the service refused a message: %s", error)
            self._refused = self._refused or error

    # The rest.

    def _connected(self) -> Line:
        if self._line is None:
            raise BusNotConnectedError(f"the bus at {self.address} is not connected: call connect() first")
        return self._line

    def _encode(self, message: AgentMessage, correlation_id: str | None = None) -> bytes:
        encoded = encode_message(message, correlation_id)
        if len(encoded) > self._max_message_bytes:
            raise MessageTooLargeError(
                f"message {message.message_id!r} has {len(encoded)} bytes, at most {self._max_message_bytes} are "
                "allowed",
                details={"size": len(encoded), "limit": self._max_message_bytes},
            )
        return encoded

    def _put(self, frame: bytes, published: bool) -> None:
        if self._line is not None:
            self._line.put(frame, keep=published)

    def _kick(self) -> None:
        if self._line is not None:
            self._line.kick()

    def _give_up(self, id: int, channel: str, correlation_id: str, timeout: float) -> None:
        """The service did not even answer that there was no reply."""
        if self._line is None:
            return
        error = RequestTimeoutError(
            f"no answer from {self.address} to the request on {channel!r} within {timeout:g} s",
            details={"channel": channel, "correlation_id": correlation_id, "timeout_seconds": timeout},
        )
        if self._line.fail(id, error):
            self._cancel(id)

    async def _pace(self, line: Line) -> None:
        """Lets the line write; waits while the buffer is full."""
        if line.is_up:
            await asyncio.sleep(0)
            await line.room(CLIENT_BUFFER_BYTES)
        self._buffer_is_full = not line.is_up and line.waiting_bytes > CLIENT_BUFFER_BYTES

    async def _open(
        self, pattern: str, group: str | None, credit: int | None, on_lagged: Callable[[int], None] | None
    ) -> LiveSubscription:
        line = self._connected()
        check_pattern(pattern)
        if group is not None:
            check_name("group", group)
        if credit is not None and credit < 1:
            raise ValueError(f"credit is {credit}, it must be at least 1")
        subscription = LiveSubscription(line.next_id(), pattern, group or "", credit, self._outgoing.item, on_lagged)
        self._subscriptions[subscription.id] = subscription
        if line.is_up:
            subscription.start()
        try:
            await subscription.started()
        except BaseException:
            self._close(subscription)
            raise
        return subscription

    def _close(self, subscription: LiveSubscription) -> None:
        subscription.close()
        if self._subscriptions.get(subscription.id) is subscription:  # else it is of an earlier life of this bus
            del self._subscriptions[subscription.id]
            self._cancel(subscription.id)

    def _cancel(self, id: int) -> None:
        self._outgoing.item(id).cancel.SetInParent()
