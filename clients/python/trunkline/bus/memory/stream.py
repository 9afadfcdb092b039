"""MemoryStream: what waits for one `messages()` of a bus in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from trunkline.callbacks import notify
from trunkline.errors import BusNotConnectedError
from trunkline.limits import CLIENT_WINDOW_MESSAGES
from trunkline.models import AgentMessage, Priority
from trunkline.priority import Lanes

log = logging.getLogger(__name__)

_LANE_OF = {priority: lane for lane, priority in enumerate(Priority)}


class MemoryStream:
    """The messages of one `messages()`, the higher priority first; bounded, the oldest go first."""

    def __init__(self, on_lagged: Callable[[int], None] | None) -> None:
        self._lanes: Lanes[tuple[int, AgentMessage]] = Lanes()
        self._on_lagged = on_lagged
        self._arrived = asyncio.Event()
        self._ended = False
        self._error: BusNotConnectedError | None = None
        self._taken = 0
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    async def take(self, message: AgentMessage) -> None:
        if self._waiting == CLIENT_WINDOW_MESSAGES:
            min(self._lanes.occupied(), key=lambda lane: lane[0][0]).popleft()
            self._waiting -= 1
            log.warning("a stream of messages was read too slowly: 1 message was dropped")
            notify(self._on_lagged, 1)
        self._taken += 1
        self._waiting += 1
        self._lanes.push(_LANE_OF[message.priority], (self._taken, message))
        self._arrived.set()

    def end(self, error: BusNotConnectedError | None) -> None:
        """No more will come; what waits is still given out, then the error, or None."""
        self._ended, self._error = True, error
        self._arrived.set()

    async def next(self) -> AgentMessage | None:
        while True:
            while (lane := self._lanes.highest()) is not None:
                _, message = lane.popleft()
                self._waiting -= 1
                if not message.is_expired():
                    return message
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._arrived.clear()
            await self._arrived.wait()
