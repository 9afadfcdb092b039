"""Tally: counts what a subscriber's callback got."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from scripts.bench.peer import Reception

FIRST_SECONDS: Final = 30.0
"""How long a subscriber waits for its first message."""

IDLE_SECONDS: Final = 10.0
"""A subscriber that got nothing more for this long counts the rest as lost."""

_LOOK_SECONDS: Final = 0.1


class Tally:
    """Counts to an expected number; `reception` waits for the last message, or until no more come."""

    __slots__ = ("_complete", "ended", "expected", "octets", "received")

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.received = 0
        self.octets = 0
        self.ended = 0.0
        self._complete = asyncio.Event()

    def count(self, text: str | bytes) -> None:
        """One message came, and this was in it."""
        self.octets += len(text)
        self.received += 1
        if self.received == self.expected:
            self.ended = time.monotonic()
            self._complete.set()

    async def reception(self) -> Reception:
        """Waits for the last message; gives up where none came for some seconds."""
        seen, seen_at, patience = 0, time.monotonic(), FIRST_SECONDS
        while not self._complete.is_set():
            try:
                await asyncio.wait_for(self._complete.wait(), _LOOK_SECONDS)
            except TimeoutError:
                now = time.monotonic()
                if self.received != seen:
                    seen, seen_at, patience = self.received, now, IDLE_SECONDS
                elif now - seen_at > patience:
                    return Reception(self.received, seen_at)
        return Reception(self.received, self.ended)
