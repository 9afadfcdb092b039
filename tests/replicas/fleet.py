"""Fleet: replicas of one bus as real processes over a real Redis, for one test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from tests.redis.servers import RedisServer, running
from trunkline import GrpcMessageBus

TTL = 60.0
"""Seconds of the replicas' leases, where nothing shall end them: no stall of a busy machine takes so long."""


class Fleet:
    """Replicas, each a program that can be killed, paused and started again.

    Args:
        url: where their Redis is.
        redis: that server, where the fleet has it for itself.
        ttl: seconds of their leases.
    """

    def __init__(self, url: str, redis: RedisServer | None, ttl: float) -> None:
        self.url = url
        self._redis = redis
        self._ttl = ttl
        self.replicas: list[RunningProgram] = []

    @property
    def redis(self) -> RedisServer:
        """The server that all of them use."""
        assert self._redis is not None
        return self._redis

    def start(self, count: int, *options: str) -> list[RunningProgram]:
        """Starts replicas; returns all that there are."""
        for _ in range(count):
            told = ("--engine", "memory", "--redis-url", self.url, "--redis-timeout", str(PATIENCE), *options)
            program = RunningProgram("bus", *told, "--replica-ttl", str(self._ttl))
            self.replicas.append(program)
            program.start()
        return self.replicas

    def buses(self) -> list[GrpcMessageBus]:
        """A client for each replica, not connected."""
        return [GrpcMessageBus(replica.address) for replica in self.replicas]

    def end(self) -> None:
        """Makes sure that none is left."""
        for replica in reversed(self.replicas):
            replica.end()


@contextmanager
def fleet(count: int, *options: str, url: str | None = None, ttl: float = TTL) -> Iterator[Fleet]:
    """So many replicas, over a Redis of their own or one that is there."""
    if url is not None:
        yield from _started(Fleet(url, None, ttl), count, options)
        return
    with running() as redis:
        yield from _started(Fleet(redis.url, redis, ttl), count, options)


def _started(made: Fleet, count: int, options: tuple[str, ...]) -> Iterator[Fleet]:
    try:
        made.start(count, *options)
        yield made
    finally:
        made.end()


async def until_heard(bus: GrpcMessageBus, channel: str, inbox: Inbox) -> None:
    """Publishes again and again, until something arrives: for what comes back by itself."""
    have = len(inbox.messages)
    async with asyncio.timeout(PATIENCE):
        while len(inbox.messages) == have:
            await bus.publish(channel, numbered("again"))
            await asyncio.sleep(0.05)


async def raises(kind: type[Exception], ask: Any) -> Exception:
    """Asks again and again, until that raises an error of some kind; returns it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await ask()
            except kind as error:
                return error
            await asyncio.sleep(0.05)
