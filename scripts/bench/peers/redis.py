"""redis-py with redis-server: publish/subscribe, streams and plain values; what can be is pipelined 128 at a time."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from scripts.bench.payload import DURABLE, PAYLOAD, key
from scripts.bench.peer import Call, Peer, Reception, Server, Service
from scripts.bench.tally import FIRST_SECONDS, IDLE_SECONDS

PIPELINED = 128
IDLE_MILLISECONDS = int(IDLE_SECONDS * 1_000)


def redis_server(port: int, scratch: Path, *, synced: bool = False) -> Server:
    """A redis-server on that port.

    Args:
        synced: each write is on disk before it is answered; else nothing is written to disk.
    """
    kept = {"appendonly": "yes", "appendfsync": "always"} if synced else {"appendonly": "no"}
    options = {"bind": "127.0.0.1", "port": str(port), "dir": str(scratch), "save": "", **kept}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return Server(("redis-server", *words, "--client-output-buffer-limit", "pubsub", "0", "0", "0"), port=port)


class _RedisPeer(Peer):
    """A client of a redis-server."""

    libraries = ("redis", "hiredis")

    def __init__(self) -> None:
        self._redis: Redis | None = None

    def versions(self) -> Sequence[str]:
        said = subprocess.run(["redis-server", "--version"], check=True, capture_output=True, text=True).stdout
        server = next(word.removeprefix("v=") for word in said.split() if word.startswith("v="))
        return [*super().versions(), f"redis-server {server}"]

    async def open(self, service: Service, port: int) -> None:
        self._redis = Redis(host="127.0.0.1", port=port)

    async def close(self) -> None:
        await self.redis.aclose()

    @property
    def redis(self) -> Redis:
        """The client that `open` made."""
        if self._redis is None:
            raise RuntimeError("the client is not open")
        return self._redis


class RedisPubSub(_RedisPeer):
    """Nothing is written to disk, and a slow subscriber is not thrown out: both in its favour."""

    title = "redis-py"
    messages = 120_000

    def server(self, service: Service, port: int, scratch: Path) -> Server:
        return redis_server(port, scratch)

    async def subscribe(self, channel: str, count: int) -> Callable[[], Awaitable[Reception]]:
        listener = self.redis.pubsub(ignore_subscribe_messages=True)
        await listener.subscribe(channel)
        await listener.get_message(timeout=FIRST_SECONDS)  # the server's word that it is subscribed

        async def reception() -> Reception:
            received = octets = 0
            patience = FIRST_SECONDS
            while received < count:
                message = await listener.get_message(timeout=patience)
                if message is None:
                    return Reception(received, time.monotonic() - patience)
                octets += len(message["data"])
                received += 1
                patience = IDLE_SECONDS
            return Reception(received, time.monotonic())

        return reception

    async def publish(self, channel: str, count: int) -> None:
        for start in range(0, count, PIPELINED):
            pipeline = self.redis.pipeline(transaction=False)
            for _ in range(min(PIPELINED, count - start)):
                pipeline.publish(channel, PAYLOAD)
            await pipeline.execute()


class RedisSynced(_RedisPeer):
    """XADD, XREADGROUP with XACK, and SET, each write synced to disk: no delays, dead letters or revisions."""

    title = "redis-py, appendfsync always"
    messages = 0
    stored = 60_000

    def server(self, service: Service, port: int, scratch: Path) -> Server:
        return redis_server(port, scratch, synced=True)

    async def storer(self, channel: str) -> Call:
        waiting: deque[asyncio.Future[None]] = deque()
        one = asyncio.Lock()

        async def store(_: int) -> None:
            stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append(stored)
            async with one:  # one pipeline at a time, with what waits then
                if stored.done():
                    return
                taken = [waiting.popleft() for _ in range(min(PIPELINED, len(waiting)))]
                pipeline = self.redis.pipeline(transaction=False)
                for _ in range(len(taken)):
                    pipeline.xadd(channel, {"data": PAYLOAD})
                await pipeline.execute()
                for each in taken:
                    each.set_result(None)

        return store

    async def keep(self, channel: str) -> None:
        await self.redis.xgroup_create(channel, DURABLE, id="0", mkstream=True)

    async def consume(self, channel: str, count: int) -> Reception:
        received = octets = 0
        while received < count:
            words = ("GROUP", DURABLE, "bench", "COUNT", PIPELINED, "BLOCK", IDLE_MILLISECONDS, "STREAMS", channel, ">")
            got: Any = await self.redis.execute_command("XREADGROUP", *words)
            if not got:
                break
            ((_, entries),) = got.items() if isinstance(got, dict) else got
            octets += sum(len(fields[b"data"]) for _, fields in entries)
            await self.redis.xack(channel, DURABLE, *(number for number, _ in entries))
            received += len(entries)
        return Reception(received, time.monotonic())

    def saver(self) -> Call:
        redis = self.redis

        async def save(index: int) -> None:
            await redis.set(key(index), PAYLOAD)

        return save

    def getter(self) -> Call:
        redis = self.redis

        async def get(index: int) -> None:
            if await redis.get(key(index)) != PAYLOAD:
                raise AssertionError(f"{key(index)} did not come back as it was saved")

        return get
