"""SubmittedTask: work that was submitted, and outlives whoever submitted it and whoever does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

from trunkline.bus.life import Cancellation, Failure, LifeEvent, Progress, Result
from trunkline.errors import RequestCancelledError, RequestFailedError, RequestTimeoutError
from trunkline.models import AgentMessage

_BEHIND_ALL: Final = 2**53 - 1
"""Greater than the number of any event, and whole in every language: asks for the end alone."""

TaskState = Literal["waiting", "running", "done", "failed", "cancelled"]
"""Where a task stands: nobody has begun (or it waits for another attempt), somebody has, or it has ended so."""


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """One task, as it is now.

    Attributes:
        id: the message id of its message.
        channel: where that was published.
        durable: the durable subscription that does it.
        state: where it stands.
        created_at: when it was submitted.
        updated_at: when its last event was taken.
        ended_at: None while it has not ended.
        attempt: the how many-th attempt is being made, or was the last; 0: none was begun.
        responder: who began it last; empty: nobody.
        progress: the last that was said of this attempt, without number and time; None: nothing.
        cancelling: it was cancelled, and whoever has it has not said yet that it stopped.
        first_event, last_event: the numbers of the events that are kept; 0: there are none yet.
        end: the event that ended it; None while it has not.
    """

    id: str
    channel: str
    durable: str
    state: TaskState
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    attempt: int
    responder: str
    progress: Progress | None
    cancelling: bool
    first_event: int
    last_event: int
    end: LifeEvent | None


class TaskSource(Protocol):
    """What a task is asked of: a bus."""

    async def _task(self, id: str) -> TaskInfo:
        """Returns a task."""

    async def _next_events(self, id: str, after: int) -> tuple[TaskInfo, list[LifeEvent]]:
        """Returns a task and its events behind a number; waits for some for a while, and for a bus that is away."""

    async def _cancel_task(self, id: str, by: str, reason: str) -> TaskInfo:
        """Cancels a task."""


class SubmittedTask:
    """One task, by its id; made by `MessageBus.submit` and `MessageBus.task`. It needs no connection of its own: any
    client may ask, also after restarts of both sides.

    Args:
        source: what it is asked of.
        id: the message id of its message.
    """

    def __init__(self, source: TaskSource, id: str) -> None:
        self._source = source
        self.id = id

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r})"

    async def status(self) -> TaskInfo:
        """Returns it as it is now.

        Raises:
            TaskNotFoundError: it is kept no longer, or never was.
        """
        return await self._source._task(self.id)

    async def result(self, timeout: float | None = None) -> AgentMessage | None:
        """Waits for its end, also while the bus is away; returns the message that it ended with, or None where it ended
        without one.

        Args:
            timeout: seconds to wait. None: for ever.

        Raises:
            RequestFailedError: it failed for good; details request_id (its id), type, text, code, retryable.
            RequestCancelledError: it was cancelled; details request_id, by, reason.
            RequestTimeoutError: it has not ended in time, and goes on; details channel, correlation_id,
                timeout_seconds.
            TaskNotFoundError: it is kept no longer, or never was.
        """
        try:
            async with asyncio.timeout(timeout):
                end = await self._end()
        except TimeoutError:
            raise RequestTimeoutError(
                f"task {self.id!r} has not ended within {timeout:g} s",
                details={"channel": "", "correlation_id": self.id, "timeout_seconds": timeout},
            ) from None
        match end:
            case Result():
                return end.message if end.has_message else None
            case Failure():
                text = f"{end.type}: {end.text}" if end.type else end.text
                details = {"type": end.type, "text": end.text, "code": end.code, "retryable": end.retryable}
                raise RequestFailedError(text, details={"request_id": self.id, **details})
            case Cancellation():
                raise RequestCancelledError(
                    f"task {self.id!r} was cancelled" + (f" by {end.by}" if end.by else ""),
                    details={"request_id": self.id, "by": end.by, "reason": end.reason},
                )
        raise AssertionError(f"{end!r} is no end")

    async def events(self, after: int = 0) -> AsyncGenerator[LifeEvent, None]:
        """Yields the events of its life behind a number, those to come too, up to its end; also while the bus is away.
        Of many, the oldest are kept no longer: then the numbers begin higher.

        Args:
            after: the number of the last one that is known.

        Raises:
            TaskNotFoundError: it is kept no longer, or never was.
        """
        while True:
            info, events = await self._source._next_events(self.id, after)
            for event in events:
                after = event.number
                yield event
            if info.end is not None and after >= info.last_event:
                return

    async def cancel(self, *, by: str = "", reason: str = "") -> TaskInfo:
        """Cancels it: one that waits is never handed out; the handler of one that runs is cancelled. One that has ended
        stays as it is. Returns it as it is then.

        Args:
            by: who cancels it; kept in its life.
            reason: why; kept in its life.

        Raises:
            TaskNotFoundError: it is kept no longer, or never was.
        """
        return await self._source._cancel_task(self.id, by, reason)

    async def _end(self) -> LifeEvent:
        while True:
            info, _ = await self._source._next_events(self.id, _BEHIND_ALL)
            if info.end is not None:
                return info.end
