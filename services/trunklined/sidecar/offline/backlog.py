"""Backlog: the messages that the sidecar holds for the bus, bounded, on disk."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from trunkline.errors import TrunklineError
from trunklined.relay import tables
from trunklined.relay.journal import Arrival, HeldChannel, Refusal, Stock, size_of
from trunklined.relay.tables import TableJournal
from trunklined.sidecar.offline.backlog_file import BacklogFile

log = logging.getLogger(__name__)

T = TypeVar("T")


class _Waiting(NamedTuple):
    """Messages that wait for a commit, and the future of their caller."""

    arrivals: Sequence[Arrival]
    sent_at: float | None
    answer: Any
    kept: asyncio.Future[Any]


class Backlog(TableJournal):
    """Runs in one event loop; the file is worked on in a thread. What arrives while one commit waits for the disk
    shares the next.

    Args:
        path: the file; made where there is none.
        max_messages: messages that are held or were refused; beyond it OVERLOADED.
        max_bytes: their bytes; beyond it OVERLOADED.
    """

    def __init__(self, path: Path, max_messages: int, max_bytes: int) -> None:
        stock = Stock(
            "the bus is away, and the sidecar holds no more for it",
            max_messages,
            max_bytes,
            messages_limit="max_stored_messages",
            bytes_limit="max_stored_bytes",
        )
        super().__init__(stock, self._run)
        self._file = BacklogFile(path)
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "backlog")

    async def open(self) -> None:
        """Opens the file and counts what it holds.

        Raises:
            StorageError: another sidecar has the file, or it cannot be opened or trusted.
        """
        self.stock.open(await self._in_thread(self._file.open))

    async def close(self) -> None:
        """Closes the file, when what was taken is durable. Idempotent."""
        await self.settled()
        await asyncio.to_thread(self._thread.shutdown)
        self._file.close()

    def keep(self, arrivals: Sequence[Arrival], answer: T, sent_at: float | None = None) -> asyncio.Future[T]:
        """Holds messages; the future has the answer when they are durable, or fails as a whole.

        Args:
            arrivals: the messages.
            answer: the result.
            sent_at: when they were sent to the bus, which did not answer, in UNIX time. None: they were not.

        Raises:
            OverloadedError: a bound is reached; none of them is held.
        """
        self.stock.take(arrivals)
        kept: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(arrivals, sent_at, answer, kept))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="backlog")
        return kept

    async def look(self, limit: int) -> tuple[list[HeldChannel], list[Refusal]]:
        """Returns the channels of which most messages are held, and the messages that were refused last.

        Args:
            limit: how many of each at the most.
        """
        return await self._in_thread(
            lambda: self._file.read(lambda it: (tables.channels_of(it, limit), tables.refusals_of(it, limit)))
        )

    async def settled(self) -> None:
        """Waits until nothing waits for a commit."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def tidy(self) -> None:
        """Gives unused room of the file back to the disk."""
        try:
            await self._in_thread(self._file.tidy)
        except sqlite3.Error as error:
            log.warning("the backlog's file keeps room that it does not need: %s", error)

    async def _write(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            arrivals = [arrival for each in taken for arrival in each.arrivals]
            try:
                await self._run(partial(_add, taken))
            except TrunklineError as error:
                log.error("%d messages could not be held: %s", len(arrivals), error)
                self.stock.give_back(len(arrivals), size_of(arrivals))
                for each in taken:
                    if not each.kept.done():
                        each.kept.set_exception(error)
            else:
                self.stock.keep(arrivals)
                for each in taken:
                    if not each.kept.done():
                        each.kept.set_result(each.answer)
        self._writing = None

    async def _run(self, step: Callable[[sqlite3.Connection], T]) -> T:
        return await self._in_thread(lambda: self._file.run(step))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _add(taken: Sequence[_Waiting], connection: sqlite3.Connection) -> None:
    for each in taken:
        tables.add(connection, each.arrivals, each.sent_at)
