"""Ownership: which of several replicas has the journal open. At most one at a time has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from trunkline.errors import BusDisconnectedError, TrunklineError
from trunklined.bus.broker import Broker
from trunklined.bus.engines.engine import JournalEngine

log = structlog.get_logger()

RETRY_SECONDS: Final = 1.0
"""After the journal could not be opened, until it is tried again."""


class SharedEngine(JournalEngine, Protocol):
    """An engine whose contents every replica can reach."""

    lost_commits: int
    """How many commits that were answered have been lost, as far as is known when it is loaded."""

    def load(self) -> int:
        """Fetches the contents, in any thread; returns how many rows there are."""


class OwnershipLease(Protocol):
    """What one replica at a time holds."""

    @property
    def owner(self) -> str | None:
        """The address of the replica that does; None: none does, or it is not known."""

    def new_engine(self) -> SharedEngine:
        """Returns an engine for the term that begins, or one that is not to be opened."""


class Ownership:
    """Opens the journal when the lease is held, and lets go of it when it is not.

    A replica that does not own the journal has an empty one, which is not opened and not used.

    Args:
        broker: gets the journal.
        lease: of the ownership.
    """

    def __init__(self, broker: Broker, lease: OwnershipLease) -> None:
        self.address = ""
        """Of this replica, as the others know it."""
        self.is_here = False
        """Whether the journal is open here."""
        self.takeovers = 0
        """How often this replica took the journal over."""
        self.on_gained: Callable[[], None] = lambda: None
        """Called when the journal is open here."""
        self.on_lost: Callable[[TrunklineError], None] = lambda error: None
        """Called when it is another's, with the error for whoever used it."""
        self.ended: asyncio.Future[TrunklineError]
        """Has that error when the journal that is open here is another's."""
        self._broker = broker
        self._lease = lease
        self._opening: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def owner(self) -> str | None:
        """The address of the replica that owns the journal; None: none does, or it is not known."""
        return self._lease.owner

    def begin(self) -> None:
        """The lease is held: opens the journal."""
        self._opening = asyncio.create_task(self._take_over(), name="journal-takeover")

    def end(self) -> None:
        """The lease is held no more. Idempotent."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if not self.is_here:
            return
        self.is_here = False
        error = BusDisconnectedError(
            "this replica does not own the journal any more; connect again", details={"why": "not owner"}
        )
        log.warning("the journal is another replica's")
        journal, self._broker.journal = self._broker.journal, self._broker.new_journal(self._lease.new_engine())
        self.ended.set_result(error)
        self.on_lost(error)
        self._leave(asyncio.create_task(journal.abandon(), name="journal-abandon"))

    def note_lost_commits(self, commits: int) -> None:
        """So many commits that were answered have been lost: who subscribes durably is told, if it is more than was
        known."""
        if commits > self._broker.lost_commits:
            self._broker.lost_commits = commits
            for durable in self._broker.journal.durables:
                durable.tell_changed()

    async def close(self) -> None:
        """Closes the journal, if it is open here, when what was taken is durable; before the lease is given back."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
            self._opening = None
        if self.is_here:
            await self._broker.journal.close()
            self.is_here = False
        if self._leaving:
            await asyncio.wait(self._leaving)

    async def _take_over(self) -> None:
        began = time.monotonic()
        while True:
            if await self._open(began):
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _open(self, began: float) -> bool:
        engine = self._lease.new_engine()
        loading = asyncio.create_task(asyncio.to_thread(engine.load))
        try:
            rows = await asyncio.shield(loading)
            journal = self._broker.new_journal(engine)
            await journal.open_beside_others()
        except Exception as error:  # whatever it is, another try or another replica may do better
            known = isinstance(error, TrunklineError)
            log.error("the journal could not be taken over", reason=str(error), exc_info=None if known else error)
            await asyncio.to_thread(engine.close)
            return False
        except BaseException:
            self._leave(asyncio.create_task(_close_after(loading, engine)))
            raise
        self._broker.journal = journal
        self._broker.lost_commits = max(self._broker.lost_commits, engine.lost_commits)
        self.ended = asyncio.get_running_loop().create_future()
        self.is_here = True
        self.takeovers += 1
        log.info("took the journal over", rows=rows, seconds=round(time.monotonic() - began, 3))
        self._opening = None
        self.on_gained()
        return True

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._leaving.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._leaving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the journal could not be left", exc_info=error)


async def _close_after(loading: asyncio.Task[int], engine: JournalEngine) -> None:
    """Closes an engine when nothing is read into it any more."""
    await asyncio.wait((loading,))
    if not loading.cancelled():
        loading.exception()  # looked at, or asyncio complains of it
    await asyncio.to_thread(engine.close)
