"""Deadlines: calls that end at a time, with one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Deadlines:
    """Ends calls that are not done in time. For one event loop.

    A timer for each call costs more than all else that is done for it here; most calls are done long before. So there
    is one, for the earliest deadline that was known when it was set: it ends what is too late, and is set anew.

    Args:
        expire: called for a call whose time is over, with its id and what it was added with.
    """

    def __init__(self, expire: Callable[..., None]) -> None:
        self._expire = expire
        self._open: dict[int, tuple[float, tuple[Any, ...]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, loop: asyncio.AbstractEventLoop, id: int, deadline: float, *args: Any) -> None:
        """Lets a call end at a time of the loop's clock."""
        self._open[id] = deadline, args
        timer = self._timer
        if timer is None or deadline < timer.when() or loop is not self._loop:
            self._set(loop, deadline)

    def remove(self, id: int) -> None:
        """Forgets a call; idempotent."""
        self._open.pop(id, None)

    def close(self) -> None:
        """Forgets all calls; idempotent."""
        self._open.clear()
        self._stop()

    def _set(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        self._stop()
        self._loop = loop
        self._timer = loop.call_at(deadline, self._check, loop)

    def _stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and self._loop is not None and not self._loop.is_closed():
            timer.cancel()

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        late = [(id, args) for id, (deadline, args) in self._open.items() if deadline <= now]
        for id, args in late:
            self._open.pop(id, None)
            self._expire(id, *args)
        if self._open and self._timer is None:
            self._set(loop, min(deadline for deadline, _ in self._open.values()))
