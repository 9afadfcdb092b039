"""The synchronous Request, and the thread that answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

from pydantic import PrivateAttr

from trunkline.bus.request import Answer
from trunkline.bus.request import Request as AsyncRequest
from trunkline.errors import RequestCancelledError
from trunkline.models import AgentMessage
from trunkline.models.fields import fill_model
from trunkline.models.lazy import known_fields
from trunkline.models.message import MESSAGE_FIELDS

Wait = Callable[[Coroutine[Any, Any, None]], None]


class Request(AgentMessage):
    """`trunkline.Request`, synchronous; see there."""

    _request: AsyncRequest = PrivateAttr()
    _wait: Wait = PrivateAttr()

    @property
    def channel(self) -> str:
        """See `trunkline.Request.channel`."""
        return self._request.channel

    @property
    def sequence(self) -> int:
        """See `trunkline.Request.sequence`."""
        return self._request.sequence

    @property
    def attempt(self) -> int:
        """See `trunkline.Request.attempt`."""
        return self._request.attempt

    @property
    def time_left(self) -> float:
        """See `trunkline.Request.time_left`."""
        return self._request.time_left

    @property
    def is_called_off(self) -> bool:
        """See `trunkline.Request.is_called_off`."""
        return self._request.is_called_off

    def progress(self, fraction: float | None = None, text: str = "") -> None:
        """See `trunkline.Request.progress`."""

        async def say() -> None:
            self._request.progress(fraction, text)

        self._wait(say())

    def part(self, part: Answer) -> None:
        """See `trunkline.Request.part`.

        Raises:
            RequestCancelledError: the request was called off.
        """
        if self.is_called_off:
            raise RequestCancelledError(
                "the request was called off", details={"request_id": self.correlation_id or self.message_id}
            )
        self._wait(self._request.part(part))

    def set_result(self, result: Answer) -> None:
        """See `trunkline.Request.set_result`."""
        self._request.set_result(result)


def _closing(parts: Iterator[Answer]) -> AbstractContextManager[object]:
    """Closes a generator, so that it cleans up where a part is refused."""
    return closing(parts) if isinstance(parts, Generator) else nullcontext()


class ThreadedHandler:
    """An asynchronous handler that calls a plain one in a thread.

    Args:
        handler: a function of a request, or a generator function.
        threads: where it is called.
        wait: how the face waits.
    """

    def __init__(self, handler: Callable[[Request], Answer | Iterator[Answer]], threads: Executor, wait: Wait) -> None:
        self._handler = handler
        self._threads = threads
        self._wait = wait

    async def __call__(self, request: AsyncRequest) -> Answer:
        """Calls the handler; its generator's yields are sent as parts."""
        face: Request = Request.__new__(Request)
        values = dict(known_fields(request))
        fill_model(face, values, MESSAGE_FIELDS, {"_request": request, "_wait": self._wait})
        loop = asyncio.get_running_loop()
        result, error = await loop.run_in_executor(self._threads, self._answer, face)
        if error is not None:
            raise error
        return result

    def _answer(self, request: Request) -> tuple[Answer, BaseException | None]:
        """Returns what came of it, or what was raised: a future cannot carry `StopIteration`."""
        try:
            outcome = self._handler(request)
            if not isinstance(outcome, Iterator):
                return outcome, None
            with _closing(outcome):
                for part in outcome:
                    request.part(part)
        except BaseException as error:  # noqa: BLE001  # it is raised where it is waited for
            return None, error
        return None, None
