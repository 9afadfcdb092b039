"""GrpcMessageBus: the bus over gRPC, against a BusService or a sidecar."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from typing import Any, Literal, overload

from trunkline.bus.checks import check_durable, check_live, check_stored
from trunkline.bus.codec import encode_delivery, encode_message
from trunkline.bus.durable import DurableSettings, Receipt, Start
from trunkline.bus.grpc.delivery import GrpcDelivery
from trunkline.bus.grpc.durable_subscription import DurableSubscription
from trunkline.bus.grpc.session import BusSession
from trunkline.bus.grpc.subscription import LiveSubscription
from trunkline.bus.handling import steps_through
from trunkline.bus.message_bus import MessageBus, check_interest, check_timeout
from trunkline.channels import check_channel, check_pattern
from trunkline.errors import (
    BusNotConnectedError,
    InvalidMessageError,
    MessageTooLargeError,
    NoRespondersError,
    TrunklineError,
)
from trunkline.limits import (
    BUS_PORT,
    CLIENT_DISCONNECT_SECONDS,
    DEFAULT_REQUEST_TIMEOUT,
    MAX_MESSAGE_BYTES,
)
from trunkline.models import AgentMessage
from trunkline.wire.stream import Compression, check_compression

log = logging.getLogger(__name__)


class GrpcMessageBus(GrpcDelivery, MessageBus):
    """A bus whose messages travel through a BusService.

    A live `publish` returns once the bounded buffer (4 MiB) took the message; `flush` returns once the service took
    all of them. A lost connection is restored by itself: calls that were pending fail with `BusDisconnectedError`,
    subscriptions come back, and what is published meanwhile waits in the buffer (when that is full, `publish` raises
    `BusDisconnectedError`).

    Args:
        address: `host:port` or `unix:/path`, of a bus or a sidecar.
        connect_timeout: seconds that `connect` waits for the service.
        max_message_bytes: limit of one encoded message; the service has its own.
        compression: "gzip" compresses what goes over the network, both ways; the service must allow it
            (`--compression gzip`). Worth it on lines slower than about 10 MB/s: it costs 40 µs of each side's time for
            each KB. None, the default: nothing is compressed.
        on_disconnected: called with the reason when the connection was lost.
        on_reconnected: called when it is back, after the subscriptions were asked for again.
    """

    def __init__(
        self,
        address: str = f"127.0.0.1:{BUS_PORT}",
        *,
        connect_timeout: float = 5.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        compression: Compression | None = None,
        on_disconnected: Callable[[TrunklineError], None] | None = None,
        on_reconnected: Callable[[], None] | None = None,
    ) -> None:
        check_compression(compression)
        self.address = address
        self._connect_timeout = connect_timeout
        self._max_message_bytes = max_message_bytes
        self._compression = compression
        self._on_disconnected = on_disconnected
        self._on_reconnected = on_reconnected
        self._session: BusSession | None = None
        self._published = 0
        self._connecting = asyncio.Lock()

    async def connect(self) -> None:
        async with self._connecting:
            if self._session is not None:
                return
            self._published = 0
            session = BusSession(self.address, self._on_disconnected, self._on_reconnected, self._compression)
            await session.line.open(self._connect_timeout)
            self._session = session

    async def disconnect(self) -> None:
        session = self._session
        if session is None:
            return
        if session.line.is_up:
            try:
                async with asyncio.timeout(CLIENT_DISCONNECT_SECONDS):
                    await session.wind_down()
            except (TimeoutError, TrunklineError) as error:
                log.warning("not all that was published may have reached %s: %r", self.address, error)
        self._session = None
        await session.close()

    @overload
    async def publish(self, channel: str, message: AgentMessage, *, stored: Literal[False] = False) -> None: ...

    @overload
    async def publish(
        self,
        channel: str,
        message: AgentMessage,
        *,
        stored: Literal[True],
        ordering_key: str | None = None,
        deliver_at: datetime | None = None,
        deliver_after: float | None = None,
    ) -> Receipt: ...

    async def publish(
        self,
        channel: str,
        message: AgentMessage,
        *,
        stored: bool = False,
        ordering_key: str | None = None,
        deliver_at: datetime | None = None,
        deliver_after: float | None = None,
    ) -> Receipt | None:
        session = self._connected()
        check_channel(channel)
        check_stored(stored, ordering_key, deliver_at, deliver_after)
        if stored:
            encoded = self._encode(message) + encode_delivery(ordering_key, deliver_at, deliver_after)
            receipt = await session.store(channel, encoded)
            self._published += bool(receipt.sequence or receipt.held_by_sidecar)
            return receipt
        if message.ttl_seconds is not None and message.is_expired():
            log.debug("message %s expired before it was published", message.message_id)
            return None
        encoded = self._encode(message)
        if session.buffer_is_full:
            await session.refuse()
        self._published += 1
        if session.publish(channel, encoded):
            await session.pace()
        return None

    async def subscribe(
        self,
        channel: str,
        callback: Any,
        *,
        group: str | None = None,
        concurrency: int = 1,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
        durable: str | None = None,
        start: Start = "new",
        settings: DurableSettings | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}, it must be at least 1")
        if durable is not None:
            window = 2 * concurrency if credit is None else credit
            held = await self._open_durable(channel, durable, start, settings, window, group, on_lagged)
            held.run(callback, concurrency)
            return
        check_live(start, settings)
        subscription = await self._open(self._connected(), channel, group, credit, concurrency, on_lagged)
        subscription.run(callback, concurrency)

    async def unsubscribe(self, channel: str) -> None:
        session = self._connected()
        session.end_all(check_pattern(channel))

    async def request(
        self, channel: str, message: AgentMessage, timeout: float = DEFAULT_REQUEST_TIMEOUT
    ) -> AgentMessage:
        session = self._connected()
        check_channel(channel)
        check_timeout(timeout)
        session.check_up()
        correlation_id = message.correlation_id or message.message_id
        encoded = self._encode(message, correlation_id)
        published = not message.is_expired()
        self._published += published
        try:
            return await session.request(channel, encoded, correlation_id, timeout)
        except (NoRespondersError, InvalidMessageError):
            self._published -= published  # it was refused
            raise

    def messages(
        self,
        pattern: str,
        *,
        group: str | None = None,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
        observer: bool = False,
        durable: str | None = None,
        start: Start = "new",
        settings: DurableSettings | None = None,
    ) -> Any:
        if durable is None:
            return self._live_messages(pattern, group, credit, on_lagged, observer, start, settings)
        window = 2 if credit is None else credit
        return steps_through(
            lambda: self._open_durable(pattern, durable, start, settings, window, group, on_lagged, observer)
        )

    async def _live_messages(
        self,
        pattern: str,
        group: str | None,
        credit: int | None,
        on_lagged: Callable[[int], None] | None,
        observer: bool,
        start: Start,
        settings: DurableSettings | None,
    ) -> AsyncGenerator[AgentMessage, None]:
        session = self._connected()
        check_live(start, settings)
        subscription = await self._open(session, pattern, group, credit, 1, on_lagged, observer)
        try:
            while (message := await subscription.next()) is not None:
                yield message
        finally:
            session.end(subscription)

    async def flush(self) -> None:
        await self._connected().flush()

    @property
    def is_connected(self) -> bool:
        session = self._session
        return session is not None and session.line.is_up and not session.bus_is_away

    @property
    def published_count(self) -> int:
        return self._published

    def _connected(self) -> BusSession:
        if self._session is None:
            raise BusNotConnectedError(f"the bus at {self.address} is not connected: call connect() first")
        return self._session

    async def _open_durable(
        self,
        pattern: str,
        durable: str,
        start: Start,
        settings: DurableSettings | None,
        window: int,
        group: str | None,
        on_lagged: Callable[[int], None] | None,
        observer: bool = False,
    ) -> DurableSubscription:
        session = self._connected()
        check_interest(pattern, None, window)
        check_durable(durable, pattern, start, settings, group=group, observer=observer, on_lagged=on_lagged)
        return await session.open_durable(pattern, durable, start, settings, window)

    def _encode(self, message: AgentMessage, correlation_id: str | None = None) -> bytes:
        encoded = encode_message(message, correlation_id)
        if len(encoded) > self._max_message_bytes:
            raise MessageTooLargeError(
                f"message {message.message_id!r} has {len(encoded)} bytes, at most {self._max_message_bytes} are "
                "allowed",
                details={"size": len(encoded), "limit": self._max_message_bytes},
            )
        return encoded

    async def _open(
        self,
        session: BusSession,
        pattern: str,
        group: str | None,
        credit: int | None,
        concurrency: int,
        on_lagged: Callable[[int], None] | None,
        observer: bool = False,
    ) -> LiveSubscription:
        check_interest(pattern, group, credit)
        if credit is None and group is not None:
            credit = 2 * concurrency
        return await session.open(pattern, group or "", credit, on_lagged, observer)
