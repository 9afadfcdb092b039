"""LiveSubscription: what one subscription's messages go through between the line and the callback."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from trunkline.codec import decode_message
from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.lanes import MEDIUM_LANE, Lanes
from trunkline.limits import CLIENT_WINDOW_MESSAGES
from trunkline.message_bus import MessageCallback
from trunkline.models import AgentMessage
from trunkline.v1 import bus_pb2

log = logging.getLogger(__name__)


def tell(listener: Callable[..., object] | None, *words: object) -> None:
    """Calls what a user wants to be told by; its exception is logged and hits nobody else."""
    if listener is None:
        return
    try:
        listener(*words)
    except Exception:
        log.exception("%r failed", listener)


class LiveSubscription:
    """One interest of this client.

    What the service sent ahead waits here, by priority, at most `window` messages; credit is granted again when half
    of them are done. Each life of the line opens the subscription anew under the same id.

    Args:
        id: its item id on the line.
        pattern: channel or pattern.
        group: empty for none.
        window: messages that the service may send ahead.
        item: a new ClientItem with an id, on its way to the service.
        on_lagged: told how many messages the service dropped because this subscriber was too slow.
        observer: it only looks on, and does not count as somebody who could answer a request.
    """

    def __init__(
        self,
        id: int,
        pattern: str,
        group: str,
        window: int | None,
        item: Callable[[int], Any],
        on_lagged: Callable[[int], None] | None,
        observer: bool = False,
    ) -> None:
        self.id = id
        self.pattern = pattern
        self._group = group
        self._observer = observer
        self._window = window or CLIENT_WINDOW_MESSAGES
        self._grant_at = (self._window + 1) // 2
        self._item = item
        self._on_lagged = on_lagged
        self._runs: Lanes[deque[Any]] = Lanes()
        self._current: deque[Any] | None = None
        """The run that goes next; None when that must be looked up, since something arrived or it is used up."""
        self._arrived = asyncio.Event()
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._done = 0
        """Messages taken since credit was last granted."""
        self._workers: list[asyncio.Task[None]] = []
        self._ended: TrunklineError | None = None
        self._closed = False

    def start(self) -> None:
        """Asks the service for it; what was sent ahead in an earlier life of the line and waits here still counts."""
        held = sum(len(run) for lane in self._runs.occupied() for run in lane)
        self._done = 0
        credit = max(1, self._window - held)
        start = self._item(self.id).subscribe.start
        start.pattern = self.pattern
        start.group = self._group
        start.credit = credit
        start.observer = self._observer

    async def started(self) -> None:
        """Waits until the service has registered it, or raises why not."""
        await asyncio.shield(self._started)

    def take(self, frame: bus_pb2.SubscribeResponse) -> None:
        """Takes a frame that the service sent."""
        match frame.WhichOneof("frame"):
            case "deliveries":
                deliveries = frame.deliveries
                lane = deliveries.priority - 1 if deliveries.priority else MEDIUM_LANE
                self._runs.push(lane, deque(deliveries.messages))
                self._current = None
                self._arrived.set()
            case "started":
                if not self._started.done():
                    self._started.set_result(None)
            case "lagged":
                dropped = frame.lagged.dropped
                log.warning("subscription of %r was too slow: %d messages were dropped", self.pattern, dropped)
                tell(self._on_lagged, dropped)

    def end(self, error: TrunklineError) -> None:
        """No more will come; what waits is still given out, then `next` raises the error."""
        self._ended = error
        if not self._started.done():
            self._started.set_exception(error)
            self._started.exception()
        self._arrived.set()

    def close(self) -> None:
        """Nobody wants more: what waits is forgotten; a callback that runs goes on to its end."""
        self._closed = True
        self._runs.clear()
        self._current = None
        self._arrived.set()

    def stop(self) -> None:
        """Tears off the callbacks that run, but for one that asked for it."""
        for worker in self._workers:
            if worker is not asyncio.current_task():
                worker.cancel()
        if self._workers:
            self.close()

    def run(self, callback: MessageCallback, concurrency: int) -> None:
        """Gives each message to a callback, `concurrency` at once."""
        self._workers = [asyncio.ensure_future(self._work(callback)) for _ in range(concurrency)]

    async def next(self) -> AgentMessage | None:
        """The next message, the higher priority first; None when it was closed. Raises what `end` was told when there
        is none left."""
        while True:
            message = self._pop()
            if message is not None or self._closed:
                return message
            if self._ended is not None:
                raise self._ended
            self._arrived.clear()
            await self._arrived.wait()

    async def _work(self, callback: MessageCallback) -> None:
        while True:
            message = self._pop()
            if message is None:
                if self._closed or self._ended is not None:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            try:
                await callback(message)
            except Exception:
                log.exception(
                    "callback of %r failed on message %s from %s", self.pattern, message.message_id, message.sender_id
                )

    def _pop(self) -> AgentMessage | None:
        while (run := self._current or self._next_run()) is not None:
            wire = run.popleft()
            self._done += 1
            if self._done >= self._grant_at:
                self._grant()
            try:
                message = decode_message(wire)
            except InvalidMessageError:
                log.exception("a message on %r cannot be read and was skipped", self.pattern)
                continue
            if message.ttl_seconds is not None and message.is_expired():
                log.debug("message %s expired while it waited here", message.message_id)
                continue
            return message
        return None

    def _next_run(self) -> deque[Any] | None:
        while (lane := self._runs.highest()) is not None:
            if lane[0]:
                self._current = lane[0]
                return self._current
            lane.popleft()
        return None

    def _grant(self) -> None:
        """Lets the service send as many more as were taken."""
        if self._ended is None:
            self._item(self.id).subscribe.credit.messages = self._done
        self._done = 0
