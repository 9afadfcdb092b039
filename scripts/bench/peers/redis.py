"""redis-py with redis-server: publish/subscribe, the publisher pipelining 128 at a time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from redis.asyncio import Redis

from scripts.bench.payload import PAYLOAD
from scripts.bench.peer import Peer, Reception, Server, Service
from scripts.bench.tally import FIRST_SECONDS, IDLE_SECONDS

PIPELINED = 128


class RedisPubSub(Peer):
    """Nothing is written to disk, and a slow subscriber is not thrown out: both in its favour."""

    title = "redis-py"
    messages = 120_000
    libraries = ("redis",)

    def __init__(self) -> None:
        self._redis: Redis | None = None

    def versions(self) -> Sequence[str]:
        said = subprocess.run(["redis-server", "--version"], check=True, capture_output=True, text=True).stdout
        server = next(word.removeprefix("v=") for word in said.split() if word.startswith("v="))
        return [*super().versions(), f"redis-server {server}"]

    def server(self, service: Service, port: int, scratch: Path) -> Server:
        options = {"bind": "127.0.0.1", "port": str(port), "dir": str(scratch), "save": "", "appendonly": "no"}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return Server(("redis-server", *words, "--client-output-buffer-limit", "pubsub", "0", "0", "0"))

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
