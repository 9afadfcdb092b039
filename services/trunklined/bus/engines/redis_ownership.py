"""The lease in Redis by which one replica owns the journal, and the engines of those terms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from secrets import token_hex
from typing import Final

import structlog

from trunkline.errors import OverloadedError, StorageError
from trunklined.bus.engines.redis import LOOK_BACK, ROOM, TYPES, VERSION, RedisJournal
from trunklined.redis.checks import check_redis
from trunklined.redis.durability import Durability
from trunklined.redis.lease import NamedLease
from trunklined.redis.link import Link, SyncLink
from trunklined.redis.script import Copies
from trunklined.redis.target import Target

log = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether Redis has lost commits."""


class RedisOwnership:
    """See `OwnershipLease`.

    Args:
        target: where Redis is.
        ttl: seconds that the lease stays without being renewed.
        copies: which replicas of Redis shall have a commit before it is answered; of count 0: they are not asked.
        max_bytes: see `RedisJournal`.
    """

    def __init__(self, target: Target, *, ttl: float, copies: Copies, max_bytes: int | None) -> None:
        self._target = target
        self._copies = copies if copies.count else None
        self._max_bytes = max_bytes
        self._link = Link(target, ROOM, max_connections=4)
        self._durability = Durability(self._link)
        self._lease = NamedLease(self._link, "owner", token_hex(8), ttl=ttl)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._releasing: asyncio.Future[None] | None = None
        self._terms: dict[int, RedisJournal] = {}
        """By their numbers, the engines of terms of this replica of which it is not known yet whether Redis has all
        commits that it answered."""
        self._head = self._link.key("head")
        self._looking: asyncio.Task[None] | None = None

    @property
    def owner(self) -> str | None:
        """The address of the replica that holds the lease; None: nobody does, or it is not known."""
        holder = self._lease.holder
        return holder.note if holder is not None else None

    async def open(
        self,
        address: str,
        on_held: Callable[[], None],
        on_lost: Callable[[], None],
        on_lost_commits: Callable[[int], None],
    ) -> None:
        """Makes sure that Redis can be trusted, and begins to try for the lease.

        Args:
            address: where the other replicas reach this one.
            on_held, on_lost: called when the lease was taken, and when it is held no more.
            on_lost_commits: called while it is held, again and again, with how many commits that it had answered Redis
                has lost, as far as it is known.

        Raises:
            StorageError: it cannot.
        """
        self._loop = asyncio.get_running_loop()
        await check_redis(self._link, ROOM, VERSION, TYPES)
        if self._copies is not None and self._copies.synced:
            await self._check_synced_copies()
        await self._durability.open()
        self._lease.note = address
        self._lease.on_held = lambda number: on_held()
        self._lease.on_lost = on_lost
        self._lease.start()
        self._looking = asyncio.create_task(self._look_forever(on_lost_commits), name="journal-looking-back")

    async def _check_synced_copies(self) -> None:
        if not await self._link.call("COMMAND LIST", "FILTERBY", "PATTERN", "waitaof"):
            raise StorageError(
                f"Redis at {self._target} cannot say what its replicas have synced (WAITAOF): Redis 7.2 or Valkey can",
                details={"setting": "journal_copies_synced"},
            )

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
        engine = RedisJournal(
            SyncLink(self._target, ROOM, max_connections=2),
            self._lease,
            copies=self._copies,
            kept=lambda: self._durability.kept,
            on_lost=partial(self._give_up, number),
            max_bytes=self._max_bytes,
        )
        if number:
            self._terms[number] = engine
        return engine

    def _give_up(self, number: int) -> None:
        """Lets go of the lease in Redis too, so that it comes with another number; of no later one. Called in any
        thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._release, number)

    def _release(self, number: int) -> None:
        if self._lease.number == number:
            self._releasing = asyncio.ensure_future(self._lease.release())

    async def _look_forever(self, on_lost_commits: Callable[[int], None]) -> None:
        """What Redis lost shows only when somebody looks: the owner that had it answered may have lost its lease before
        its next commit."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                for number in [each for each in self._terms if each != self._lease.number]:
                    await self._look_back(number)
                if self._lease.is_held:
                    on_lost_commits(int(await self._link.call("HGET", self._head, "lost") or 0))
            except (StorageError, OverloadedError) as error:  # whoever else calls Redis complains of it
                log.debug("what Redis has lost is not known", reason=error.message)

    async def _look_back(self, number: int) -> None:
        commit = self._terms[number].last_answered
        if commit is None:  # it never began
            del self._terms[number]
            return
        said, *lost = await self._link.run(lambda client: LOOK_BACK.call(client, (self._head,), (number, commit)))
        if said != b"open":
            del self._terms[number]
        if lost:
            log.error(
                "Redis has lost commits that it had answered: what was stored with them is gone, what was acked with"
                " them comes again",
                commits=int(lost[1]),
                in_all=int(lost[0]),
            )

    async def close(self) -> None:
        """Gives the lease back; idempotent."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait((looking,))
        await self._lease.close()
        await self._durability.close()
        await self._link.close()
