"""Calls: an async function that fails as it is told, and counts."""

from __future__ import annotations

from collections import deque


class Calls:
    """Raises each of these errors, one a call, then returns "done"."""

    def __init__(self, *errors: BaseException) -> None:
        self.count = 0
        self._errors = deque(errors)

    async def __call__(self, *_: object) -> str:
        self.count += 1
        if self._errors:
            raise self._errors.popleft()
        return "done"
