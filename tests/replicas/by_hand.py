"""A replica that a test plays: it says what it is told to, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from tests.redis.servers import RedisServer
from trunkline.priority import MEDIUM_LEVEL
from trunkline.v1.message_pb2 import Message
from trunklined.bus.config import Settings
from trunklined.bus.replicas import items
from trunklined.bus.replicas.redis import RedisExchange

TTL = 60.0


class ByHand:
    """It takes part in a fleet of one other."""

    def __init__(self, exchange: RedisExchange, name: str, other: str) -> None:
        self._exchange = exchange
        self._name = name
        self._other = other
        self._sequence = 1 << 50

    async def say(self, *said: items.Item | list[object]) -> None:
        """Sends items; as lists those that this version does not know."""
        frame = msgspec.msgpack.encode([self._name, said])
        await self._exchange.send(self._other, frame)

    async def hear(self) -> list[items.Item]:
        """Waits for the next frame."""
        return items.decode_frame(await self._exchange.receive()).items

    def message(self, channel: str, number: int) -> items.Messages:
        """A message for all who are in no group."""
        self._sequence += 1
        message = Message(message_id=str(number), json=f'{{"n": {number}}}').SerializeToString()
        return items.Messages(channel, MEDIUM_LEVEL, [message], None, self._sequence, "", "", [])


@asynccontextmanager
async def taking_part(redis: RedisServer, name: str) -> AsyncIterator[ByHand]:
    """Joins; the connection ends with it. Nothing was said yet."""
    exchange = RedisExchange(Settings(engine="redis", redis_url=redis.url).redis_target())
    try:
        await exchange.open(name)
        _, [other] = await exchange.join(name, TTL)
        yield ByHand(exchange, name, other.id)
    finally:
        await exchange.close()
