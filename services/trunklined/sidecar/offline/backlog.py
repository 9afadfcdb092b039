"""Backlog: the messages that the sidecar holds for the bus, bounded, on disk."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from trunkline.errors import OverloadedError, TrunklineError
from trunklined.sidecar.offline.backlog_file import Arrival, BacklogFile, Held

log = logging.getLogger(__name__)

T = TypeVar("T")


class _Waiting(NamedTuple):
    """Messages that wait for a commit, and the future of their caller."""

    arrivals: Sequence[Arrival]
    answer: Any
    kept: asyncio.Future[Any]

    @property
    def size(self) -> int:
        return sum(len(each.message) for each in self.arrivals)


class Backlog:
    """Runs in one event loop; the file is worked on in a thread. What arrives while one commit waits for the disk
    shares the next.

    Args:
        path: the file; made where there is none.
        max_messages: messages that are held or were refused; beyond it OVERLOADED.
        max_bytes: their bytes; beyond it OVERLOADED.
    """

    def __init__(self, path: Path, max_messages: int, max_bytes: int) -> None:
        self.messages = 0
        """Messages that are held now, with those that wait for a commit."""
        self.bytes = 0
        """Their bytes."""
        self.refused = 0
        """Messages that are set aside in the file, since the bus will never take them."""
        self.refused_bytes = 0
        """Their bytes."""
        self.kept = 0
        """Messages that became durable since the start."""
        self._file = BacklogFile(path)
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "backlog")

    async def open(self) -> None:
        """Opens the file and counts what it holds.

        Raises:
            StorageError: another sidecar has the file, or it cannot be opened or trusted.
        """
        contents = await self._run(self._file.open)
        self.messages, self.bytes, self.refused, self.refused_bytes = contents

    async def close(self) -> None:
        """Closes the file, when what was taken is durable. Idempotent."""
        await self.settled()
        await asyncio.to_thread(self._thread.shutdown)
        self._file.close()

    def keep(self, arrivals: Sequence[Arrival], answer: T) -> asyncio.Future[T]:
        """Holds messages; the future has the answer when they are durable, or fails as a whole.

        Raises:
            OverloadedError: a bound is reached; none of them is held.
        """
        kept: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(arrivals, answer, kept)
        size = waiting.size
        for name, has, more, maximum in (
            ("max_stored_messages", self.messages + self.refused, len(arrivals), self._max_messages),
            ("max_stored_bytes", self.bytes + self.refused_bytes, size, self._max_bytes),
        ):
            if has + more > maximum:
                raise OverloadedError(
                    f"the bus is away, and the sidecar holds no more for it: {name} is {maximum}, it has {has}, and "
                    f"{more} came",
                    details={"limit": name, "maximum": maximum, "held": has},
                )
        self.messages += len(arrivals)
        self.bytes += size
        self._waiting.append(waiting)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="backlog")
        return kept

    async def settled(self) -> None:
        """Waits until nothing waits for a commit."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def next(self, done: Sequence[Held], limit: int, now: float) -> list[list[Held]]:
        """Forgets what the bus has, and returns the next batches; see `BacklogFile.next`."""
        batches = await self._run(lambda: self._file.next(done, limit, now))
        self._drop(done)
        return batches

    async def unsend(self, batch: Sequence[Held]) -> None:
        """Notes that the bus has stored none of a batch."""
        await self._run(lambda: self._file.unsend(batch))

    async def refuse(self, held: Held, message_id: str, error: TrunklineError, now: float) -> None:
        """Sets aside a message that the bus will never take."""
        await self._run(lambda: self._file.refuse(held, message_id, error.error_code, error.message, now))
        self._drop([held])
        self.refused += 1
        self.refused_bytes += len(held.message)

    async def tidy(self) -> None:
        """Gives unused room of the file back to the disk."""
        try:
            await self._run(self._file.tidy)
        except sqlite3.Error as error:
            log.warning("the backlog's file keeps room that it does not need: %s", error)

    async def _write(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            arrivals = [arrival for each in taken for arrival in each.arrivals]
            try:
                await self._run(lambda arrivals=arrivals: self._file.keep(arrivals))  # type: ignore[misc]
            except TrunklineError as error:
                log.error("%d messages could not be held: %s", len(arrivals), error)
                self.messages -= len(arrivals)
                self.bytes -= sum(each.size for each in taken)
                for each in taken:
                    if not each.kept.done():
                        each.kept.set_exception(error)
            else:
                self.kept += len(arrivals)
                for each in taken:
                    if not each.kept.done():
                        each.kept.set_result(each.answer)
        self._writing = None

    def _drop(self, done: Sequence[Held]) -> None:
        self.messages -= len(done)
        self.bytes -= sum(len(each.message) for each in done)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
