"""The synchronous SubmittedTask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any

from trunkline.bus.life import LifeEvent
from trunkline.bus.submitted_task import SubmittedTask as AsyncSubmittedTask
from trunkline.bus.submitted_task import TaskInfo
from trunkline.models import AgentMessage


class SubmittedTask:
    """`trunkline.SubmittedTask`, synchronous; see there for arguments and errors.

    Args:
        asynchronous: what is behind it.
        wait: waits for a coroutine in the loop of the faces.
        iterate: the same for the items of an iterator.
    """

    def __init__(
        self,
        asynchronous: AsyncSubmittedTask,
        wait: Callable[[Coroutine[Any, Any, Any]], Any],
        iterate: Callable[[AsyncIterator[Any]], Generator[Any, None, None]],
    ) -> None:
        self._asynchronous = asynchronous
        self._wait = wait
        self._iterate = iterate
        self.id = asynchronous.id

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r})"

    def status(self) -> TaskInfo:
        """See `SubmittedTask.status`."""
        found: TaskInfo = self._wait(self._asynchronous.status())
        return found

    def result(self, timeout: float | None = None) -> AgentMessage | None:
        """See `SubmittedTask.result`."""
        result: AgentMessage | None = self._wait(self._asynchronous.result(timeout))
        return result

    def events(self, after: int = 0) -> Generator[LifeEvent, None, None]:
        """See `SubmittedTask.events`."""
        return self._iterate(self._asynchronous.events(after))

    def cancel(self, *, by: str = "", reason: str = "") -> TaskInfo:
        """See `SubmittedTask.cancel`."""
        found: TaskInfo = self._wait(self._asynchronous.cancel(by=by, reason=reason))
        return found
