"""Clock: time that a test turns; who sleeps turns it too."""

from __future__ import annotations

import asyncio


class Clock:
    """`clock()` is the time in seconds; `await clock.sleep(seconds)` takes none, and is written down."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds
        await asyncio.sleep(0)
