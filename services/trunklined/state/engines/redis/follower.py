"""Follower: hears what all replicas commit, in order, each change once."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

import structlog

from trunkline.errors import OverloadedError, StorageError, StorageUnavailableError
from trunkline.records import RecordKind
from trunklined.redis.checks import FORMAT_KEY, format_mark
from trunklined.redis.link import Link
from trunklined.redis.target import Target
from trunklined.state.engines.engine import Listener, News
from trunklined.state.engines.redis.attempt import Heads
from trunklined.state.engines.redis.layout import (
    FORMAT,
    ROOM,
    Keys,
    Logged,
    head_of,
    key_of,
    logged_of,
    revision_of,
    touched_of,
)
from trunklined.state.engines.redis.scripts import RENUMBER, TERMS
from trunklined.state.records import Change, Head, Holdings, RecordKey

log = structlog.get_logger()

BLOCK_SECONDS: Final = 1.0
"""How long Redis keeps a question open where there is nothing new."""
READ_AT_ONCE: Final = 64
RETRY_SECONDS: Final = 0.25
OWN_SECONDS: Final = 1.0
"""How long a commit waits at the most until what others committed before it was heard."""


class Follower:
    """Follows the log of changes, on a connection of its own.

    What Redis lost, since a replica took over that did not have it or since its disk was not synced, shows when the
    entry that was heard last is not there any more. Then revisions go on above all that was heard, and the listener is
    told to start anew.

    Args:
        target: where Redis is.
        keys: of the store.
        heads: is told what is heard.
    """

    def __init__(self, target: Target, keys: Keys, heads: Heads) -> None:
        self._link = Link(target, ROOM, max_connections=4, on_connected=self._reconnected)
        self._keys = keys
        self._heads = heads
        self._listener: Listener | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_new_connection = False
        self._revision = 0
        self._commit = b""
        """What the log calls the commit of the last change that was heard."""
        self._touch = b"0-0"
        self._oldest = 0
        self._records = dict.fromkeys(RecordKind, 0)
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = count()
        self._trouble: StorageError | None = None
        self._restarting = asyncio.Lock()

    @property
    def revision(self) -> int:
        """Revision of the last change that was heard."""
        return self._revision

    @property
    def holdings(self) -> Holdings:
        """The revision that was heard last, and the counts at that time."""
        return Holdings(self._revision, self._oldest, self._records)

    async def open(self, listener: Listener) -> None:
        """Begins where the log ends now, and tells the listener what comes."""
        self._listener = listener
        await self._start()
        self._is_new_connection = False
        self._task = asyncio.create_task(self._follow_forever(), name="state-follower")

    async def close(self) -> None:
        """Stops following; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        for _, _, waiter in self._waiters:
            waiter.cancel()
        self._waiters.clear()
        await self._link.close()

    async def terms(self) -> list[tuple[RecordKey, Head]]:
        """Returns what ends by itself, with the times of their ends by this machine's clock."""
        keys = self._keys
        found = await self._link.run(
            lambda client: TERMS.call(client, (keys.heads, keys.ends, keys.bound), ()), idempotent=True
        )
        now = time.time_ns() // 1_000_000
        terms = []
        for field, text, left in zip(found[::3], found[1::3], found[2::3], strict=True):
            head = head_of(text)
            if head.term.ttl_ms:
                # 0 would be: its whole TTL
                head = head._replace(term=head.term._replace(expires_at_ms=max(1, now + int(left))))
            terms.append((key_of(field), head))
        return terms

    async def catch_up(self) -> None:
        """Returns when all was heard that was committed before."""
        answer = await self._link.call("HMGET", self._keys.store, "revision", "oldest", idempotent=True)
        self._oldest = int(answer[1] or 0)
        if not await self._until(int(answer[0] or 0), self._link.target.timeout):
            raise StorageUnavailableError("what other replicas committed is not heard: try again")

    async def committed(self, changes: Sequence[Change], oldest: int, name: bytes, *, published: bool) -> None:
        """Tells what this replica committed: at once where all before it was heard, else in its turn. `oldest`: see
        `Holdings`."""
        self._oldest = max(self._oldest, oldest)
        if changes[0].revision == self._revision + 1:
            self._tell([Logged(change, name, published) for change in changes])
        else:
            await self._until(changes[-1].revision, OWN_SECONDS)

    async def restart(self) -> None:
        """Starts anew where what was heard is not what Redis has."""
        async with self._restarting:
            if not await self._is_void():
                return
            heard = self._revision
            keys = self._keys.store, self._keys.log, self._link.key(FORMAT_KEY)
            next = await self._link.run(
                lambda client: RENUMBER.call(client, keys, (heard, format_mark(ROOM, FORMAT))), idempotent=True
            )
            log.error(
                "Redis has lost changes, or this replica missed some: all watches start anew",
                heard=heard,
                revision=int(next),
            )
            await self._start()
            self._heads.clear()
            terms = await self.terms()
            if self._listener is not None:
                self._listener.restarted(terms)

    async def _start(self) -> None:
        keys = self._keys

        async def look(client: Any) -> Any:
            async with client.pipeline(transaction=True) as pipeline:
                names = ("revision", "oldest", *(f"count:{kind.value}" for kind in RecordKind))
                pipeline.execute_command("HMGET", keys.store, *names)
                pipeline.execute_command("XREVRANGE", keys.log, "+", "-", "COUNT", 1)
                pipeline.execute_command("XREVRANGE", keys.touches, "+", "-", "COUNT", 1)
                return await pipeline.execute()

        (revision, oldest, *counts), last, touch = await self._link.run(look, idempotent=True)
        self._records = {kind: int(each or 0) for kind, each in zip(RecordKind, counts, strict=True)}
        self._oldest = int(oldest or 0)
        self._commit = logged_of(last[0]).commit if last else b""
        self._touch = touch[0][0] if touch else b"0-0"
        self._move(int(revision or 0))

    async def _is_void(self) -> bool:
        """Returns whether the change that was heard last is not, or the ones after it are not all, in the log."""
        keys, heard = self._keys, self._revision

        async def look(client: Any) -> Any:
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.execute_command("HMGET", keys.store, "revision", "oldest")
                pipeline.execute_command("XRANGE", keys.log, f"{heard}-0", f"{heard}-0")
                return await pipeline.execute()

        (revision, oldest), found = await self._link.run(look, idempotent=True)
        self._oldest = int(oldest or 0)
        if int(revision or 0) < heard or self._oldest > heard:
            return True
        if self._oldest == heard or heard != self._revision:
            return False  # it was removed for its age just now; or another was heard meanwhile
        return not found or logged_of(found[0]).commit != self._commit

    async def _follow_forever(self) -> None:
        while True:
            try:
                await self._follow()
            except (StorageError, OverloadedError) as error:
                self._turn(error if isinstance(error, StorageError) else StorageError(error.message))
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("the log could not be followed")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._turn(None)

    async def _follow(self) -> None:
        keys = self._keys
        block = int(min(BLOCK_SECONDS, self._link.target.timeout / 2) * 1000)
        command = ("XREAD", "COUNT", READ_AT_ONCE, "BLOCK", block, "STREAMS", keys.log, keys.touches)
        answer = await self._link.run(
            lambda client: client.execute_command(*command, f"{self._revision}-0", self._touch), retry_seconds=0
        )
        if self._is_new_connection:
            self._is_new_connection = False
            await self.restart()
            return
        found = answer if isinstance(answer, dict) else dict(answer or ())
        entries = found.get(keys.log.encode(), ())
        new = [logged_of(entry) for entry in entries if revision_of(entry[0]) > self._revision]  # its own were told
        if new and new[0].change.revision != self._revision + 1:
            await self.restart()
            return
        if new:
            self._tell(new)
        touches = found.get(keys.touches.encode(), ())
        if touches:
            self._touch = touches[-1][0]
            self._tell_touched(dict(touched_of(entry) for entry in touches))

    def _tell(self, entries: Sequence[Logged]) -> None:
        for change, _, _ in entries:
            key = change.kind, change.id
            head = None if change.facets is None else Head(change.revision, change.facets, change.term)
            self._heads.hear(key, change.revision, head)
            self._records[change.kind] += (change.body is not None) - (change.before is not None)
        self._commit = entries[-1].commit
        if self._listener is not None:
            published = any(entry.published for entry in entries)
            self._listener.heard(News([entry.change for entry in entries], {}, published))
        self._move(entries[-1].change.revision)

    def _tell_touched(self, touched: dict[RecordKey, Head]) -> None:
        for key, head in [*touched.items()]:
            known = self._heads.get(key)
            if known is not None and known.revision != head.revision:
                del touched[key]  # it was changed since
            else:
                self._heads.hear(key, head.revision, head)
        if touched and self._listener is not None:
            self._listener.heard(News((), touched, False))

    def _reconnected(self) -> None:
        self._is_new_connection = True

    def _move(self, revision: int) -> None:
        self._revision = revision
        while self._waiters and self._waiters[0][0] <= revision:
            waiter = heapq.heappop(self._waiters)[2]
            if not waiter.done():
                waiter.set_result(None)

    async def _until(self, revision: int, seconds: float) -> bool:
        """Waits until a revision was heard; returns whether it was."""
        if revision <= self._revision:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (revision, next(self._tickets), waiter))
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            return False
        return True

    def _turn(self, trouble: StorageError | None) -> None:
        was, self._trouble = self._trouble, trouble
        if (was is None) != (trouble is None):
            if trouble is None:
                log.info("Redis answers again")
            else:
                log.error("Redis does not answer", reason=trouble.message)
            if self._listener is not None:
                self._listener.reachable(trouble)
