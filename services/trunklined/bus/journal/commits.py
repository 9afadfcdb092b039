"""Commits: one at a time, each of all that gathered while the one before it waited for the disk."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from trunkline.errors import StorageError, TrunklineError
from trunklined.bus.engines.engine import JournalEngine
from trunklined.bus.write_batch import WriteBatch
from trunklined.rpc.histogram import Histogram

log = logging.getLogger(__name__)

COMMIT_BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Upper bounds, in seconds, of the buckets that durations of commits are counted in."""

RETRY_SECONDS: Final = 0.25
"""After a commit that failed, until the next is tried."""

COMPLAINT_SECONDS: Final = 10.0
"""How often the log says that commits fail, where some succeed in between."""

QUICK_SECONDS: Final = 0.0006
QUICK_COMMITS: Final = 32
"""A disk that took so little so often in a row is trusted to do so once more."""
LONE_SECONDS: Final = 0.0002
"""What comes so long after the last commit comes alone. Where many wait they share one, which is the thread's."""


class Work(Protocol):
    """What is committed."""

    def gather(self) -> WriteBatch | None:
        """Everything that waits, as one batch; None if nothing does."""

    def landed(self) -> None:
        """What was gathered last is durable."""

    def failed(self, error: TrunklineError) -> bool:
        """It is not. Returns whether something was given up, so that there may be room for the rest."""

    def waits(self) -> bool:
        """Whether there is more to gather."""


