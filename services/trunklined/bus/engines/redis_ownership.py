"""The lease in Redis by which one replica owns the journal, and the engines of those terms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from secrets import token_hex

from trunklined.bus.engines.redis import ROOM, TYPES, VERSION, RedisJournal
from trunklined.redis.checks import check_redis
from trunklined.redis.durability import Durability
from trunklined.redis.lease import NamedLease
from trunklined.redis.link import Link, SyncLink
from trunklined.redis.script import Copies
from trunklined.redis.target import Target


class RedisOwnership:
    """See `OwnershipLease`.

    Args:
        target: where Redis is.
        ttl: seconds that the lease stays without being renewed.
        copies: how many replicas of Redis shall have a commit before it is answered; 0: they are not asked.
        copy_seconds: how long these are waited for.
        max_bytes: see `RedisJournal`.
    """

    def __init__(self, target: Target, *, ttl: float, copies: int, copy_seconds: float, max_bytes: int | None) -> None:
        self._target = target
        self._copies = Copies(copies, copy_seconds) if copies else None
        self._max_bytes = max_bytes
        self._link = Link(target, ROOM, max_connections=4)
        self._durability = Durability(self._link)
        self._lease = NamedLease(self._link, "owner", token_hex(8), ttl=ttl)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._releasing: asyncio.Future[None] | None = None

    @property
    def owner(self) -> str | None:
        """The address of the replica that holds the lease; None: nobody does, or it is not known."""
        holder = self._lease.holder
        return holder.note if holder is not None else None

    async def open(self, address: str, on_held: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Makes sure that Redis can be trusted, and begins to try for the lease.

        Args:
            address: where the other replicas reach this one.
            on_held, on_lost: called when the lease was taken, and when it is held no more.

        Raises:
            StorageError: it cannot.
        """
        self._loop = asyncio.get_running_loop()
        await check_redis(self._link, ROOM, VERSION, TYPES)
        await self._durability.open()
        self._lease.note = address
        self._lease.on_held = lambda number: on_held()
        self._lease.on_lost = on_lost
        self._lease.start()

    async def replica_key(self) -> str:
        """Returns what the replicas of this bus know one another by; the first of them makes it. Raises as
        `Link.run`."""
        key = self._link.key("replica-key")
        await self._link.call("SET", key, token_hex(32), "NX")
        kept: bytes = await self._link.call("GET", key)
        return kept.decode()

    def new_engine(self) -> RedisJournal:
        """Returns an engine for the term that begins; one that is not to be opened where none does."""
        number = self._lease.number
        return RedisJournal(
            SyncLink(self._target, ROOM, max_connections=2),
            self._lease,
            copies=self._copies,
            kept=lambda: self._durability.kept,
            on_lost=partial(self._give_up, number),
            max_bytes=self._max_bytes,
        )

    def _give_up(self, number: int) -> None:
        """Lets go of the lease in Redis too, so that it comes with another number; of no later one. Called in any
        thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._release, number)

    def _release(self, number: int) -> None:
        if self._lease.number == number:
            self._releasing = asyncio.ensure_future(self._lease.release())

    async def close(self) -> None:
        """Gives the lease back; idempotent."""
        await self._lease.close()
        await self._durability.close()
        await self._link.close()
