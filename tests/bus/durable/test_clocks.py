"""A clock that is set while something waits for its time: it does not come early, and does not wait for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from tests.contract.durables import store
from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from trunkline import DurableMessage
from trunklined.bus import wall_timer
from trunklined.bus.app import make_broker
from trunklined.local.bus import SETTINGS, InMemoryMessageBus

CHANNEL = "clocks:a"


class Clock:
    """A clock on the wall that can be set."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@asynccontextmanager
async def later(clock: Clock, how: str, wait: float) -> AsyncIterator[asyncio.Task[DurableMessage]]:
    """A message that is due in so many seconds: it was published so, or was given back so; and who waits for it."""
    bus = InMemoryMessageBus()
    bus._broker = make_broker(SETTINGS, clock=clock)
    bus._broker.journal.open()
    async with bus, aclosing(bus.messages(CHANNEL, durable="d")) as messages:
        await bus.create_durable("d", CHANNEL)
        options = {"deliver_after": wait} if how == "published" else {}
        await store(bus, CHANNEL, numbered(1), **options)
        if how == "given back":
            await (await asyncio.wait_for(anext(messages), PATIENCE)).nak("later", delay=wait)
            await bus.flush()
        coming = asyncio.ensure_future(anext(messages))
        try:
            yield coming
        finally:
            coming.cancel()
            await asyncio.wait([coming])


@pytest.mark.parametrize("how", ["published", "given back"])
async def test_put_back(how: str) -> None:
    """What is due waits longer, by as much."""
    clock = Clock()
    due = clock() + 0.3
    async with later(clock, how, 0.3) as coming:
        clock.ahead -= 0.5
        await asyncio.wait_for(coming, PATIENCE)
        assert clock() >= due


@pytest.mark.parametrize("how", ["published", "given back"])
async def test_put_forward(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the machine slept: it comes with the next look at the clock."""
    monkeypatch.setattr(wall_timer, "LOOK_SECONDS", 0.05)
    clock = Clock()
    async with later(clock, how, 3_600) as coming:
        await asyncio.sleep(0.2)
        assert not coming.done()
        clock.ahead += 3_600
        await asyncio.wait_for(coming, PATIENCE)
