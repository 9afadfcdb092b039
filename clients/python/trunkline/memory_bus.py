"""InMemoryMessageBus: the bus within one program, for development and tests."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from trunkline.channels import check_channel, check_name, check_pattern, matches
from trunkline.errors import (
    BusDisconnectedError,
    BusNotConnectedError,
    InvalidMessageError,
    NoRespondersError,
    RequestTimeoutError,
)
from trunkline.limits import CLIENT_WINDOW_MESSAGES, DEFAULT_REQUEST_TIMEOUT, MAX_REQUEST_TIMEOUT
from trunkline.message_bus import MessageBus, MessageCallback
from trunkline.models import AgentMessage

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Subscription:
    pattern: str
    group: str | None
    callback: MessageCallback


@dataclass(eq=False, slots=True)
class _Pending:
    message_id: str
    reply: asyncio.Future[AgentMessage] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class InMemoryMessageBus(MessageBus):
    """`publish` returns when all callbacks are done; each gets a copy of its own, so nobody sees another's changes.

    A callback may publish and request, also on its own channel: nothing here waits for another delivery. `concurrency`
    and `credit` therefore change nothing, and there is nothing to flush.
    """

    def __init__(self) -> None:
        self._connected = False
        self._subscriptions: list[_Subscription] = []
        self._turns: dict[tuple[str, str], int] = {}
        self._pending: dict[str, _Pending] = {}
        self._deliveries: set[asyncio.Task[None]] = set()
        self._streams: set[_Stream] = set()
        self._published = 0

    async def connect(self) -> None:
        if self._connected:
            return
        self._connected = True
        self._published = 0

    async def disconnect(self) -> None:
        self._connected = False
        self._subscriptions.clear()
        self._turns.clear()
        pending, self._pending = self._pending, {}
        for request in pending.values():
            if not request.reply.done():
                request.reply.set_exception(BusDisconnectedError("the bus was disconnected"))
        for stream in self._streams:
            stream.end()
        for delivery in self._deliveries - {asyncio.current_task()}:
            delivery.cancel()

    async def publish(self, channel: str, message: AgentMessage) -> None:
        self._check_connected()
        check_channel(channel)
        if message.is_expired():
            log.debug("message %s expired before it was published", message.message_id)
            return
        self._published += 1
        pending = self._pending.get(message.correlation_id) if message.correlation_id else None
        if pending is not None and pending.message_id != message.message_id and not pending.reply.done():
            pending.reply.set_result(message.model_copy(deep=True))
        deliveries = [self._deliver(each, message) for each in self._recipients(channel)]
        if len(deliveries) == 1:
            await deliveries[0]
        elif deliveries:
            await asyncio.gather(*deliveries)

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
        self._check_connected()
        check_pattern(channel)
        if group is not None:
            check_name("group", group)
        for name, value in (("concurrency", concurrency), ("credit", 1 if credit is None else credit)):
            if value < 1:
                raise ValueError(f"{name} is {value}, it must be at least 1")
        self._subscriptions.append(_Subscription(channel, group, callback))

    async def unsubscribe(self, channel: str) -> None:
        self._check_connected()
        check_pattern(channel)
        self._subscriptions = [each for each in self._subscriptions if each.pattern != channel]

    async def request(
        self, channel: str, message: AgentMessage, timeout: float = DEFAULT_REQUEST_TIMEOUT
    ) -> AgentMessage:
        self._check_connected()
        check_channel(channel)
        if not 0 < timeout <= MAX_REQUEST_TIMEOUT:
            raise InvalidMessageError(
                f"timeout is {timeout:g} s, it must be more than 0 and at most {MAX_REQUEST_TIMEOUT:g} s",
                details={"field": "timeout", "value": f"{timeout:g}"},
            )
        correlation_id = message.correlation_id or message.message_id
        if correlation_id in self._pending:
            raise InvalidMessageError(
                f"correlation_id {correlation_id!r} is in use by another pending request",
                details={"field": "correlation_id", "value": correlation_id},
            )
        if not any(matches(each.pattern, channel) for each in self._subscriptions):
            raise NoRespondersError(f"nobody subscribes to {channel!r}", details={"channel": channel})
        pending = self._pending[correlation_id] = _Pending(message.message_id)
        sent = message.model_copy(update={"correlation_id": correlation_id})
        # In a task of its own: the deadline counts from here, whatever the callbacks do.
        delivery = asyncio.ensure_future(self.publish(channel, sent))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)
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

    async def messages(
        self,
        pattern: str,
        *,
        group: str | None = None,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
    ) -> AsyncIterator[AgentMessage]:
        stream = _Stream(credit or CLIENT_WINDOW_MESSAGES, on_lagged)
        await self.subscribe(pattern, stream.take, group=group, credit=credit)
        mine = self._subscriptions[-1]
        self._streams.add(stream)
        try:
            while True:
                yield await stream.next()
        finally:
            self._streams.discard(stream)
            if mine in self._subscriptions:
                self._subscriptions.remove(mine)

    async def flush(self) -> None:
        self._check_connected()

    @property
    def is_connected(self) -> bool:
        return self._connected

    @property
    def published_count(self) -> int:
        return self._published

    def _check_connected(self) -> None:
        if not self._connected:
            raise BusNotConnectedError("the bus is not connected: call connect() first")

    def _recipients(self, channel: str) -> list[_Subscription]:
        """Everyone without a group, and of each group the one whose turn it is."""
        found: list[_Subscription] = []
        groups: dict[tuple[str, str], list[_Subscription]] = {}
        for each in self._subscriptions:
            if matches(each.pattern, channel):
                if each.group is None:
                    found.append(each)
                else:
                    groups.setdefault((each.pattern, each.group), []).append(each)
        for key, members in groups.items():
            turn = self._turns[key] = self._turns.get(key, -1) + 1
            found.append(members[turn % len(members)])
        return found

    async def _deliver(self, subscription: _Subscription, message: AgentMessage) -> None:
        try:
            await subscription.callback(message.model_copy(deep=True))
        except Exception:
            log.exception(
                "callback of %r failed on message %s from %s",
                subscription.pattern,
                message.message_id,
                message.sender_id,
            )


class _Stream:
    """The messages of one `messages()`; bounded, the oldest go first."""

    def __init__(self, maximum: int, on_lagged: Callable[[int], None] | None) -> None:
        self._messages: deque[AgentMessage] = deque(maxlen=maximum)
        self._on_lagged = on_lagged
        self._arrived = asyncio.Event()
        self._ended = False

    async def take(self, message: AgentMessage) -> None:
        if len(self._messages) == self._messages.maxlen:
            log.warning("a stream of messages was read too slowly: 1 message was dropped")
            if self._on_lagged is not None:
                self._on_lagged(1)
        self._messages.append(message)
        self._arrived.set()

    def end(self) -> None:
        self._ended = True
        self._arrived.set()

    async def next(self) -> AgentMessage:
        while not self._messages:
            if self._ended:
                raise BusNotConnectedError("the bus was disconnected")
            self._arrived.clear()
            await self._arrived.wait()
        return self._messages.popleft()
