"""Subscription: what one subscription's messages go through between the stream and the callback; and the live one."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count, repeat
from typing import Any, Generic, TypeVar

from trunkline.bus.codec import decode_message, parse_message
from trunkline.bus.grpc.handover import Handover, Overlap
from trunkline.bus.handling import handle_live
from trunkline.callbacks import notify
from trunkline.errors import BusDisconnectedError, InvalidMessageError, TrunklineError
from trunkline.limits import CLIENT_WINDOW_MESSAGES
from trunkline.models import AgentMessage
from trunkline.priority import MEDIUM_LEVEL, PriorityQueue
from trunkline.v1 import bus_pb2

log = logging.getLogger(__name__)


M = TypeVar("M", bound=AgentMessage)
OnError = Callable[[TrunklineError], None]


class Subscription(ABC, Generic[M]):
    """One interest of this client.

    What the service sent ahead waits here, by priority. Each life of the stream opens the subscription anew under the
    same id.

    Args:
        id: its item id on the stream.
        pattern: channel or pattern.
        item: a new ClientItem with an id, on its way to the service.
        left: ends it in its session.
        on_error: called with what goes wrong beside the messages; see `MessageBus.subscribe`.
    """

    def __init__(
        self,
        id: int,
        pattern: str,
        item: Callable[..., Any],
        left: Callable[[Subscription[M]], None],
        on_error: OnError | None,
    ) -> None:
        self.id = id
        self.pattern = pattern
        self._item = item
        self._left = left
        self._on_error = on_error
        self._runs: PriorityQueue[deque[Any]] = PriorityQueue()
        self._current: deque[Any] | None = None
        """The run that goes next; None when that must be looked up, since something arrived or it is used up."""
        self._arrived = asyncio.Event()
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._workers: list[asyncio.Task[None]] = []
        self._ended: TrunklineError | None = None
        self._closed = False
        self._stopped = False
        self.handover: Handover | None = None
        """While it moves to another stream, and the last of the one before has not come: what holds back the rest."""

    def move(self, id: int, item: Callable[..., Any], left: Callable[[Subscription[M]], None]) -> None:
        """Goes on as the item with another id, on another stream."""
        self.id = id
        self._item = item
        self._left = left

    def take_last(self, frame: bus_pb2.SubscribeResponse) -> None:
        """Takes a frame that the stream brings which it has left."""
        self.take_good(frame)

    @property
    def is_over(self) -> bool:
        """Whether nobody wants more of it."""
        return self._closed or self._ended is not None

    @property
    def has_started(self) -> bool:
        """Whether the service has registered it, now or on a stream that was lost."""
        return self._started.done()

    @abstractmethod
    def start(self) -> None:
        """Asks the service for it."""

    def stream_lost(self) -> None:
        """The stream is down; `start` is called when it is up again."""

    @abstractmethod
    def _run(self, deliveries: bus_pb2.SubscribeResponse.Deliveries) -> deque[Any]:
        """What waits of a frame that came."""

    @abstractmethod
    def _open(self, waiting: Any) -> M | None:
        """The message of what waited; None if it is to be passed over."""

    @abstractmethod
    def _call(self, callback: Callable[[M], Awaitable[None]], message: M) -> Awaitable[None]:
        """Gives a message to a callback, and waits for it."""

    def _take_other(self, frame: bus_pb2.SubscribeResponse) -> None:
        """Takes a frame that is neither `deliveries` nor `started`."""

    def _take_started(self, started: bus_pb2.SubscribeResponse.Started) -> None:
        """The service has registered it."""

    async def started(self) -> None:
        """Waits until the service has registered it, or raises why not."""
        await asyncio.shield(self._started)

    def take(self, frame: bus_pb2.SubscribeResponse) -> None:
        """Takes a frame that the service sent."""
        if self.handover is None:
            self._take(frame)
        else:
            self.handover.hold(frame)

    def take_good(self, frame: bus_pb2.SubscribeResponse) -> None:
        """Takes a frame that was held back."""
        if not self._closed:
            self._take(frame)

    def _take(self, frame: bus_pb2.SubscribeResponse) -> None:
        match frame.WhichOneof("frame"):
            case "deliveries":
                deliveries = frame.deliveries
                level = deliveries.priority - 1 if deliveries.priority else MEDIUM_LEVEL
                self._runs.push(level, self._run(deliveries))
                self._current = None
                self._arrived.set()
            case "started":
                self._take_started(frame.started)
                if not self._started.done():
                    self._started.set_result(None)
            case _:
                self._take_other(frame)

    def end(self, error: TrunklineError) -> None:
        """No more will come; what waits is still given out, then `next` raises the error."""
        self._ended = error
        self._never_started(error)
        self._arrived.set()

    def fail(self, error: TrunklineError) -> None:
        """Ends it since the service did. `on_error` gets why, unless `started` or a step of an iterator raises it."""
        has_started = self.has_started
        self.end(error)
        if has_started and self._on_error is not None:
            notify(self._on_error, error)
        elif self._workers:
            log.error("the service ended the subscription of %r: %s", self.pattern, error)

    def leave(self) -> None:
        """Ends it in its session; see `BusSession.end`."""
        self._left(self)

    def close(self) -> None:
        """Nobody wants more: what waits is forgotten; a callback that runs goes on to its end."""
        self._closed = True
        self._never_started(BusDisconnectedError(f"the subscription to {self.pattern!r} was ended before it began"))
        self._runs.clear()
        self._current = None
        self._arrived.set()

    def _never_started(self, error: TrunklineError) -> None:
        """Whoever waits for its start waits no longer."""
        if not self._started.done():
            self._started.set_exception(error)
            self._started.exception()

    def stop(self) -> list[asyncio.Task[None]]:
        """Tears off the callbacks that run, but for one that asked for it; returns those that were torn off."""
        self._stopped = True
        torn = [worker for worker in self._workers if worker is not asyncio.current_task()]
        for worker in torn:
            worker.cancel()
        if self._workers:
            self.close()
        return torn

    def run(self, callback: Callable[[M], Awaitable[None]], concurrency: int) -> None:
        """Gives each message to a callback, `concurrency` at once."""
        self._workers = [self._employ(callback) for _ in range(concurrency)]

    def is_ending(self) -> bool:
        """Whether its workers are asked to end: it was stopped, or every task is, because the event loop ends."""
        return self._stopped or all(task.cancelling() for task in asyncio.all_tasks())

    def is_at_work(self) -> bool:
        """Whether the code that runs now is one of its workers."""
        try:
            return asyncio.current_task() in self._workers
        except RuntimeError:  # no event loop runs
            return False

    def _employ(self, callback: Callable[[M], Awaitable[None]]) -> asyncio.Task[None]:
        worker = asyncio.ensure_future(self._work(callback))
        worker.add_done_callback(lambda gone: self._replace(gone, callback))
        return worker

    def _replace(self, worker: asyncio.Task[None], callback: Callable[[M], Awaitable[None]]) -> None:
        """Lets another worker take the place of one that did not end by itself: its own callback cancelled it, or
        whoever else."""
        error = None if worker.cancelled() else worker.exception()
        ended_by_itself = error is None and not worker.cancelled()
        if ended_by_itself or isinstance(error, KeyboardInterrupt) or self.is_ending():
            return
        if isinstance(error, Exception):
            log.error("something unexpected went wrong in the subscription of %r", self.pattern, exc_info=error)
        self._workers[self._workers.index(worker)] = self._employ(callback)

    async def next(self) -> M | None:
        """The next message, the higher priority first; None when it was closed. Raises what `end` was told when there
        is none left."""
        while True:
            message = self._pop()
            if message is not None:
                return message
            if self._ended is not None:
                raise self._ended
            if self._closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()

    async def _work(self, callback: Callable[[M], Awaitable[None]]) -> None:
        worker = asyncio.current_task()
        assert worker is not None
        while True:
            message = self._pop()
            if message is None:
                if self._closed or self._ended is not None:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await self._call(callback, message)
            if worker.cancelling():
                raise asyncio.CancelledError

    def _pop(self) -> M | None:
        while (run := self._current or self._next_run()) is not None:
            message = self._open(run.popleft())
            if message is not None:
                return message
        return None

    def _next_run(self) -> deque[Any] | None:
        while (level := self._runs.highest()) is not None:
            if level[0]:
                self._current = level[0]
                return self._current
            level.popleft()
        return None


class LiveSubscription(Subscription[AgentMessage]):
    """At most once: credit is granted again when half of the window is done with, which is when the next message is
    asked for. So with a window of one, a subscriber that takes no more was sent no more.

    Args:
        group: empty for none.
        window: messages that the service may send ahead.
        on_lagged: told how many messages the service dropped because this subscriber was too slow.
        observer: it only looks on, and does not count as somebody who could answer a request.
    """

    answers_requests = False
    """Whether it is a responder to the service."""

    def __init__(
        self,
        id: int,
        pattern: str,
        group: str,
        window: int | None,
        item: Callable[[int], Any],
        left: Callable[[Subscription[AgentMessage]], None],
        on_lagged: Callable[[int], None] | None,
        on_error: OnError | None,
        observer: bool = False,
    ) -> None:
        super().__init__(id, pattern, item, left, on_error)
        self._group = group
        self._observer = observer
        self._window = window or CLIENT_WINDOW_MESSAGES
        self._grant_at = (self._window + 1) // 2
        self._on_lagged = on_lagged
        self._done = 0
        """Messages taken since credit was last granted."""
        self._overlap: Overlap | None = None
        """What came on a stream that it left, and may come again."""

    def start(self) -> None:
        """What was sent ahead in an earlier life of the stream and waits here still counts."""
        self._done = 0
        self.fill_start(self._item(self.id).subscribe.start, max(1, self._window - self._held()))

    def fill_start(self, start: Any, credit: int | None = None) -> None:
        """Says what it wants; default: with its whole credit."""
        start.pattern = self.pattern
        start.group = self._group
        start.credit = credit or self._window
        start.observer = self._observer
        start.responder = self.answers_requests

    def _held(self) -> int:
        """Messages that wait here."""
        return sum(len(run) for level in self._runs.occupied() for run in level)

    @property
    def is_shared(self) -> bool:
        """Whether it is one of a group."""
        return bool(self._group)

    def overlap(self) -> Overlap:
        """Is called when another stream is about to bring what this one does."""
        self._overlap = self._overlap or Overlap()
        self._overlap.begin()
        return self._overlap

    def move(self, id: int, item: Callable[..., Any], left: Callable[[Subscription[AgentMessage]], None]) -> None:
        super().move(id, item, left)
        self._done = -self._held()  # those had the other stream's credit
        if self.handover is not None:
            self.handover.is_moved = True
            self._done -= self.handover.last_held

    def take_last(self, frame: bus_pb2.SubscribeResponse) -> None:
        self._done -= len(frame.deliveries.messages)
        if self.handover is not None and self.is_shared and not self._closed:
            self.handover.hold_last(frame)
        else:
            super().take_last(frame)

    def _run(self, deliveries: bus_pb2.SubscribeResponse.Deliveries) -> deque[Any]:
        messages = deliveries.messages
        run = deque(zip(messages, count(deliveries.first_sequence), repeat(deliveries.channel), strict=False))
        if self._overlap is not None:
            known = len(run)
            run = self._overlap.sift(run)
            self._done += known - len(run)
        return run

    def _take_other(self, frame: bus_pb2.SubscribeResponse) -> None:
        if frame.WhichOneof("frame") == "lagged":
            dropped = frame.lagged.dropped
            log.warning("subscription of %r was too slow: %d messages were dropped", self.pattern, dropped)
            notify(self._on_lagged, dropped)

    def _pop(self) -> AgentMessage | None:
        if self._done >= self._grant_at:
            self._grant()
        message = super()._pop()
        if message is None and self._done >= self._grant_at:  # what was passed over is done with
            self._grant()
        return message

    def _open(self, waiting: Any) -> AgentMessage | None:
        self._done += 1
        try:
            raw, sequence, channel = waiting
            wire = parse_message(raw)
        except InvalidMessageError:
            log.exception("a message on %r cannot be read and was skipped", self.pattern)
            return None
        message = decode_message(wire, channel, sequence)
        if wire.ttl_seconds and message.is_expired():
            log.debug("message %s expired while it waited here", message.message_id)
            return None
        return message

    def _call(self, callback: Callable[[AgentMessage], Awaitable[None]], message: AgentMessage) -> Awaitable[None]:
        return handle_live(self, callback, message)

    def _grant(self) -> None:
        """Lets the service send as many more as were taken."""
        if self._ended is None and not self._closed:
            self._item(self.id).subscribe.credit.messages = self._done
        self._done = 0
