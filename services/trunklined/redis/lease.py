"""NamedLease: what one of several replicas holds for a time, with a number that rises for ever (a fencing token)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from trunkline.errors import OverloadedError, StorageError
from trunklined.redis.link import Link
from trunklined.redis.script import Script

log = structlog.get_logger()

# The number is above the last one, and above what Redis's clock says: it rises also where Redis lost the last one.
_ACQUIRE: Final = Script("""
local lease, last = KEYS[1], KEYS[2]
local holder, ttl, note = ARGV[1], ARGV[2], ARGV[3]
local held = redis.call('HMGET', lease, 'holder', 'number', 'note')
if held[1] then
  return {0, held[1], held[2], held[3], redis.call('PTTL', lease)}
end
local now = redis.call('TIME')
local number = math.max(tonumber(redis.call('GET', last) or '0') + 1, now[1] * 1000 + math.floor(now[2] / 1000))
local text = string.format('%.0f', number)
redis.call('SET', last, text)
redis.call('HSET', lease, 'holder', holder, 'number', text, 'note', note)
redis.call('PEXPIRE', lease, ttl)
return {1, holder, text, note, tonumber(ttl)}
""")

_RENEW: Final = Script("""
if redis.call('HGET', KEYS[1], 'number') ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
""")

_RELEASE: Final = Script("""
if redis.call('HGET', KEYS[1], 'number') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")


TRY_SECONDS: Final = 0.5
"""How often a replica tries for a lease that another holds."""


class Holder(NamedTuple):
    """Who holds a lease: its id, its number, what it says of itself, and the seconds until it ends unless renewed."""

    holder: str
    number: int
    note: str
    seconds: float


class NamedLease:
    """A lease that this replica takes when it is free, and renews.

    `number` is above that of every holder before. A script that writes for the holder compares it in the same step:

        if redis.call('HGET', KEYS[lease], 'number') ~= ARGV[number] then return refused end

    The lease counts as held until its time has passed by this process's own clock, from before it was renewed; a
    process that was stopped and wakes up does not hold it any more, whatever it did last. Redis's clock ends it.

    Args:
        link: the way to Redis. The lease is a key of its room.
        name: of the lease.
        holder: who takes it: unique among all replicas and all their lives.
        ttl: seconds that it stays without being renewed.
        note: what the holder says of itself to the others, such as its address.
        on_held: called with the number when it was taken.
        on_lost: called when it is held no more; once for each `on_held`.
    """

    def __init__(
        self,
        link: Link,
        name: str,
        holder: str,
        *,
        ttl: float,
        note: str = "",
        on_held: Callable[[int], None] = lambda number: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.ttl = ttl
        self.key = link.key(f"lease:{name}")
        """The hash in Redis, whose field `number` scripts compare."""
        self._last = link.key(f"fence:{name}")
        self._link = link
        self._holder = holder
        self.note = note
        self.on_held = on_held
        self.on_lost = on_lost
        self._number = 0
        self._until = 0.0
        self._other: tuple[Holder, float] | None = None
        self._task: asyncio.Task[None] | None = None
        self._given_back = asyncio.Event()
        """It is not renewed, then, but tried for."""

    @property
    def number(self) -> int:
        """The number with which it is held; 0: it is not held."""
        return self._number if self.is_held else 0

    @property
    def is_held(self) -> bool:
        """Whether this replica holds it now, by its own clock."""
        return self._number != 0 and time.monotonic() < self._until

    @property
    def remaining(self) -> float:
        """Seconds for which it is held unless it is renewed; 0: it is not held."""
        return max(0.0, self._until - time.monotonic()) if self._number else 0.0

    @property
    def holder(self) -> Holder | None:
        """Who holds it, as far as was heard within its time; None: nobody, or not known."""
        if self.is_held:
            return Holder(self._holder, self._number, self.note, self.remaining)
        if self._other is None:
            return None
        other, until = self._other
        remaining = until - time.monotonic()
        return other._replace(seconds=remaining) if remaining > 0 else None

    def start(self) -> None:
        """Begins to try for it, and to renew it, until `close`."""
        self._task = asyncio.create_task(self._hold_forever(), name=f"lease-{self.name}")

    async def close(self) -> None:
        """Stops and gives it back, so that another can take it at once; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        await self.release()

    async def acquire(self) -> bool:
        """Takes it if it is free; returns whether it is held. Raises as `Link.run`."""
        if self.is_held:
            return True
        self._lose()
        began = time.monotonic()
        taken, holder, number, note, left = await self._link.run(
            lambda client: _ACQUIRE.call(
                client, (self.key, self._last), (self._holder, int(self.ttl * 1000), self.note)
            ),
            retry_seconds=0,
        )
        if not taken and holder.decode() != self._holder:
            seconds = max(0, left) / 1000
            other = Holder(holder.decode(), int(number), note.decode(), seconds)
            self._other = other, time.monotonic() + seconds
            return False
        # Ours already: the answer to an earlier call was lost.
        self._other = None
        self._number = int(number)
        self._until = began + (self.ttl if taken else max(0, left) / 1000)
        self.on_held(self._number)
        return True

    async def renew(self) -> bool:
        """Begins its time anew; False: it is held no more. Raises as `Link.run`."""
        number, began = self.number, time.monotonic()
        if not number:
            self._lose()
            return False
        renewed = await self._link.run(
            lambda client: _RENEW.call(client, (self.key,), (number, int(self.ttl * 1000))), retry_seconds=0
        )
        if not renewed or not self.is_held:
            self._lose()
            return False
        self._until = began + self.ttl
        return True

    async def release(self) -> None:
        """Gives it back, if it is held; where Redis is away it ends by its time."""
        number = self.number
        self._lose()
        if number:
            try:
                await self._link.run(lambda client: _RELEASE.call(client, (self.key,), (number,)), retry_seconds=0)
            except (StorageError, OverloadedError) as error:
                log.warning("a lease was not given back, and ends by its time", lease=self.name, reason=error.message)
            self._given_back.set()

    def lost(self) -> None:
        """Takes note that a script was refused because of the number."""
        self._lose()

    def _lose(self) -> None:
        if self._number:
            self._number, self._until = 0, 0.0
            self.on_lost()

    async def _hold_forever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self.remaining if self._number else None):
                    await (self.renew() if self.is_held else self.acquire())
            except TimeoutError:
                log.warning("a lease was not renewed in time", lease=self.name)
            except (StorageError, OverloadedError) as error:
                log.warning("a lease could not be renewed or taken", lease=self.name, reason=error.message)
            if self._number and not self.is_held:
                self._lose()
            self._given_back.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds_to_next()):
                    await self._given_back.wait()

    def _seconds_to_next(self) -> float:
        if self.is_held:
            return min(self.ttl / 3, self.remaining)
        # One that was given back is free before its time; those that wait come one after the other.
        return min(self.ttl / 3, TRY_SECONDS) * random.uniform(0.8, 1.2)
