"""LocalSession: the session of a bus in this process, whose publishers wait for the callbacks that they cause."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from heapq import heappop, heappush
from typing import Any, TypeVar

from trunkline.bus.grpc.session import BusSession
from trunkline.bus.grpc.subscription import LiveSubscription, Subscription
from trunkline.channels import matches
from trunkline.delivery import Receipt
from trunkline.models import AgentMessage
from trunkline.wire.stream import Stream, StreamUser
from trunklined.bus.broker import Broker
from trunklined.bus.queue import SubscriptionQueue
from trunklined.bus.wire.connection import BusConnection
from trunklined.local.stream import LocalStream

M = TypeVar("M", bound=AgentMessage)

_calling: ContextVar[tuple[BusSession, ...]] = ContextVar("trunkline_calling", default=())
"""The sessions in whose callbacks this code runs."""


class LocalConnection(BusConnection):
    """The service's end; says when it has looked for what may be sent."""

    on_gathered: Callable[[], None] | None = None

    def queue_of(self, id: int) -> SubscriptionQueue | None:
        """What waits for a live subscription, by its id on the stream."""
        subscription = self._subscriptions.get(id)
        queue = None if subscription is None else subscription.queue
        return queue if isinstance(queue, SubscriptionQueue) else None

    def _gather(self, room: int) -> list[bytes]:
        frames = super()._gather(room)
        if self.on_gathered is not None:
            self.on_gathered()
        return frames


class LocalSubscription(LiveSubscription):
    """A live subscription that knows which messages it is done with.

    A message is on its way from the bus's queue through what waits here to a callback; or it is dropped or expires on
    this way. Whoever waits for it waits until nothing so old is left on it.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._running: set[int] = set()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._oldest_queued: Callable[[], int | None] = lambda: None

    def follow(self, oldest_queued: Callable[[], int | None]) -> None:
        """Says how to ask for the oldest sequence that waits in the bus."""
        self._oldest_queued = oldest_queued

    async def done_with(self, sequence: int) -> None:
        """Waits until a callback is done with everything up to a sequence; at once where only an iterator reads."""
        if not self._workers or self._is_done_with(sequence):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiters, (sequence, id(waiter), waiter))
        await waiter

    def look(self) -> None:
        """Lets those go on who waited for what is done."""
        while self._waiters and self._is_done_with(self._waiters[0][0]):
            waiter = heappop(self._waiters)[2]
            if not waiter.done():
                waiter.set_result(None)

    def _is_done_with(self, sequence: int) -> bool:
        if self._closed or self._ended is not None:
            return True
        waiting = [next((run[0][1] for run in level if run), None) for level in self._runs.occupied()]
        left = [each for each in (*waiting, *self._running, self._oldest_queued()) if each is not None]
        return not left or min(left) > sequence

    def close(self) -> None:
        super().close()
        self.look()

    def end(self, error: Any) -> None:
        super().end(error)
        self.look()

    def _pop(self) -> AgentMessage | None:
        message = super()._pop()
        if message is None and self._waiters:
            self.look()
        return message

    async def _call(self, callback: Callable[[AgentMessage], Awaitable[None]], message: AgentMessage) -> None:
        self._running.add(message.sequence)
        try:
            await super()._call(callback, message)
        finally:
            self._running.discard(message.sequence)
            self.look()


class LocalSession(BusSession):
    """See `InMemoryMessageBus`."""

    live_subscription = LocalSubscription

    def __init__(self, open_stream: Callable[[StreamUser], Stream], broker: Broker) -> None:
        super().__init__(open_stream, None, None)
        self._broker = broker
        self._looking = False

    def publish(self, channel: str, encoded: bytes) -> Coroutine[Any, Any, None] | None:
        pause = super().publish(channel, encoded)
        self.stream.flush()
        return self._caused(channel, pause)

    async def store(self, channel: str, encoded: bytes) -> Receipt:
        receipt = await super().store(channel, encoded)
        await self._caused(channel, None)
        return receipt

    async def open(self, *arguments: Any) -> LiveSubscription:
        subscription = await super().open(*arguments)
        assert isinstance(subscription, LocalSubscription)
        assert isinstance(self.stream, LocalStream)
        connection = self.stream.peer
        assert isinstance(connection, LocalConnection)
        connection.on_gathered = self._look_soon
        queue = connection.queue_of(subscription.id)
        if queue is not None:
            subscription.follow(lambda: queue.oldest(self._broker.clock()))
        return subscription

    def run(self, subscription: Subscription[M], callback: Callable[[M], Awaitable[None]], concurrency: int) -> None:
        super().run(subscription, partial(self._call, callback), concurrency)

    async def _call(self, callback: Callable[[M], Awaitable[None]], message: M) -> None:
        sessions = _calling.get()
        if self not in sessions:  # once for each worker: the context is its own
            _calling.set((*sessions, self))
        await callback(message)

    async def _caused(self, channel: str, pause: Coroutine[Any, Any, None] | None) -> None:
        """Waits for the callbacks of everything that the bus took so far on a channel."""
        if pause is not None:
            await pause
        if self in _calling.get():
            return
        assert isinstance(self.stream, LocalStream)
        if self.stream.is_taking:  # then what was published is in that frame, or behind it
            await self._taken()
        journal = self._broker.journal
        if channel in journal.in_flight:  # live messages go behind what was stored before them on their channel
            spread: asyncio.Future[None] = self._loop.create_future()

            def go_on() -> None:
                if not spread.done():  # whoever published may have been cancelled
                    spread.set_result(None)

            journal.follow(go_on)
            await spread
        last = journal.sequencer.last
        for subscription in [each for each in self._subscriptions.values() if isinstance(each, LocalSubscription)]:
            if matches(subscription.pattern, channel):
                await subscription.done_with(last)

    async def _taken(self) -> None:
        """Waits until the bus took all that was put into the stream."""
        id, answer = self.stream.expect()
        self._frames.item(id).ping.SetInParent()
        try:
            await answer
        finally:
            self.stream.forget(id)

    def _look_soon(self) -> None:
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        for subscription in self._subscriptions.values():
            if isinstance(subscription, LocalSubscription):
                subscription.look()
