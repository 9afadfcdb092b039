"""Background: the event loop in a thread that all faces share."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from trunkline.errors import TrunklineError
from trunkline.sync.loop_thread import LoopThread

T = TypeVar("T")


class _SharedLoop:
    """The loop thread that all faces share, because grpc.aio wants one loop a process. It starts with the first user
    and ends with the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._thread: LoopThread | None = None

    def acquire(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            self._users += 1
            if self._thread is None:
                self._thread = LoopThread("trunkline.sync")
            return self._thread.loop

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users or self._thread is None:
                return
            thread, self._thread = self._thread, None
        thread.close()

    def runs(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Whether a loop is the one that runs; false of one that was here before a fork."""
        thread = self._thread
        return thread is not None and thread.loop is loop

    def forget(self) -> None:
        """Is called in the child of a fork, which has none of its parent's threads."""
        self.__init__()  # type: ignore[misc]  # as new: also the lock, which another thread may have held


_shared = _SharedLoop()
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
            if self._loop is None or not _shared.runs(self._loop):
                self._loop = _shared.acquire()
            return self._loop

    def close(self) -> None:
        """Lets go of the loop, which ends with its last user; idempotent. What was submitted must be done."""
        with self._lock:
            loop, self._loop = self._loop, None
        if _shared.runs(loop):
            _shared.release()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop; None while this is not open, or after a fork."""
        return self._loop if _shared.runs(self._loop) else None

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Begins to run a coroutine; cancelling the future cancels it.

        Raises:
            TrunklineError: this is not open.
        """
        loop = self.loop
        if loop is None:
            coroutine.close()
            raise TrunklineError("not open: call open() first")
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