class Commits:
    """Runs in one event loop; only the engine's commit runs in a thread, and with a large batch its writing too.

    Args:
        engine: what commits.
        work: what there is to commit.
    """

    def __init__(self, engine: JournalEngine, work: Work) -> None:
        self.latency = Histogram(COMMIT_BOUNDS)
        self.on_trouble: Callable[[TrunklineError | None], None] | None = None
        """Called when commits begin to fail, with the error, and when they succeed again."""
        self._engine = engine
        self._work = work
        self._pool = ThreadPoolExecutor(1, "bus-commit")
        self._scheduled = False
        self._gathering = False
        self._running = False
        self._retry: asyncio.TimerHandle | None = None
        self._trouble: TrunklineError | None = None
        self._refused_until = 0.0
        """Until then, in the loop's time, what is to be stored is refused, if there is trouble."""
        self._complained_at = float("-inf")
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._abandoned = False
        """Nothing is told of a commit that runs, and none follows."""
        self._began = self._ended = 0.0
        self._quick = 0
        """How many commits in a row were quick."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for a commit, and none runs."""
        return self._idle.is_set()

    def schedule(self) -> None:
        """Something arrived: a commit follows, once the one that runs is done."""
        if self._scheduled or self._gathering or self._running or self._retry is not None or self._abandoned:
            return
        self._scheduled = True
        self._idle.clear()
        asyncio.get_running_loop().call_soon(self._begin_scheduled)

    def begin(self) -> None:
        """Begins the commit now that would begin in the loop's next turn: whoever causes much at once says so when all
        is caused."""
        if self._scheduled:
            self._begin()

    def _begin_scheduled(self) -> None:
        if self._scheduled:
            self._begin()

    def check_health(self) -> None:
        """Raises the error of the last commit, if it failed: what needs one need not begin."""
        if self._trouble is not None:
            raise self._trouble

    def check_disk(self) -> None:
        """Raises the error of the last commit, if it failed a moment ago: what would only be refused when the next one
        is tried is refused at once, and the disk is left alone meanwhile."""
        if self._trouble is not None and asyncio.get_running_loop().time() < self._refused_until:
            raise self._trouble

    async def settled(self) -> None:
        """Waits until nothing waits for a commit."""
        await self._idle.wait()

    async def close(self) -> None:
        """Commits what waits, as far as that goes, and commits no more."""
        self._closing = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.schedule()
        await self.settled()
        await asyncio.to_thread(self._pool.shutdown)

    async def abandon(self) -> None:
        """Commits no more, and tells nobody what becomes of the commit that runs; returns when it is over. What waits
        is given up."""
        self._abandoned = self._closing = True
        self._scheduled = False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._idle.set()
        await asyncio.to_thread(self._pool.shutdown)

    def maintain(self, step: Callable[[], None]) -> bool:
        """Does something in the commits' thread, if it is free; False if it is not."""
        if self._running or self._scheduled or self._closing:
            return False
        self._running = True
        self._idle.clear()
        future = asyncio.get_running_loop().run_in_executor(self._pool, step)
        future.add_done_callback(self._maintained)
        return True

    def _maintained(self, future: asyncio.Future[None]) -> None:
        self._running = False
        if self._abandoned:
            return
        if (error := future.exception()) is not None:
            log.error("the journal could not be tidied up: %s", error)
        self._go_on()

    def _begin(self) -> None:
        self._scheduled = False
        self._retry = None
        self._gathering = True
        try:
            writes = self._work.gather()
        finally:
            self._gathering = False
        if writes is None and self._trouble is None:
            self._go_on()
            return
        if writes is None:
            writes = WriteBatch()  # whether the disk takes anything again is to be known before somebody needs it
        self._running = True
        if writes.is_large and self._engine.writes_beside_reads:
            self._began = time.perf_counter()
            future = asyncio.get_running_loop().run_in_executor(self._pool, self._write, writes)
            future.add_done_callback(self._finish)
            return
        try:
            self._engine.apply(writes)
        except TrunklineError as error:
            self._fail(error)
            return
        self._began = time.perf_counter()
        is_lone = writes.is_small and self._began - self._ended >= LONE_SECONDS
        if is_lone and self._quick >= QUICK_COMMITS and not self._engine.waits_for_network:
            self._commit_here()
            return
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._engine.commit)
        future.add_done_callback(self._finish)

    def _write(self, writes: WriteBatch) -> None:
        self._engine.apply(writes)
        self._engine.commit()

    def _commit_here(self) -> None:
        """A small commit on a quick disk takes less than handing it to a thread and back, which is a fifth of what a
        lone publisher waits for. One that was slow sends the next ones to the thread."""
        error: TrunklineError | None = None
        try:
            self._engine.commit()
        except TrunklineError as failure:
            error = failure
        self._end(error)

    def _finish(self, future: asyncio.Future[None]) -> None:
        self._end(future.exception())

    def _end(self, error: BaseException | None) -> None:
        if self._abandoned:
            if error is None:
                log.warning("a commit was done, and nobody is told: the journal is another's")
            return
        if error is not None:
            if not isinstance(error, TrunklineError):
                log.error("the commit failed in a way that nobody foresaw", exc_info=error)
                error = StorageError(f"the journal's commit failed: {error}")
            self._fail(error)
            return
        if self._trouble is not None:
            log.info("the journal's commits succeed again")
            self._set_trouble(None)
        took = time.perf_counter() - self._began
        self._ended = time.perf_counter()
        self._quick = self._quick + 1 if took < QUICK_SECONDS else 0
        self.latency.observe(took)
        self._work.landed()
        self._running = False
        self._go_on()

    def _fail(self, error: TrunklineError) -> None:
        self._engine.rollback()
        now = asyncio.get_running_loop().time()
        if self._trouble is None and now - self._complained_at > COMPLAINT_SECONDS:
            log.error("the journal's commit failed: %s", error)
            self._complained_at = now
        self._set_trouble(error)
        gave_up = self._work.failed(error)
        self._running = False
        if self._closing:
            log.error("the journal is closed with changes that could not be written")
            self._idle.set()
            return
        wait = 0.0 if gave_up and self._work.waits() else RETRY_SECONDS
        self._refused_until = now + wait
        self._retry = asyncio.get_running_loop().call_later(wait, self._begin)

    def _set_trouble(self, error: TrunklineError | None) -> None:
        changed = type(error) is not type(self._trouble)
        self._trouble = error
        if changed and self.on_trouble is not None:
            self.on_trouble(error)

    def _go_on(self) -> None:
        if self._work.waits():
            self.schedule()
        elif not self._scheduled:
            self._idle.set()
