"""Script: a Lua script that Redis runs as one step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError


@dataclass(frozen=True, slots=True)
class Copies:
    """How many replicas must have a write, and for how many seconds they are waited for.

    Args:
        synced: they must have it on their disks (WAITAOF), not in memory alone (WAIT).
    """

    count: int
    seconds: float
    synced: bool = False

    @property
    def command(self) -> tuple[str | int, ...]:
        """What waits for them, behind the write."""
        milliseconds = int(self.seconds * 1000)
        return ("WAITAOF", 0, self.count, milliseconds) if self.synced else ("WAIT", self.count, milliseconds)

    def counted(self, answer: Any) -> int:
        """Returns how many have it, of what the command answered."""
        return int(answer[1] if self.synced else answer)


class Script:
    """A script that is called by its hash, and sent whole to a server that does not know it."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self._sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def call(self, client: redis.asyncio.Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Runs it and returns its answer; raises as redis-py does."""
        try:
            return await client.execute_command("EVALSHA", self._sha, len(keys), *keys, *args)
        except NoScriptError:
            return await client.execute_command("EVAL", self.text, len(keys), *keys, *args)

    def call_sync(self, client: redis.Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Runs it in a thread; see `call`."""
        try:
            return client.execute_command("EVALSHA", self._sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.execute_command("EVAL", self.text, len(keys), *keys, *args)

    def call_copied_sync(
        self, client: redis.Redis, keys: Sequence[str], args: Sequence[Any], copies: Copies
    ) -> tuple[Any, int]:
        """Runs it in a thread, and returns its answer with the number of replicas that have what it wrote; in one round
        trip."""
        try:
            return self._copied_sync(client, "EVALSHA", self._sha, keys, args, copies)
        except NoScriptError:
            return self._copied_sync(client, "EVAL", self.text, keys, args, copies)

    @staticmethod
    def _copied_sync(
        client: redis.Redis, how: str, what: str, keys: Sequence[str], args: Sequence[Any], copies: Copies
    ) -> tuple[Any, int]:
        with client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(how, what, len(keys), *keys, *args)
            pipeline.execute_command(*copies.command)
            answer, count = pipeline.execute()
        return answer, copies.counted(count)
