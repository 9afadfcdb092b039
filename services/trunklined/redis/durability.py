"""Durability: what Redis keeps of what it answered, as far as it says so."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

import redis.asyncio
import structlog
from redis.exceptions import NoPermissionError, ResponseError

from trunkline.errors import OverloadedError, StorageError
from trunklined.redis.link import Link

log = structlog.get_logger()

REFRESH_SECONDS: Final = 10.0
AGAIN_SECONDS: Final = 0.5
"""After a reading that failed."""

Kept = Literal["memory", "stored"]
"""What is true of an answered write. "stored": it was synced to disk before; "memory": Redis has it, and no more."""


async def read_kept(client: redis.asyncio.Redis) -> Kept:
    """Returns what a server keeps: "stored" only where it says that each write is synced before it is answered
    (appendonly yes, appendfsync always). Where CONFIG may not be read: "memory"."""
    try:
        pairs = await client.execute_command("CONFIG", "GET", "append*")
    except (NoPermissionError, ResponseError):  # some hosts have no CONFIG at all
        return "memory"
    found = pairs if isinstance(pairs, dict) else dict(zip(pairs[::2], pairs[1::2], strict=True))
    settings = {_text(name): _text(value) for name, value in found.items()}
    always = settings.get("appendonly") == "yes" and settings.get("appendfsync") == "always"
    return "stored" if always else "memory"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


class Durability:
    """What Redis keeps, read again from time to time: settings can be changed while it runs.

    Args:
        link: the way to it.
        seconds: how often it is read.
    """

    def __init__(self, link: Link, seconds: float = REFRESH_SECONDS) -> None:
        self._link = link
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None
        self.kept: Kept = "memory"
        """As was read last; "memory" after a reading that failed."""

    async def open(self) -> None:
        """Reads it, and reads it again until `close`. Raises as `Link.run`."""
        self.kept = await self._link.run(read_kept)
        self._task = asyncio.create_task(self._read_forever(), name="redis-durability")

    async def close(self) -> None:
        """Stops reading; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def _read_forever(self) -> None:
        seconds = self._seconds
        while True:
            await asyncio.sleep(seconds)
            try:
                kept, seconds = await self._link.run(read_kept), self._seconds
            except (StorageError, OverloadedError):  # whoever calls Redis hears it too
                kept, seconds = "memory", min(AGAIN_SECONDS, self._seconds)
            if kept != self.kept:
                log.warning("what Redis keeps has changed", kept=kept, before=self.kept)
                self.kept = kept
