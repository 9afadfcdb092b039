"""WorkThread: the thread in which a program waits for its disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

_T = TypeVar("_T")


class WorkThread:
    """Does one piece of work after the other, for one event loop.

    `run_in_executor` does the same with two futures chained, and takes twice the CPU and two turns of the loop more.

    Args:
        name: of the thread, for people.
    """

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[], _T]) -> _T:
        """Returns what the work returns, or raises what it raises. Work that was begun is finished, also where the
        caller is cancelled."""
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._work.put((future, work))
        return await future

    async def close(self) -> None:
        """Ends the thread, after all work that it was given; idempotent."""
        if self._thread.is_alive():
            self._work.put(None)
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (given := self._work.get()) is not None:
            future, work = given
            outcome: Any = None
            error: BaseException | None = None
            try:
                outcome = work()
            except BaseException as raised:  # noqa: BLE001  # whatever it is, it is the caller's
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                future.get_loop().call_soon_threadsafe(_settle, future, outcome, error)


def _settle(future: asyncio.Future[Any], outcome: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(outcome)
    else:
        future.set_exception(error)
