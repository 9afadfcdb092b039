"""InMemoryMessageBus: the bus within one program, for development and tests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, overload

from trunkline.bus.checks import check_durable, check_live, check_stored
from trunkline.bus.codec import decode_message, encode_message
from trunkline.bus.durable import Durability, DurableSettings, Receipt, Start
from trunkline.bus.handling import steps_through
from trunkline.bus.memory.consumer import MemoryConsumer
from trunkline.bus.memory.delivery import MemoryDelivery
from trunkline.bus.memory.journal import MemoryJournal
from trunkline.bus.memory.listeners import Listener, MemoryListeners
from trunkline.bus.memory.stream import MemoryStream
from trunkline.bus.message_bus import MessageBus, check_interest, check_timeout
from trunkline.channels import check_channel, check_pattern
from trunkline.errors import (
    BusDisconnectedError,
    BusNotConnectedError,
    InvalidMessageError,
    MessageTooLargeError,
    NoRespondersError,
    RequestTimeoutError,
)
from trunkline.limits import DEFAULT_REQUEST_TIMEOUT, MAX_MESSAGE_BYTES
from trunkline.models import AgentMessage
from trunkline.v1 import message_pb2

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Pending:
    message_id: str
    reply: asyncio.Future[AgentMessage] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class InMemoryMessageBus(MemoryDelivery, MessageBus):
    """`publish` returns when all live callbacks are done; each gets a copy of its own, so nobody sees another's
    changes. The copies are made by way of the wire, so that what passes here passes over gRPC too, and arrives as the
    same.

    A callback may publish and request, also on its own channel: nothing here waits for another delivery. `concurrency`
    and `credit` of a live subscription therefore change nothing, and there is nothing to flush.

    What is stored is kept in memory until `disconnect()`, and receipts say so. Durable callbacks run in tasks of their
    own, which `publish` does not wait for; a message stays with its handler until that ends, however long it takes.
    """

    def __init__(self) -> None:
        self._journal: MemoryJournal | None = None
        self._listeners = MemoryListeners()
        self._consumers: list[MemoryConsumer] = []
        self._pending: dict[str, _Pending] = {}
        self._deliveries: set[asyncio.Task[Any]] = set()
        self._published = 0

    async def connect(self) -> None:
        if self._journal is None:
            self._journal = MemoryJournal(self._spread_alone, time.time)
            self._published = 0

    async def disconnect(self) -> None:
        if self._journal is None:
            return
        journal, self._journal = self._journal, None
        self._listeners.clear()
        for consumer in list(self._consumers):
            consumer.stop()
        journal.close()
        pending, self._pending = self._pending, {}
        for request in pending.values():
            if not request.reply.done():
                request.reply.set_exception(BusDisconnectedError("the bus was disconnected"))
        for delivery in self._deliveries - {asyncio.current_task()}:
            delivery.cancel()

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
        journal = self._connected()
        check_channel(channel)
        check_stored(stored, ordering_key, deliver_at, deliver_after)
        if message.is_expired():
            log.debug("message %s expired before it was published", message.message_id)
            return Receipt(0, datetime.now(UTC), Durability.MEMORY) if stored else None
        wire = _to_wire(message)
        receipt, is_due = None, True
        if stored:
            receipt, is_due = journal.store(channel, wire, ordering_key, deliver_at, deliver_after)
        else:
            journal.allot()
        self._published += 1
        if is_due:
            await self._spread(channel, wire)
        return receipt

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
            consumer = await self._open_durable(channel, durable, start, settings, credit, group, on_lagged)
            consumer.run(callback, concurrency)
            return
        self._connected()
        check_live(start, settings)
        check_interest(channel, group, credit)
        self._listeners.add(Listener(channel, group, callback))

    async def unsubscribe(self, channel: str) -> None:
        self._connected()
        self._listeners.remove_all(check_pattern(channel))
        for consumer in [each for each in self._consumers if each.pattern == channel]:
            consumer.leave()

    async def request(
        self, channel: str, message: AgentMessage, timeout: float = DEFAULT_REQUEST_TIMEOUT
    ) -> AgentMessage:
        self._connected()
        check_channel(channel)
        check_timeout(timeout)
        correlation_id = message.correlation_id or message.message_id
        sent = decode_message(_to_wire(message, correlation_id))
        if correlation_id in self._pending:
            raise InvalidMessageError(
                f"correlation_id {correlation_id!r} is in use by another pending request",
                details={"field": "correlation_id", "value": correlation_id},
            )
        if not self._listeners.can_answer(channel):
            raise NoRespondersError(f"nobody subscribes to {channel!r}", details={"channel": channel})
        pending = self._pending[correlation_id] = _Pending(message.message_id)
        # In a task of its own: the deadline counts from here, whatever the callbacks do.
        self._in_background(self.publish(channel, sent))
        try:
            async with asyncio.timeout(timeout):
                return await pending.reply
        except TimeoutError:
            raise RequestTimeoutError(
                f"no reply on {channel!r} within {timeout:g} s",
                details={"channel": channel, "correlation_id": correlation_id, "timeout_seconds": timeout},
            ) from None
        finally:
            if self._pending.get(correlation_id) is pending:
                del self._pending[correlation_id]

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
        return steps_through(
            lambda: self._open_durable(pattern, durable, start, settings, credit, group, on_lagged, observer)
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
        self._connected()
        check_live(start, settings)
        check_interest(pattern, group, credit)
        stream = MemoryStream(on_lagged)
        mine = Listener(pattern, group, stream.take, stream, observer)
        self._listeners.add(mine)
        try:
            while (message := await stream.next()) is not None:
                yield message
        finally:
            self._listeners.remove(mine)

    async def flush(self) -> None:
        self._connected()

    @property
    def is_connected(self) -> bool:
        return self._journal is not None

    @property
    def published_count(self) -> int:
        return self._published

    def _connected(self) -> MemoryJournal:
        if self._journal is None:
            raise BusNotConnectedError("the bus is not connected: call connect() first")
        return self._journal

    async def _open_durable(
        self,
        pattern: str,
        durable: str,
        start: Start,
        settings: DurableSettings | None,
        credit: int | None,
        group: str | None,
        on_lagged: Callable[[int], None] | None,
        observer: bool = False,
    ) -> MemoryConsumer:
        journal = self._connected()
        check_interest(pattern, None, credit)
        check_durable(durable, pattern, start, settings, group=group, observer=observer, on_lagged=on_lagged)
        journal.create(durable, pattern, start, settings)
        return MemoryConsumer(journal.find(durable), self._consumers)

    async def _spread(self, channel: str, wire: message_pb2.Message) -> None:
        """Gives a message to those who listen now, and to the request that it answers."""
        pending = self._pending.get(wire.correlation_id) if wire.correlation_id else None
        if pending is not None and pending.message_id != wire.message_id and not pending.reply.done():
            pending.reply.set_result(decode_message(wire))
        await self._listeners.tell(channel, wire)

    def _spread_alone(self, channel: str, wire: message_pb2.Message) -> None:
        """As `_spread`, for a message that nobody waits for."""
        self._in_background(self._spread(channel, wire))

    def _in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        delivery = asyncio.ensure_future(work)
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)


def _to_wire(message: AgentMessage, correlation_id: str | None = None) -> message_pb2.Message:
    encoded = encode_message(message, correlation_id)
    if len(encoded) > MAX_MESSAGE_BYTES:
        raise MessageTooLargeError(
            f"message {message.message_id!r} has {len(encoded)} bytes, at most {MAX_MESSAGE_BYTES} are allowed",
            details={"size": len(encoded), "limit": MAX_MESSAGE_BYTES},
        )
    return message_pb2.Message.FromString(encoded)
