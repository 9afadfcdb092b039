"""Counting: how much waits for a durable subscription that was made or moved, counted beside everything else."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from trunkline.errors import StorageError, TrunklineError
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.journal.publication import Done

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Counting:
    """Counts in a thread, of the journal as it was at one moment; what changes from then on is counted as it comes. One
    after the other: a count of ten million rows takes seconds, and reads one of SQLite's snapshots so long.

    Args:
        context: the engine, and what is staged.
        follow: does something behind what waits for a commit now.
    """

    def __init__(self, context: JournalContext, follow: Callable[[Callable[[], None]], None]) -> None:
        self._context = context
        self._follow = follow
        self._waiting: deque[tuple[DurableSubscription, Done]] = deque()
        self._counts = False
        self._closed = False
        self._pool = ThreadPoolExecutor(1, "bus-count")

    def want(self, durable: DurableSubscription, done: Done) -> None:
        """Has it counted what waits for a durable subscription; `done` is told when that is durable."""
        self._waiting.append((durable, done))
        if not self._counts:
            self._counts = True
            self._follow(self._next)

    async def run(self, step: Callable[[], _T]) -> _T:
        """Does something in the thread, where the engine can be read there; else here."""
        if not self._context.engine.writes_beside_reads:
            return step()
        return await asyncio.get_running_loop().run_in_executor(self._pool, step)

    async def close(self) -> None:
        """Waits for what the thread does. What is not counted then is when it is loaded."""
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown)

    def _next(self) -> None:
        """Nothing is being committed: what the engine has is all that there is, but for what is staged to go."""
        if not self._waiting or self._closed:
            self._counts = False
            return
        durable, done = self._waiting.popleft()
        backlog, staging = durable.backlog, self._context.staging
        start = backlog.begin_count()
        if start is None:  # it was counted with another, or is no more
            self._end(done, None)
            return
        try:
            count = self._context.engine.counting(
                durable.channels, durable.id, start, [*staging.removed, *staging.swept]
            )
        except TrunklineError as error:
            self._end(done, error)
            return
        counted = asyncio.ensure_future(self.run(count))
        counted.add_done_callback(partial(self._counted, durable, backlog.count_number, done))

    def _counted(self, durable: DurableSubscription, number: int, done: Done, counted: asyncio.Future[int]) -> None:
        if counted.cancelled() or self._closed:
            return
        error = counted.exception()
        if error is None:
            durable.counted(number, counted.result())
        elif not isinstance(error, TrunklineError):
            log.error("what waits for %r could not be counted", durable.name, exc_info=error)
            error = StorageError(f"what waits for {durable.name!r} could not be counted: {error}")
        self._end(done, error)

    def _end(self, done: Done, error: TrunklineError | None) -> None:
        self._context.staging.after.append(lambda: done(error))
        self._follow(self._next)
