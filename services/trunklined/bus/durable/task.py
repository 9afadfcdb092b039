"""Task: one stored message whose life is kept."""

from __future__ import annotations

from collections import deque
from typing import Final

from trunkline.limits import MAX_TASK_EVENT_BYTES, MAX_TASK_EVENTS
from trunklined.bus.durable.task_life import TaskState
from trunklined.bus.records import TaskRow

_STRETCH_BYTES: Final = MAX_TASK_EVENT_BYTES // 16
"""Events go in stretches of about so many bytes."""


class Task:
    """Where a task stands. Only those that have not ended, or whose message is still to be passed over, are in memory.

    Args:
        row: as it was kept, or as it begins.
    """

    __slots__ = ("_row", "_stretches", "last_failure")

    def __init__(self, row: TaskRow) -> None:
        self._row = row
        self._stretches: deque[tuple[int, int]] = deque()
        """The first events of stretches that are kept, and the bytes of each."""
        if row.last_event:
            self._stretches.append((row.first_event, row.size))
        self.last_failure: bytes | None = None
        """What the holder said of the attempt that failed, until it is known what follows."""

    def row(self) -> TaskRow:
        """Returns it as it is kept."""
        return self._row

    def change(self, **columns: object) -> None:
        """Changes some of its columns."""
        self._row = self._row._replace(**columns)  # type: ignore[arg-type]

    @property
    def has_ended(self) -> bool:
        """Whether nothing follows."""
        return TaskState(self._row.state).is_end

    def grow(self, size: int, now: float) -> tuple[int, int]:
        """Counts one more event of so many bytes; returns its number, and that of the first event to be kept."""
        row = self._row
        number = row.last_event + 1
        if not self._stretches or self._stretches[-1][1] >= _STRETCH_BYTES:
            self._stretches.append((number, 0))
        first, stretch = self._stretches[-1]
        self._stretches[-1] = first, stretch + size
        total = row.size + size
        while len(self._stretches) > 1 and (
            total > MAX_TASK_EVENT_BYTES or number - self._stretches[1][0] >= MAX_TASK_EVENTS
        ):
            total -= self._stretches.popleft()[1]
        self.change(first_event=self._stretches[0][0], last_event=number, size=total, updated_at=now)
        return number, self._stretches[0][0]
