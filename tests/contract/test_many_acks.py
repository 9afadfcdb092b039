"""More messages than one frame may name, settled at once."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

import pytest

from tests.bus.durable.calls import eventually
from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from trunkline import MessageBus
from trunkline.limits import MAX_SETTLED_MESSAGES


async def test_more_is_given_back_at_once_than_a_frame_may_name(
    bus: MessageBus, channel: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An iterator that ends gives back all that it had and had not begun: the bus takes it at once, and counts no
    attempt."""
    count = MAX_SETTLED_MESSAGES + 500
    await bus.create_durable(name, channel)
    for start in range(0, count, 500):
        await asyncio.gather(
            *(bus.publish(channel, numbered(n), stored=True) for n in range(start, min(start + 500, count)))
        )
    async with asyncio.timeout(6 * PATIENCE):
        async with aclosing(bus.messages(channel, durable=name, credit=count)) as stream:
            first = await anext(stream)
            await eventually(lambda: bus.durable(name), lambda now: now.leased == count)
            await first.ack()
        ended = await eventually(lambda: bus.durable(name), lambda now: not now.leased)
        assert (ended.acked, ended.waiting + ended.retrying, ended.redelivered) == (1, count - 1, 0)
        async with aclosing(bus.messages(channel, durable=name)) as stream:
            assert (await anext(stream)).attempt == 1
    theirs = [
        each for each in caplog.records if each.name.startswith("trunkline.")
    ]  # not those of a bus in this process
    assert not [each for each in theirs if each.levelno >= logging.WARNING]
