"""AskedRequest: the events of a request that this client asked with."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from trunkline.bus.life import LifeEvent, Part, Progress
from trunkline.bus.life_codec import decode_event
from trunkline.errors import TrunklineError
from trunkline.limits import PART_CREDIT

_GRANT_AT = PART_CREDIT // 2


class AskedRequest:
    """The events that came and were not read. Parts are granted again as they are read, so that no more than
    PART_CREDIT wait here; of progress that nobody has read, the newest is kept.

    Args:
        id: its item id on the stream.
        item: a new ClientItem with an id, on its way to the service.
        left: called when nobody reads on.
    """

    def __init__(self, id: int, item: Callable[[int], Any], left: Callable[[AskedRequest], None]) -> None:
        self.id = id
        self._item = item
        self._left = left
        self._events: deque[LifeEvent] = deque()
        self._arrived = asyncio.Event()
        self._read = 0
        """Parts that were read since more were granted."""
        self._ended: TrunklineError | None = None
        self._closed = False

    def take(self, events: Any, is_end: bool) -> None:
        """Takes encoded events."""
        for raw in events:
            event = decode_event(raw)
            if event is None:
                continue
            waiting = self._events
            if isinstance(event, Progress) and waiting and isinstance(waiting[-1], Progress):
                waiting[-1] = event
            else:
                waiting.append(event)
        self._closed = is_end
        self._arrived.set()

    def fail(self, error: TrunklineError) -> None:
        """No more comes, since the request failed."""
        self._ended = error
        self._arrived.set()

    async def next(self) -> LifeEvent | None:
        """The next event; None behind the end. Raises why no more will come, behind what came."""
        while not self._events:
            if self._ended is not None:
                raise self._ended
            if self._closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        event = self._events.popleft()
        if isinstance(event, Part):
            self._read += 1
            if self._read >= _GRANT_AT and not self._closed and self._ended is None:
                self._item(self.id).request_credit.parts = self._read
                self._read = 0
        return event

    def leave(self) -> None:
        """Nobody reads on: cancels the request, unless it is over."""
        if not self._closed and self._ended is None:
            self._closed = True
            self._left(self)
        self._events.clear()
