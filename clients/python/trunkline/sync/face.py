"""Face: how a synchronous object waits for its asynchronous one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Generator
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

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


async def _stop_settled(loop: asyncio.AbstractEventLoop) -> None:
    """Stops a loop once what was cancelled in it has ended: grpc's calls need another turn, and asyncio complains of
    tasks that a loop is closed upon."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    if rest:
        await asyncio.wait(rest, timeout=_SETTLE_SECONDS)
    loop.stop()


_shared = _LoopThread()


class _Asynchronous(Protocol):
    """What every asynchronous object has."""

    async def connect(self) -> None: ...

    async def disconnect(self) -> None: ...

    @property
    def is_connected(self) -> bool: ...


class Face:
    """What all faces share: the loop while connected, and the waiting."""

    def __init__(self, asynchronous: _Asynchronous) -> None:
        self._asynchronous = asynchronous
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def connect(self) -> None:
        """See the asynchronous class."""
        with self._lock:
            if self._loop is not None:
                return
            loop = _shared.acquire()
            try:
                asyncio.run_coroutine_threadsafe(self._asynchronous.connect(), loop).result()
            except BaseException:
                _shared.release()
                raise
            self._loop = loop

    def disconnect(self) -> None:
        """See the asynchronous class. Not to be called from a callback."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is None:
                return
            try:
                asyncio.run_coroutine_threadsafe(self._asynchronous.disconnect(), loop).result()
            finally:
                _shared.release()

    @property
    def is_connected(self) -> bool:
        """See the asynchronous class."""
        return self._loop is not None and self._asynchronous.is_connected

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        loop = self._loop
        if loop is None:
            # Not connected: what it raises for that, it raises before it waits for anything.
            try:
                coroutine.send(None)
            except StopIteration as done:
                result: T = done.value
                return result
            coroutine.close()
            raise TrunklineError("not connected: call connect() first")
        waiting = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()  # the caller was interrupted: nothing is left waiting in the loop
            raise

    def _iterate(self, items: AsyncIterator[T]) -> Generator[T, None, None]:
        async def step() -> T:
            return await anext(items)

        try:
            while True:
                try:
                    yield self._wait(step())
                except StopAsyncIteration:
                    return
        finally:
            if self._loop is not None:
                self._wait(items.aclose())  # type: ignore[attr-defined]  # it is an async generator

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disconnect()
