"""Face: how a synchronous object waits for its asynchronous one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from trunkline.errors import TrunklineError
from trunkline.sync.background import Background

T = TypeVar("T")
A = TypeVar("A", bound="_Asynchronous")


class _Asynchronous(Protocol):
    """What every asynchronous object has."""

    async def connect(self) -> None: ...

    async def disconnect(self) -> None: ...

    @property
    def is_connected(self) -> bool: ...


class Face(Generic[A]):
    """What all faces share: the loop while connected, and the waiting."""

    def __init__(self, asynchronous: A) -> None:
        self._put_on(asynchronous)

    @classmethod
    def over(cls, asynchronous: A) -> Self:
        """The face of any asynchronous object of the kind: one in memory, or one of your own.

        Args:
            asynchronous: not connected: it is connected in the loop of the faces, and must not be used in any other.
        """
        face = cls.__new__(cls)
        face._put_on(asynchronous)
        return face

    def _put_on(self, asynchronous: A) -> None:
        self._asynchronous = asynchronous
        self._loop: asyncio.AbstractEventLoop | None = None
        self._background = Background()
        self._lock = threading.Lock()

    def connect(self) -> None:
        """See the asynchronous class."""
        with self._lock:
            if self._loop is not None:
                return
            loop = self._background.open()
            try:
                asyncio.run_coroutine_threadsafe(self._asynchronous.connect(), loop).result()
            except BaseException:
                self._background.close()
                raise
            self._loop = loop

    def disconnect(self) -> None:
        """See the asynchronous class. Not to be called from a callback."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is None:
                return
            if self._background.loop is None:  # a forked process has none of its parent's threads
                self._background.close()
                return
            try:
                asyncio.run_coroutine_threadsafe(self._asynchronous.disconnect(), loop).result()
            finally:
                self._background.close()

    @property
    def asynchronous(self) -> A:
        """What is behind it, for coroutines that `Background` runs."""
        return self._asynchronous

    @property
    def is_open(self) -> bool:
        """Whether it was connected and not disconnected since, also while a lost connection is being restored."""
        return self._loop is not None

    @property
    def is_connected(self) -> bool:
        """See the asynchronous class."""
        return self._loop is not None and self._asynchronous.is_connected

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        loop = self._loop and self._background.loop
        if loop is None:
            # Not connected, or forked: what it raises for that, it raises before it waits for anything.
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
            if self._loop is not None and self._background.loop is not None:
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
