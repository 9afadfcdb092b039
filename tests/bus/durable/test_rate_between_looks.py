"""A rate, where a token comes between two looks at the limits in one turn: nothing waits for ever."""

from __future__ import annotations

from itertools import count

import pytest

from tests.contract.durables import store
from tests.contract.inbox import Inbox, numbered
from trunkline import DurableSettings
from trunklined.local.bus import InMemoryMessageBus

RATE = 200.0


@pytest.mark.parametrize("is_waiting", [True, False], ids=["they wait already", "they come"])
@pytest.mark.parametrize("tokens", [0.1, 0.25, 0.3, 0.5])
async def test_what_waits_for_the_rate_goes_on(tokens: float, is_waiting: bool) -> None:
    """By a clock that adds a part of a token with each look: a turn finds no room, and what sets its timer does."""
    async with InMemoryMessageBus() as bus:
        await bus.create_durable("d", "rate:a", settings=DurableSettings(rate=RATE, burst=1))
        assert bus._broker is not None
        limits = bus._broker.journal.durables.find("d")._dispatch._limits
        looks = count()
        limits._clock = lambda: next(looks) * tokens / RATE
        limits._filled_at = 0.0
        inbox = Inbox()
        if not is_waiting:
            await bus.subscribe("rate:a", inbox, durable="d")
        await store(bus, "rate:a", *map(numbered, range(20)))
        if is_waiting:
            await bus.subscribe("rate:a", inbox, durable="d")
        await inbox.have(20)
        assert inbox.numbers == list(range(20))
