"""Background: the event loop in a thread that all faces share."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, Self, TypeVar

from trunkline.errors import TrunklineError

T = TypeVar("T")

_SETTLE_SECONDS: Final = 1.0
"""What tasks that were cancelled get to end before their loop is closed."""


class _LoopThread:
    """An event loop in a daemon thread: grpc.aio wants one loop a process, so all faces share this one. It starts with
    the first user and ends with the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def acquire(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            self._users += 1
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="trunkline.sync", daemon=True)
                self._thread.start()
            return self._loop

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users or self._loop is None or self._thread is None:
                return
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        asyncio.run_coroutine_threadsafe(_stop_settled(loop), loop)
        if thread is not threading.current_thread():
            thread.join()
            loop.close()

    def forget(self) -> None:
        """Is called in the child of a fork, which has none of its parent's threads."""
        self.__init__()  # type: ignore[misc]  # as new: also the lock, which another thread may have held


async def _stop_settled(loop: asyncio.AbstractEventLoop) -> None:
    """Stops a loop once what was cancelled in it has ended: grpc's calls need another turn, and asyncio complains of
    tasks that a loop is closed upon."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    if rest:
        await asyncio.wait(rest, timeout=_SETTLE_SECONDS)
    loop.stop()


_shared = _LoopThread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared.forget)


class Background:
    """Runs coroutines in the loop of all faces: whatever uses the asynchronous object behind a face must run there.

    Open from `open()` until `close()`; usable as `with`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> asyncio.AbstractEventLoop:
        """Starts the loop, where nobody else has; idempotent. Returns it."""
        with self._lock:
            if self._loop is None:
                self._loop = _shared.acquire()
            return self._loop

    def close(self) -> None:
        """Lets go of the loop, which ends with its last user; idempotent. What was submitted must be done."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            _shared.release()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop; None while this is not open."""
        return self._loop

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Begins to run a coroutine; cancelling the future cancels it.

        Raises:
            TrunklineError: this is not open.
        """
        loop = self._loop
        if loop is None:
            coroutine.close()
            raise TrunklineError("not open: call open() first")
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
