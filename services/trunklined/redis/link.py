"""Links: calls of Redis that are bounded, tried again where nothing was done, and whose errors are translated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import redis
import redis.asyncio
from redis.exceptions import RedisError
from tenacity import AsyncRetrying, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from trunklined.redis.connections import MAX_CONNECTIONS, connect, connect_sync
from trunklined.redis.errors import is_temporary, is_unanswered, translate
from trunklined.redis.target import Target

T = TypeVar("T")


AGAIN_SECONDS: Final = 0.01
"""How long a call waits before it is tried a second time."""


def _may_try_again(error: BaseException, *, idempotent: bool) -> bool:
    return is_temporary(error) or (idempotent and is_unanswered(error))


def _is_over(error: RedisError, until: float, *, idempotent: bool) -> bool:
    """Whether a call that failed is not tried again."""
    return time.monotonic() >= until or not _may_try_again(error, idempotent=idempotent)


def _retrying(until: float, *, idempotent: bool) -> dict[str, Any]:
    """How tenacity tries a call again until a time. The first attempt is made without it: it takes as long as a small
    command does."""
    return {
        "retry": retry_if_exception(lambda error: _may_try_again(error, idempotent=idempotent)),
        "stop": stop_after_delay(max(0.0, until - time.monotonic())),
        "wait": wait_random_exponential(multiplier=0.02, max=0.5),
        "reraise": True,
    }


class Link:
    """The way to the master that has a room's keys, for one event loop.

    Args:
        target: where Redis is.
        room: whose keys; see `Target.key`.
        max_connections: at the most; each has one call at a time.
        retry_seconds: how long a call is tried again at the most, while Redis says, or its silence says, that nothing
            was done. 0: never. None: as long as the target says.
        on_connected: called when a connection was made, before its first call.
    """

    def __init__(
        self,
        target: Target,
        room: str,
        *,
        max_connections: int = MAX_CONNECTIONS,
        retry_seconds: float | None = None,
        on_connected: Callable[[], None] = lambda: None,
    ) -> None:
        self.target = target
        self.room = room
        self.client: redis.asyncio.Redis = connect(
            target, room, max_connections=max_connections, on_connected=on_connected
        )
        """The client itself, for subscriptions; its errors are those of redis-py."""
        self._retry_seconds = target.wait if retry_seconds is None else retry_seconds

    def key(self, name: str) -> str:
        """Returns a key of the room."""
        return self.target.key(self.room, name)

    async def run(
        self,
        step: Callable[[redis.asyncio.Redis], Awaitable[T]],
        retry_seconds: float | None = None,
        *,
        idempotent: bool = False,
    ) -> T:
        """Awaits `step` with the client and returns what it returns. Where it has several calls, it is tried again as a
        whole: it must not matter that the first ones were done.

        Args:
            step: what to do.
            retry_seconds: as the link's.
            idempotent: it is tried again also where it is not known whether it was done.

        Raises:
            StorageUnavailableError: Redis is away; nothing was done. `UnansweredError`: that is not known.
            OverloadedError: its memory is full; nothing was done.
            StorageError: it refuses; nothing was done.
        """
        until = time.monotonic() + (self._retry_seconds if retry_seconds is None else retry_seconds)
        try:
            try:
                return await step(self.client)
            except RedisError as error:
                if _is_over(error, until, idempotent=idempotent):
                    raise
            await asyncio.sleep(AGAIN_SECONDS)
            async for attempt in AsyncRetrying(**_retrying(until, idempotent=idempotent)):
                with attempt:
                    return await step(self.client)
        except RedisError as error:
            raise translate(error, self.target) from error
        raise AssertionError("unreachable: the last attempt raises")

    async def call(self, *command: Any, idempotent: bool = False) -> Any:
        """Does one command; see `run`."""
        return await self.run(lambda client: client.execute_command(*command), idempotent=idempotent)

    async def close(self) -> None:
        """Drops all connections; idempotent."""
        await self.client.aclose()
        await self.client.connection_pool.disconnect()


class SyncLink:
    """The same for threads; see `Link`."""

    def __init__(
        self,
        target: Target,
        room: str,
        *,
        max_connections: int = MAX_CONNECTIONS,
        retry_seconds: float | None = None,
    ) -> None:
        self.target = target
        self.room = room
        self.client: redis.Redis = connect_sync(target, room, max_connections=max_connections)
        self._retry_seconds = target.wait if retry_seconds is None else retry_seconds

    def key(self, name: str) -> str:
        """Returns a key of the room."""
        return self.target.key(self.room, name)

    def run(
        self, step: Callable[[redis.Redis], T], retry_seconds: float | None = None, *, idempotent: bool = False
    ) -> T:
        """Calls `step` with the client; see `Link.run`."""
        until = time.monotonic() + (self._retry_seconds if retry_seconds is None else retry_seconds)
        try:
            try:
                return step(self.client)
            except RedisError as error:
                if _is_over(error, until, idempotent=idempotent):
                    raise
            time.sleep(AGAIN_SECONDS)
            for attempt in Retrying(**_retrying(until, idempotent=idempotent)):
                with attempt:
                    return step(self.client)
        except RedisError as error:
            raise translate(error, self.target) from error
        raise AssertionError("unreachable: the last attempt raises")

    def call(self, *command: Any, idempotent: bool = False) -> Any:
        """Does one command; see `run`."""
        return self.run(lambda client: client.execute_command(*command), idempotent=idempotent)

    def close(self) -> None:
        """Drops all connections; idempotent."""
        self.client.close()
        self.client.connection_pool.disconnect()
