"""BaseBus: a bus whose messages travel on an `OpenStream` stream, whatever carries that."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from functools import partial
from typing import Any, Literal, overload

from google.protobuf.message import Message

from trunkline.addresses import this_process
from trunkline.bus.checks import check_durable, check_live, check_stored
from trunkline.bus.grpc.asking import AskedRequest
from trunkline.bus.grpc.durable_subscription import DurableSubscription
from trunkline.bus.grpc.session import BusSession
from trunkline.bus.grpc.subscription import LiveSubscription
from trunkline.bus.grpc.wire_delivery import WireDelivery
from trunkline.bus.grpc.wire_inspection import WireInspection
from trunkline.bus.handling import check_callback
from trunkline.bus.life import LifeEvent
from trunkline.bus.message_bus import MessageBus, check_interest, check_timeout
from trunkline.bus.request import RequestHandler, call_handler, check_handler
from trunkline.bus.stream import DurableStream, EventStream, LiveStream
from trunkline.bus.submitted_task import SubmittedTask
from trunkline.channels import check_channel, check_name, check_pattern
from trunkline.delivery import DurableSettings, Receipt, RequestTerms, Start, check_between
from trunkline.errors import (
    BusDisconnectedError,
    BusNotConnectedError,
    InvalidMessageError,
    MessageTooLargeError,
    NoRespondersError,
    OverloadedError,
    TrunklineError,
)
from trunkline.limits import (
    CLIENT_DISCONNECT_SECONDS,
    DEFAULT_REQUEST_TIMEOUT,
    DEFAULT_TASK_KEEP,
    MAX_MESSAGE_BYTES,
    MAX_TASK_KEEP,
    MIN_TASK_KEEP,
)
from trunkline.message_encoding import encode_delivery, encode_message
from trunkline.models import AgentMessage
from trunkline.models.message import as_made
from trunkline.text import safe_text
from trunkline.v1 import bus_pb2, task_pb2
from trunkline.wire.stream import FrameReader

log = logging.getLogger(__name__)


class BaseBus(WireDelivery, WireInspection, MessageBus):
    """Everything that a bus does but to connect: checks, encodes, counts, and hands over to a `BusSession`.

    Args:
        address: what it is connected to, for people.
        max_message_bytes: limit of one encoded message.
    """

    def __init__(self, address: str, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.address = address
        self._max_message_bytes = max_message_bytes
        self._session: BusSession | None = None
        self._published = 0
        self._connecting = asyncio.Lock()

    @property
    def client_name(self) -> str:
        """What this client is called, for people."""
        return this_process()

    @abstractmethod
    async def _begin(self) -> BusSession:
        """A session with a stream that is up."""

    async def connect(self) -> None:
        async with self._connecting:
            if self._session is not None and self._session.stream.loop_is_closed:
                await self.disconnect()  # nobody could: its loop has ended
            if self._session is None:
                self._published = 0
                self._session = await self._begin()

    async def disconnect(self) -> None:
        session = self._session
        if session is None:
            return
        if session.stream.is_up:
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
        if stored or ordering_key is not None or deliver_at is not None or deliver_after is not None:
            check_stored(stored, ordering_key, deliver_at, deliver_after)
        if stored:
            encoded = self._encode(message) + encode_delivery(ordering_key, deliver_at, deliver_after)
            receipt = await session.store(channel, encoded)
            self._published += bool(receipt.sequence or receipt.held_by_sidecar)
            return receipt
        if as_made(message) is None and message.is_expired():
            log.debug("message %s expired before it was published", message.message_id)
            return None
        pause = session.publish(channel, self._encode(message))
        self._published += 1
        if pause is not None:
            try:
                await pause
            except BusDisconnectedError:
                self._published -= 1  # it was refused
                raise
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
        on_error: Callable[[TrunklineError], None] | None = None,
        observer: bool = False,
        durable: str | None = None,
        start: Start = "new",
        settings: DurableSettings | None = None,
        on_paused: Callable[[bool], None] | None = None,
    ) -> None:
        session = self._connected()
        check_callback(callback)
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}, it must be at least 1")
        if durable is not None:
            window = 2 * concurrency if credit is None else credit
            options = (start, settings, window, group, on_lagged, observer, on_error, on_paused)
            held = await self._open_durable(channel, durable, *options)
            session.run(held, callback, concurrency)
            return
        check_live(start, settings, on_paused)
        subscription = await self._open(session, channel, group, credit, concurrency, on_lagged, observer, on_error)
        session.run(subscription, callback, concurrency)

    async def unsubscribe(self, channel: str) -> None:
        session = self._connected()
        session.end_all(check_pattern(channel))

    async def request(
        self,
        channel: str,
        message: AgentMessage,
        timeout: float = DEFAULT_REQUEST_TIMEOUT,
        **wished: Any,
    ) -> AgentMessage:
        session = self._connected()
        check_channel(channel)
        check_timeout(timeout)
        terms = None
        if wished:
            terms = RequestTerms(**wished)
            timeout = await self._wait_for_bus(session, channel, timeout, terms)
        session.stream.check_up()
        correlation_id = message.correlation_id or message.message_id
        encoded = self._encode(message, correlation_id)
        published = not message.is_expired()
        self._published += published
        try:
            return await session.request(channel, encoded, correlation_id, timeout, terms)
        except (NoRespondersError, InvalidMessageError, OverloadedError):
            self._published -= published  # it was refused
            raise

    def request_stream(
        self, channel: str, message: AgentMessage, timeout: float = DEFAULT_REQUEST_TIMEOUT, **wished: Any
    ) -> AsyncGenerator[LifeEvent, None]:
        terms = RequestTerms(**wished)

        async def ask() -> AskedRequest:
            session = self._connected()
            check_channel(channel)
            check_timeout(timeout)
            left = await self._wait_for_bus(session, channel, timeout, terms)
            session.stream.check_up()
            correlation_id = message.correlation_id or message.message_id
            encoded = self._encode(message, correlation_id)
            self._published += not message.is_expired()
            return session.ask(channel, encoded, correlation_id, left, terms)

        return EventStream(ask)

    async def _wait_for_bus(self, session: BusSession, channel: str, timeout: float, terms: RequestTerms) -> float:
        """Checks what is wished of a request, and waits for a lost connection where it may; returns what is left of the
        timeout."""
        if terms.idle_timeout is not None:
            check_timeout(terms.idle_timeout, "idle_timeout")
        if not terms.wait_for_responder or (session.stream.is_up and not session.bus_is_away):
            return timeout
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        try:
            async with asyncio.timeout_at(deadline):
                await session.wait_for_bus()
        except TimeoutError:
            raise session.stream.disconnected("it was not restored before the request's deadline") from None
        return max(deadline - loop.time(), 0.001)

    async def respond(
        self,
        pattern: str,
        handler: RequestHandler,
        *,
        group: str | None = None,
        durable: str | None = None,
        start: Start = "new",
        settings: DurableSettings | None = None,
        concurrency: int = 1,
        name: str | None = None,
        on_error: Callable[[TrunklineError], None] | None = None,
    ) -> None:
        session = self._connected()
        check_handler(handler)
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}, it must be at least 1")
        if name is None:
            name = self.client_name
        if durable is not None:
            check_durable(durable, pattern, start, settings, group=group)
            options = (start, settings, concurrency, on_error, name, self._encode)
            worker = await session.open_worker(pattern, durable, *options)
            session.run(worker, partial(call_handler, handler), concurrency)
            return
        check_live(start, settings)
        check_interest(pattern, group, concurrency)
        subscription = await session.open_responder(pattern, group or "", concurrency, on_error, name, self._encode)
        session.run(subscription, partial(call_handler, handler), concurrency)

    async def submit(
        self,
        channel: str,
        message: AgentMessage,
        *,
        durable: str | None = None,
        keep: float = DEFAULT_TASK_KEEP,
        ordering_key: str | None = None,
        deliver_at: datetime | None = None,
        deliver_after: float | None = None,
    ) -> SubmittedTask:
        self._connected()
        check_channel(channel)
        check_stored(True, ordering_key, deliver_at, deliver_after)
        if durable is not None:
            check_name("durable", durable)
        check_between("keep", keep, MIN_TASK_KEEP, MAX_TASK_KEEP, " s")
        request = task_pb2.SubmitTaskRequest(channel=channel, durable=durable or "")
        encoded = self._encode(message) + encode_delivery(ordering_key, deliver_at, deliver_after)
        request.message.MergeFromString(encoded)
        request.keep.FromNanoseconds(round(keep * 1e9))
        answer = await self._call("SubmitTask", request)
        self._published += not answer.duplicate
        return self.task(answer.task.task_id)

    async def cancel(self, request_id: str, *, by: str = "", reason: str = "") -> None:
        request = bus_pb2.CancelRequest(request_id=request_id, by=safe_text(by), reason=safe_text(reason))
        await self._call("Cancel", request)

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
        if durable is not None:
            window = 2 if credit is None else credit
            return DurableStream(
                lambda: self._open_durable(pattern, durable, start, settings, window, group, on_lagged, observer)
            )

        async def open() -> LiveSubscription:
            session = self._connected()
            check_live(start, settings)
            return await self._open(session, pattern, group, credit, 1, on_lagged, observer)

        return LiveStream(open)

    async def flush(self) -> None:
        await self._connected().flush()

    @property
    def is_connected(self) -> bool:
        session = self._session
        return session is not None and session.stream.is_up and not session.bus_is_away

    @property
    def published_count(self) -> int:
        return self._published

    def _connected(self) -> BusSession:
        if self._session is None:
            raise BusNotConnectedError(f"the bus at {self.address} is not connected: call connect() first")
        if self._session.stream.is_over:
            self._session.stream.check_loop()
        return self._session

    def _check_connected(self) -> object:
        return self._connected()

    async def _call(self, name: str, request: Message, timeout: float = DEFAULT_REQUEST_TIMEOUT) -> Any:
        session = self._connected()
        session.stream.check_up()
        return await session.stream.call(name, request, timeout)

    def _read(self, name: str, request: Message, parse: Callable[[bytes], Any]) -> FrameReader:
        session = self._connected()
        session.stream.check_up()
        return session.stream.read(name, request, parse)

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
        on_error: Callable[[TrunklineError], None] | None = None,
        on_paused: Callable[[bool], None] | None = None,
    ) -> DurableSubscription:
        session = self._connected()
        check_interest(pattern, None, window)
        check_durable(durable, pattern, start, settings, group=group, observer=observer, on_lagged=on_lagged)
        return await session.open_durable(pattern, durable, start, settings, window, on_error, on_paused)

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
        on_error: Callable[[TrunklineError], None] | None = None,
    ) -> LiveSubscription:
        check_interest(pattern, group, credit)
        if credit is None and group is not None:
            credit = 2 * concurrency
        return await session.open(pattern, group or "", credit, on_lagged, on_error, observer)
