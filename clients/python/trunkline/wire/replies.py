"""PendingReplies: the answers that a multiplexed stream owes, by the ids of what was sent."""

from __future__ import annotations

import asyncio
from typing import Any

from trunkline.errors import TrunklineError


class PendingReplies:
    """The calls of one stream that are not answered yet. For one event loop."""

    def __init__(self) -> None:
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0

    @property
    def pending(self) -> int:
        """Number of answers that are expected."""
        return len(self._pending)

    def next_id(self) -> int:
        """Returns a new id, for an item that may or may not be answered."""
        self._last_id += 1
        return self._last_id

    def expect(self, loop: asyncio.AbstractEventLoop | None = None) -> tuple[int, asyncio.Future[Any]]:
        """Returns a new id and the future of its answer. A caller that stops waiting calls `forget`; one that knows the
        running loop gives it: Python 3.11 asks the kernel for its pid to find it."""
        future: asyncio.Future[Any] = (loop or asyncio.get_running_loop()).create_future()
        id = self.next_id()
        self._pending[id] = future
        return id, future

    def forget(self, id: int) -> None:
        """Drops the future of an id; idempotent."""
        self._pending.pop(id, None)

    def settle(self, id: int, answer: Any) -> bool:
        """Resolves the future of an id; returns False if none is pending."""
        future = self._pending.pop(id, None)
        if future is None:
            return False
        if not future.done():
            future.set_result(answer)
        return True

    def fail(self, id: int, error: TrunklineError) -> bool:
        """Fails the future of an id; returns False if none is pending."""
        future = self._pending.pop(id, None)
        if future is None:
            return False
        if not future.done():
            future.set_exception(error)
        return True

    def fail_all(self, error: TrunklineError) -> None:
        """Fails everything that is pending."""
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(error)
                future.exception()  # retrieved here: a future that is not awaited any more is no leak to log
