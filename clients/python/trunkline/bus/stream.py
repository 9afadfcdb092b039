"""MessageStream: the messages of a subscription as an asynchronous iterator."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from trunkline.bus.durable import DurableMessage
from trunkline.bus.handling import Holder
from trunkline.bus.life import LifeEvent
from trunkline.models import AgentMessage

M = TypeVar("M")
S = TypeVar("S")


class Source(Protocol):
    """What messages are taken from: a subscription."""

    async def next(self) -> AgentMessage | None:
        """Returns the next message; None when the subscription was closed. Raises why no more will come."""

    def leave(self) -> None:
        """Ends the interest."""


class MessageStream(AsyncGenerator[M, None], Generic[M, S]):
    """Interest is registered at the first step. A step that is cancelled, as `asyncio.wait_for` does, ends nothing and
    loses nothing: the next step goes on. `aclose`, an error, or being forgotten ends the interest.

    Used as an asynchronous generator, which cannot do that: a cancelled step ends it.

    Args:
        open: registers interest.
    """

    def __init__(self, open: Callable[[], Awaitable[S]]) -> None:
        self._open = open
        self._source: S | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._stepping = False

    def __aiter__(self) -> MessageStream[M, S]:
        return self

    async def __anext__(self) -> M:
        if self._closed:
            raise StopAsyncIteration
        if self._stepping:
            raise RuntimeError("the iterator is in a step already: two tasks cannot share it")
        self._stepping = True
        try:
            if self._source is None:
                self._source = await self._open()
                self._loop = asyncio.get_running_loop()
            message = await self._take(self._source)
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._end()
            raise
        finally:
            self._stepping = False
        if message is None:
            self._end()
            raise StopAsyncIteration
        return message

    async def asend(self, value: None) -> M:
        return await self.__anext__()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> M:
        self._end()
        raise typ

    async def aclose(self) -> None:
        self._end()

    def __del__(self) -> None:
        if self._source is not None and not self._closed and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._leave, self._source)

    @abstractmethod
    async def _take(self, source: S) -> M | None:
        """One step: the next message."""

    @abstractmethod
    def _leave(self, source: S) -> None:
        """Ends the interest."""

    def _end(self) -> None:
        closed, self._closed = self._closed, True
        if not closed and self._source is not None:
            self._leave(self._source)


class EventSource(Protocol):
    """What events are taken from: a request."""

    async def next(self) -> LifeEvent | None:
        """Returns the next event; None behind the end. Raises why no more will come."""

    def leave(self) -> None:
        """Ends the interest, which cancels what is not over."""


class EventStream(MessageStream[LifeEvent, EventSource]):
    """The events of a request, which is sent at the first step. A step that is cancelled cancels the request."""

    async def _take(self, source: EventSource) -> LifeEvent | None:
        try:
            return await source.next()
        except asyncio.CancelledError:
            self._end()
            raise

    def _leave(self, source: EventSource) -> None:
        source.leave()


class LiveStream(MessageStream[AgentMessage, Source]):
    """The messages of a live subscription."""

    async def _take(self, source: Source) -> AgentMessage | None:
        return await source.next()

    def _leave(self, source: Source) -> None:
        source.leave()


class DurableStream(MessageStream[DurableMessage, Holder]):
    """The messages of a durable subscription: each step acks the message before; see `MessageBus.messages`."""

    _given: DurableMessage | None = None

    async def _take(self, source: Holder) -> DurableMessage | None:
        given, self._given = self._given, None
        if given is not None:
            source.acked(given)
        self._given = await source.next()
        return self._given

    def _leave(self, source: Holder) -> None:
        given, self._given = self._given, None
        if given is not None:
            source.nakked(given, "the iterator was closed before the message was acked", 0.0)
        source.leave()
