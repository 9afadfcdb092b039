"""The Redis engine: plans here, against what it believes, and commits by one call that checks what was believed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final
from uuid import uuid4

import structlog

from trunkline.errors import OverloadedError, StateDisconnectedError, StorageError, StorageUnavailableError
from trunkline.records import RecordKind
from trunklined.redis.checks import check_redis
from trunklined.redis.durability import Durability
from trunklined.redis.errors import UnansweredError
from trunklined.redis.link import Link
from trunklined.redis.target import Target
from trunklined.relay.journal import Stock
from trunklined.state.engines.engine import SILENT, Commit, Listener, compacted
from trunklined.state.engines.redis.attempt import BASE, Attempt, Heads, Truth, reads_of
from trunklined.state.engines.redis.follower import Follower
from trunklined.state.engines.redis.layout import (
    FORMAT,
    OLDEST,
    ROOM,
    TYPES,
    entry_of,
    field_of,
    head_or_none,
    key_of,
    keys_of,
    logged_of,
)
from trunklined.state.engines.redis.outbox import RedisOutbox
from trunklined.state.engines.redis.reads import Lookups, read_page
from trunklined.state.engines.redis.scripts import COMMIT, EXTEND
from trunklined.state.planning import Bound, none_bound
from trunklined.state.records import (
    Change,
    End,
    Entry,
    Facets,
    Head,
    History,
    Holdings,
    Page,
    RecordKey,
    Transaction,
)

log = structlog.get_logger()

MAX_TRIES: Final = 32
"""Plans of one group of transactions at the most: each that is refused was so because another replica wrote."""
CHANGES_AT_ONCE: Final = 32

_DONE, _OTHERWISE, _BEHIND, _ELSEWHERE = 1, 0, 2, 4


class RedisEngine:
    """Keeps records in Redis, beside any number of other replicas.

    A group of transactions is planned here against the heads that this replica knows of, and written by one script,
    which compares what the plan relied on with what there is. Where that differs nothing is written, and the plan is
    made again with the truth. So each write takes one round trip, and two where another replica wrote the record last.

    Args:
        target: where Redis is.
        history: bounds of the changes that are stored for watches that resume.
        page_bytes: bodies of one page or of one read of changes; it ends before the record that would exceed it.
        answer_bytes: bodies that one transaction may read.
        outbox: counts the messages of the outbox.
    """

    name = "redis"
    reads_wait = True

    def __init__(self, target: Target, *, history: History, page_bytes: int, answer_bytes: int, outbox: Stock) -> None:
        self._id = uuid4().hex
        self._link = Link(target, ROOM)
        self._keys = keys_of(target)
        self._heads = Heads()
        self._follower = Follower(target, self._keys, self._heads)
        self._durability = Durability(self._link)
        self._bodies = Lookups(self._link, self._keys.bodies)
        self._head_texts = Lookups(self._link, self._keys.heads)
        self._history = history
        self._page_bytes = page_bytes
        self._answer_bytes = answer_bytes
        self._commits = 0
        self._is_open = False
        self.outbox = RedisOutbox(outbox, self._link, self._keys, self._id)

    async def open(self, listener: Listener = SILENT) -> None:
        """Checks Redis, and follows what all replicas commit."""
        try:
            await check_redis(self._link, ROOM, FORMAT, TYPES, OLDEST)
            await self._durability.open()
            await self._follower.open(listener)
            await self.outbox.open()
        except BaseException:
            await self.close()
            raise
        log.info("the store is in Redis", redis=str(self._link.target), kept=self._durability.kept)

    async def close(self) -> None:
        """Drops all connections; idempotent."""
        await self.outbox.close()
        await self._follower.close()
        await self._durability.close()
        await self._bodies.close()
        await self._head_texts.close()
        await self._link.close()

    @property
    def holdings(self) -> Holdings:
        """The revision that was heard of last, and the counts at that time."""
        return self._follower.holdings

    async def catch_up(self) -> None:
        """Returns when all was heard that any replica committed before."""
        await self._follower.catch_up()

    async def read(self, kind: RecordKind, id: str) -> Entry | None:
        """Returns one record as Redis has it now, or None."""
        key = kind, id
        return entry_of(key, await self._bodies.get(field_of(key)))

    async def head(self, kind: RecordKind, id: str) -> Head | None:
        """Returns one record without its body as Redis has it now, or None."""
        return head_or_none(await self._head_texts.get(field_of((kind, id))))

    async def page(self, kind: RecordKind, filter: Facets, after: str | None, limit: int) -> Page:
        """Returns records that match, in order of ids."""
        return await read_page(self._link, self._keys, kind, filter, after, limit, self._page_bytes)

    async def changes(self, after: int, limit: int) -> list[Change]:
        """Returns the changes after a revision."""
        found: list[Change] = []
        room, start = self._page_bytes, after
        while len(found) < limit:
            step = partial(self._logged, after=start, limit=min(CHANGES_AT_ONCE, limit - len(found)))
            oldest, entries = await self._link.run(step, idempotent=True)
            if start < oldest:
                if found:
                    break
                raise compacted(after, oldest)
            for entry in entries:
                change = logged_of(entry).change
                room -= len(change.body or b"")
                if room < 0 and found:
                    return found
                found.append(change)
                start = change.revision
            if len(entries) < CHANGES_AT_ONCE:
                break
        return found

    async def terms(self) -> list[tuple[RecordKey, Head]]:
        """Returns the records that end by themselves."""
        return await self._follower.terms()

    async def extend(self, key: RecordKey, revision: int) -> float | None:
        """Begins a TTL anew in Redis; all replicas hear of it."""
        keys = self._keys
        ttl_ms = await self._link.run(
            lambda client: EXTEND.call(client, (keys.heads, keys.ends, keys.touches), (field_of(key), revision)),
            idempotent=True,
        )
        return None if ttl_ms < 0 else ttl_ms / 1000

    async def write(self, transactions: Sequence[Transaction], bound: Bound = none_bound) -> Commit:
        """Plans, and commits what was planned if it is still right; else again."""
        if not any(transactions):
            return Commit([[] for _ in transactions], ())
        truth = Truth()
        reads = reads_of(transactions)
        base = BASE
        for _ in range(MAX_TRIES):
            if reads:
                await self._read(reads, truth)
            attempt = Attempt(transactions, self._heads, truth, bound, self._answer_bytes, base)
            if attempt.foresees(self._follower.revision):
                base = self._follower.revision
                attempt = Attempt(transactions, self._heads, truth, bound, self._answer_bytes, base)
            if attempt.is_known:
                return Commit(attempt.outcomes(0), ())
            self._commits += 1
            number, name = self._commits, f"{self._id}:{self._commits}"
            packed = attempt.packed(number, self._follower.revision, self._history, name)
            said, *answer = await self._commit(packed)
            if said == _DONE:
                return await self._committed(attempt, transactions, truth, answer, name.encode())
            if said == _OTHERWISE:
                self._learn(truth, *answer)
            elif said == _BEHIND:
                await self._follower.restart()
            elif said == _ELSEWHERE:
                base = answer[0]
            else:
                raise StorageError(f"Redis answered a commit with {said!r}")
        raise OverloadedError(
            "other replicas write the same records all the time: try again",
            details={"limit": "commit_tries", "maximum": MAX_TRIES},
        )

    async def _committed(
        self, attempt: Attempt, transactions: Sequence[Transaction], truth: Truth, answer: list[Any], name: bytes
    ) -> Commit:
        first, oldest = answer
        made = attempt.learn(first)
        published = attempt.published
        if made:
            await self._follower.committed(made, oldest, name, published=bool(published))
        not_due: dict[RecordKey, tuple[int, float | None]] = {}
        for end in (each for group in transactions for each in group if isinstance(each, End)):
            key = end.kind, end.id
            if key in truth.early:
                not_due[key] = end.revision, truth.early[key]
            elif not attempt.relied_on(key, end.revision):
                not_due[key] = end.revision, None
        return Commit(attempt.outcomes(first), made, published, not_due)

    async def _read(self, keys: Sequence[RecordKey], truth: Truth) -> None:
        """Reads what transactions read, heads and bodies of one moment."""
        fields = [field_of(key) for key in keys]

        async def look(client: Any) -> Any:
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.execute_command("HMGET", self._keys.heads, *fields)
                pipeline.execute_command("HMGET", self._keys.bodies, *fields)
                return await pipeline.execute()

        heads, bodies = await self._link.run(look, idempotent=True)
        for key, head, body in zip(keys, heads, bodies, strict=True):
            truth.heads[key] = head_or_none(head)
            truth.entries[key] = entry_of(key, body)

    async def _commit(self, packed: bytes) -> list[Any]:
        """Asks Redis to commit. What got no answer is asked again: a script that ran already repeats its answer."""
        keys = self._keys
        done = self._link.key(f"done:{self._id}")
        names = (*keys[:7], keys.outbox, done, *keys.ids)
        deadline = time.monotonic() + self._link.target.wait
        is_unknown = False
        while True:
            try:
                answer: list[Any] = await self._link.run(
                    lambda client: COMMIT.call(client, names, (packed,)), retry_seconds=0
                )
            except StorageUnavailableError as error:
                is_unknown = is_unknown or isinstance(error, UnansweredError)
                if time.monotonic() >= deadline:
                    if is_unknown:
                        raise StateDisconnectedError(
                            f"Redis did not answer: whether it was written is not known ({self._link.target})"
                        ) from error
                    raise
            except (OverloadedError, StorageError) as error:
                if is_unknown:
                    raise StateDisconnectedError(
                        f"whether it was written is not known, since Redis did not answer at first: {error.message}"
                    ) from error
                raise
            else:
                return answer
            await asyncio.sleep(random.uniform(0.02, 0.2))

    def _learn(self, truth: Truth, wrong: list[bytes], members: list[Any], early: list[bytes]) -> None:
        for field, text in zip(wrong[::2], wrong[1::2], strict=True):
            key, head = key_of(field), head_or_none(text)
            truth.heads[key] = head
            self._heads.learn(key, head)
        for number, fields in zip(members[::2], members[1::2], strict=True):
            truth.bound[int(number)] = [key_of(field) for field in fields]
        for field, left in zip(early[::2], early[1::2], strict=True):
            truth.early[key_of(field)] = int(left) / 1000

    async def _logged(self, client: Any, after: int, limit: int) -> tuple[int, list[Any]]:
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.execute_command("HGET", self._keys.store, "oldest")
            pipeline.execute_command("XRANGE", self._keys.log, f"({after}-0", "+", "COUNT", limit)
            oldest, entries = await pipeline.execute()
        return int(oldest or 0), entries
