"""MemoryConsumer: one who takes from a durable subscription of a bus in memory."""

from __future__ import annotations

import asyncio
import logging

from trunkline.bus.durable import DurableMessage
from trunkline.bus.handling import DurableCallback, handle
from trunkline.bus.memory.durable import MemoryDurable
from trunkline.errors import BusNotConnectedError, TrunklineError

log = logging.getLogger(__name__)


class MemoryConsumer:
    """A callback or an iterator; nothing is sent ahead of it.

    Args:
        durable: what it takes from.
        all: those that there are; it is among them until it leaves.
    """

    def __init__(self, durable: MemoryDurable, all: list[MemoryConsumer]) -> None:
        self.pattern = durable.pattern
        self._durable = durable
        self._all = all
        self._all.append(self)
        self._closed = False
        self._ended: BusNotConnectedError | None = None
        self._workers: list[asyncio.Task[None]] = []
        self.acked = durable.acked
        self.nakked = durable.nakked

    async def next(self) -> DurableMessage | None:
        """The next message; None when it is closed. Raises why there is none any more, when the bus is disconnected."""
        message = await self._durable.next(lambda: self._closed)
        if message is None and self._ended is not None:
            raise self._ended
        return message

    def run(self, callback: DurableCallback, concurrency: int) -> None:
        """Gives each message to a callback, `concurrency` at once, in tasks of its own."""
        self._workers = [asyncio.ensure_future(self._work(callback)) for _ in range(concurrency)]

    def leave(self) -> None:
        """Takes no more; a callback that runs goes on to its end. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._all.remove(self)
        self._durable.wake()

    def stop(self) -> None:
        """Tears off the callbacks that run, but for one that asked for it."""
        if not self._workers and self._ended is None:  # an iterator that waits is told why there is no more
            self._ended = BusNotConnectedError("the bus was disconnected")
        self.leave()
        for worker in self._workers:
            if worker is not asyncio.current_task():
                worker.cancel()

    async def _work(self, callback: DurableCallback) -> None:
        try:
            while (message := await self.next()) is not None:
                await handle(self, callback, message)
                await asyncio.sleep(0)  # a callback that never waits leaves something to the others too
        except TrunklineError as error:
            log.error("the subscription of %r ended: %s", self.pattern, error)
