"""GrpcMessageBus: the bus over gRPC, against a BusService or a sidecar."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from trunkline.bus_session import BusSession
from trunkline.channels import check_channel, check_pattern
from trunkline.codec import encode_delivery, encode_message
from trunkline.durable import (
    DurableMessage,
    DurableSettings,
    Receipt,
    Start,
    check_durable,
    check_live,
    check_start,
    check_stored,
)
from trunkline.durable_subscription import DurableSubscription, position_to_wire, settings_to_wire
from trunkline.errors import (
    BusDisconnectedError,
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
from trunkline.message_bus import MessageBus, check_interest, check_timeout
from trunkline.models import AgentMessage
from trunkline.status import error_from_rpc
from trunkline.subscription import LiveSubscription
from trunkline.v1 import durable_pb2

log = logging.getLogger(__name__)


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
        self._session: BusSession | None = None
        self._published = 0
        self._connecting = asyncio.Lock()

    async def connect(self) -> None:
        async with self._connecting:
            if self._session is not None:
                return
            self._published = 0
            session = BusSession(self.address, self._on_disconnected, self._on_reconnected)
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
                    await session.flush()
            except (TimeoutError, TrunklineError) as error:
                log.warning("not all that was published may have reached %s: %r", self.address, error)
        self._session = None
        await session.close()

    async def publish(  # type: ignore[override]  # the overloads stand in MessageBus
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
            held = await self._open_durable(
                self._connected(), channel, durable, group, start, settings, window, on_lagged, False
            )
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

    async def messages(  # type: ignore[override]
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
    ) -> AsyncGenerator[AgentMessage, None]:
        session = self._connected()
        if durable is not None:
            window = 2 if credit is None else credit
            held = await self._open_durable(
                session, pattern, durable, group, start, settings, window, on_lagged, observer
            )
            given: DurableMessage | None = None
            try:
                while (given := await held.next()) is not None:
                    yield given
                    held.acked(given)
            finally:
                if given is not None:
                    held.nakked(given, "the iterator was closed before the message was acked", 0.0)
                session.end(held)
            return
        check_live(start, settings)
        subscription = await self._open(session, pattern, group, credit, 1, on_lagged, observer)
        try:
            while (message := await subscription.next()) is not None:
                yield message
        finally:
            session.end(subscription)

    async def create_durable(
        self, name: str, pattern: str, *, start: Start = "new", settings: DurableSettings | None = None
    ) -> bool:
        check_durable(name, None, False, settings)
        check_pattern(pattern)
        check_start(start)
        request = durable_pb2.CreateDurableSubscriptionRequest(
            name=name, pattern=pattern, position=position_to_wire(start)
        )
        if settings is not None:
            request.settings.CopyFrom(settings_to_wire(settings))
        answer = await self._call("CreateDurableSubscription", request, durable_pb2.CreateDurableSubscriptionResponse)
        created: bool = answer.created
        return created

    async def delete_durable(self, name: str) -> None:
        request = durable_pb2.DeleteDurableSubscriptionRequest(name=name)
        await self._call("DeleteDurableSubscription", request, durable_pb2.DeleteDurableSubscriptionResponse)

    async def seek_durable(self, name: str, start: Start) -> None:
        check_start(start)
        request = durable_pb2.SeekDurableSubscriptionRequest(name=name, position=position_to_wire(start))
        await self._call("SeekDurableSubscription", request, durable_pb2.SeekDurableSubscriptionResponse)

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

    async def _call(self, name: str, request: Message, answer: Any) -> Any:
        """One unary call beside the line."""
        session = self._connected()
        session.check_up()
        call: Any = session.line.channel.unary_unary(
            f"/trunkline.v1.BusService/{name}", request.__class__.SerializeToString, answer.FromString
        )
        try:
            return await call(request, timeout=DEFAULT_REQUEST_TIMEOUT)
        except grpc.aio.AioRpcError as status:
            raise error_from_rpc(status, BusDisconnectedError) from status

    async def _open_durable(
        self,
        session: BusSession,
        pattern: str,
        durable: str,
        group: str | None,
        start: Start,
        settings: DurableSettings | None,
        window: int,
        on_lagged: Callable[[int], None] | None,
        observer: bool,
    ) -> DurableSubscription:
        check_interest(pattern, group, window)
        check_durable(durable, group, observer, settings)
        check_start(start)
        if on_lagged is not None:
            raise InvalidMessageError(
                f"on_lagged is set: the durable subscription {durable!r} drops nothing", details={"field": "on_lagged"}
            )
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
