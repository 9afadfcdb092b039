"""What the tests of durable delivery share: taking messages, and the settings that make a test quick."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from tests.patience import PATIENCE
from trunkline import AgentMessage, Backoff, DurableMessage, DurableSettings, MessageBus, Receipt

AT_ONCE = DurableSettings(backoff=Backoff(initial=0))
"""A failed message is tried again at once."""


async def take(bus: MessageBus, pattern: str, durable: str, count: int, **options: Any) -> list[DurableMessage]:
    """Takes and acks so many messages."""
    taken: list[DurableMessage] = []
    async with asyncio.timeout(PATIENCE), aclosing(bus.messages(pattern, durable=durable, **options)) as stream:
        while len(taken) < count:
            taken.append(await anext(stream))
            await taken[-1].ack()
    return taken


def numbers(messages: list[DurableMessage]) -> list[Any]:
    """The payloads' "n"."""
    return [message.payload["n"] for message in messages]


async def store(bus: MessageBus, channel: str, *messages: AgentMessage, **options: Any) -> list[Receipt]:
    """Publishes messages stored, one after the other."""
    return [await bus.publish(channel, message, stored=True, **options) for message in messages]
