"""What happens in a task's life, as the domain sees it."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class TaskState(IntEnum):
    """Where a task stands; the numbers are those of the wire."""

    WAITING = 1
    RUNNING = 2
    DONE = 3
    FAILED = 4
    CANCELLED = 5

    @property
    def is_end(self) -> bool:
        """Whether nothing follows."""
        return self >= TaskState.DONE


class EventKind(IntEnum):
    """What a subscriber may say of a task."""

    ACCEPTED = 1
    PROGRESS = 2
    PART = 3
    RESULT = 4
    FAILURE = 5
    CANCELLED = 6

    @property
    def is_end(self) -> bool:
        """Whether it settles the task's message."""
        return self >= EventKind.RESULT


class Event(NamedTuple):
    """One event that a subscriber reports.

    Attributes:
        kind: what it is.
        body: it encoded, without number and time.
        text: of accepted, who; of failure and cancelled, what is kept as the attempt's error.
        fraction: of progress; None: it says none.
        retryable: of a failure, whether another attempt may follow.
    """

    kind: EventKind
    body: bytes
    text: str = ""
    fraction: float | None = None
    retryable: bool = False


class CalledOff(NamedTuple):
    """What the holder of a task is told that somebody cancelled."""

    sequence: int
    attempt: int
    by: str
    reason: str
