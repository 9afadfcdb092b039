"""More messages than one frame may name, acked at once."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

import pytest

from tests.bus.durable.calls import eventually
from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from trunkline import DurableMessage, MessageBus
from trunkline.limits import MAX_SETTLED_MESSAGES


async def test_more_acks_at_once_than_a_frame_may_name(
    bus: MessageBus, channel: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """ack: as many as one holds, without a pause between them; none is refused."""
    count = MAX_SETTLED_MESSAGES + 500
    await bus.create_durable(name, channel)
    for start in range(0, count, 500):
        await asyncio.gather(
            *(bus.publish(channel, numbered(n), stored=True) for n in range(start, min(start + 500, count)))
        )
    async with asyncio.timeout(6 * PATIENCE), aclosing(bus.messages(channel, durable=name, credit=count)) as stream:
        held: list[DurableMessage] = [await anext(stream) for _ in range(count)]
        for message in held:
            await message.ack()
        await eventually(lambda: bus.durable(name), lambda now: now.acked == count)
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
