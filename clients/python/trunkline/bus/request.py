"""Request: a message that somebody waits for the answer of, as whoever answers it gets it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol, cast

from pydantic import PrivateAttr

from trunkline.errors import InvalidMessageError
from trunkline.models import AgentMessage, MessageType

Answer = AgentMessage | dict[str, Any] | str | bytes | None
"""What a result or a part may be: a message, a payload, text, bytes; None: nothing but that it is done."""
RequestHandler = Callable[["Request"], Awaitable[Answer] | AsyncIterator[Answer]]
"""What `respond` calls with each request: an async function whose return is the result, or an async generator whose
yields are parts."""

TEXT_TYPE = "text/plain; charset=utf-8"
"""The content type of a part or a result that is text."""


class Answering(Protocol):
    """Where a request is answered: what stands behind `Request`."""

    name: str
    is_called_off: bool
    attempt: int

    def progress(self, fraction: float | None, text: str) -> None: ...

    async def part(self, message: AgentMessage, correlation_id: str | None) -> None: ...

    def finish(self, message: AgentMessage | None, correlation_id: str | None) -> None: ...

    def time_left(self) -> float: ...


class Request(AgentMessage):
    """A message that somebody waits for the answer of: an `AgentMessage` that can be answered bit by bit."""

    _answering: Answering | None = PrivateAttr(default=None)
    _result: Any = PrivateAttr(default=None)

    @property
    def attempt(self) -> int:
        """The how many-th attempt it is, from 1: above 1, a responder that is gone may have begun with it."""
        return self._behind().attempt

    @property
    def time_left(self) -> float:
        """Seconds that who asked still waits, at least 0."""
        return self._behind().time_left()

    @property
    def is_called_off(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._behind().is_called_off

    def progress(self, fraction: float | None = None, text: str = "") -> None:
        """Says how far it is. Waits for nothing: of what has not gone out yet, the newest counts.

        Args:
            fraction: from 0 to 1, never below the one before. None: unknown.
            text: for people.

        Raises:
            InvalidMessageError: a fraction below the one before, or beyond 0 to 1.
        """
        self._behind().progress(fraction, text)

    async def part(self, part: Answer) -> None:
        """Sends a piece of the outcome: a payload, text, bytes or a message. Waits while who asked does not read those
        before. What an async generator yields is sent so.

        Raises:
            MessageTooLargeError: it is over the limit; the request goes on.
        """
        await self._behind().part(self._message_of(part), self.correlation_id)

    def set_result(self, result: Answer) -> None:
        """Sets what comes of it, where the handler is an async generator, which can return nothing."""
        self._result = result

    def finish(self) -> None:
        """Ends it with the result that was set; `respond` does so when the handler returns."""
        result = None if self._result is None else self._message_of(self._result)
        self._behind().finish(result, self.correlation_id)

    def _message_of(self, answer: Answer) -> AgentMessage:
        """The message to whoever asked, which a part or a result is. It is sent with this one's correlation id."""
        if isinstance(answer, AgentMessage):
            return answer
        if isinstance(answer, str):
            return self._data(answer.encode("utf-8", "backslashreplace"), TEXT_TYPE)
        if isinstance(answer, bytes):
            return self._data(answer, "application/octet-stream")
        if isinstance(answer, dict):
            return self.create_response(self._behind().name, MessageType.TASK_RESULT, answer)
        raise InvalidMessageError(
            f"the answer is {answer!r}: a message, a payload (dict), text or bytes",
            details={"field": "answer", "value": repr(answer)[:80]},
        )

    def _data(self, data: bytes, content_type: str) -> AgentMessage:
        return AgentMessage(
            message_type=MessageType.TASK_RESULT,
            sender_id=self._behind().name,
            recipient_id=self.sender_id or None,
            data=data,
            content_type=content_type,
        )

    def _behind(self) -> Answering:
        if self._answering is None:
            raise InvalidMessageError(
                f"message {self.message_id!r} was not handed out by `respond`",
                details={"field": "message", "value": self.message_id},
            )
        return self._answering


async def call_handler(handler: RequestHandler, request: Request) -> None:
    """Calls a handler with a request, sends the parts that it yields, and sets its result."""
    outcome = handler(request)
    if isinstance(outcome, AsyncGenerator):
        answering, correlation_id = request._behind(), request.correlation_id  # not anew for each part
        async with aclosing(outcome) as parts:
            async for part in parts:
                await answering.part(request._message_of(part), correlation_id)
    else:
        result = await cast("Awaitable[Answer]", outcome)
        if result is not None:
            request.set_result(result)
    request.finish()


def check_fraction(fraction: float, before: float) -> float:
    """Returns a progress. Raises InvalidMessageError where it is below the one before, or beyond 0 to 1."""
    if not before <= fraction <= 1:
        raise InvalidMessageError(
            f"fraction is {fraction:g}, it must be between {before:g}, which was said before, and 1",
            details={"field": "fraction", "value": f"{fraction:g}"},
        )
    return fraction


def check_handler(handler: Any) -> None:
    """Raises TypeError where a handler is neither an async function nor an async generator function."""
    called = handler
    while isinstance(called, partial):
        called = called.func
    is_async = any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
        for each in (called, type(called).__call__)
    )
    if inspect.isclass(called) or not is_async:
        raise TypeError(
            f"handler is {handler!r}, it must be an async function of one request, or an async generator: "
            "async def …(request)"
        )
