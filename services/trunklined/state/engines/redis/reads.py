"""Reads of the store in Redis: single records, which share round trips, and pages."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from trunkline.errors import OverloadedError, StorageError
from trunkline.records import RecordKind
from trunklined.redis.link import Link
from trunklined.state.engines.redis.layout import Keys, entry_of, field_of, sized_head
from trunklined.state.records import ANY, Entry, Facets, Page, matches

LOOKUPS_AT_ONCE: Final = 128
"""Records of one round trip."""
MAX_IN_FLIGHT: Final = 8
IDS_AT_ONCE: Final = 512
"""Ids that a page looks at before it asks for the bodies of those that match."""


class Lookups:
    """Looks fields of a hash up. What is asked for in one turn of the loop, or while others are on their way, shares a
    round trip; each is asked for after it was called for, so that it is as new as the call.

    Args:
        link: the way to Redis.
        hash: the key.
    """

    def __init__(self, link: Link, hash: str) -> None:
        self._link = link
        self._hash = hash
        self._asked: dict[str, asyncio.Future[bytes | None]] = {}
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, field: str) -> bytes | None:
        """Returns a field, or None; raises as `Link.run`."""
        asked = self._asked.get(field)
        if asked is None:
            loop = asyncio.get_running_loop()
            asked = self._asked[field] = loop.create_future()
            if not self._scheduled:
                self._scheduled = True
                loop.call_soon(self._send)
        return await asyncio.shield(asked)

    async def close(self) -> None:
        """Waits for what is on its way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _send(self) -> None:
        self._scheduled = False
        while self._asked and len(self._tasks) < MAX_IN_FLIGHT:
            fields = list(self._asked)[:LOOKUPS_AT_ONCE]
            task = asyncio.ensure_future(self._look_up({field: self._asked.pop(field) for field in fields}))
            self._tasks.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._send()

    async def _look_up(self, asked: dict[str, asyncio.Future[bytes | None]]) -> None:
        try:
            found = await self._link.call("HMGET", self._hash, *asked, idempotent=True)
        except (StorageError, OverloadedError) as error:
            for future in asked.values():
                future.set_exception(error)
                future.exception()  # whoever asked may have gone
            return
        except BaseException as error:
            for future in asked.values():
                future.cancel()
            raise error
        for future, value in zip(asked.values(), found, strict=True):
            future.set_result(value)


async def read_page(
    link: Link, keys: Keys, kind: RecordKind, filter: Facets, after: str | None, limit: int, page_bytes: int
) -> Page:
    """Returns records of one kind that match, in order of ids: those that are there when each of them is looked at. The
    revision is the store's from before; what changed since has a higher one."""
    revision = int(await link.call("HGET", keys.store, "revision", idempotent=True) or 0)
    ids_key = keys.ids[kind.value - 1]
    found: list[Entry] = []
    room = page_bytes
    while True:
        start = "-" if after is None else b"(" + after.encode()
        command = ("ZRANGEBYLEX", ids_key, start, "+", "LIMIT", 0, _ids_at_once(filter, limit))
        ids = [id.decode() for id in await link.call(*command, idempotent=True)]
        if not ids:
            return Page(found, False, revision)
        heads = await link.call("HMGET", keys.heads, *(field_of((kind, id)) for id in ids), idempotent=True)
        wanted: list[str] = []
        ahead = room
        for id, text in zip(ids, heads, strict=True):
            after = id
            if text is None:
                continue
            head, size = sized_head(text)
            if filter is not ANY and not matches(filter, head.facets):
                continue
            wanted.append(id)
            ahead -= size
            if ahead < 0 or len(found) + len(wanted) > limit:
                break
        for entry in await link.run(partial(_bodies, keys=keys, kind=kind, ids=wanted, filter=filter), idempotent=True):
            room -= entry.size
            if len(found) == limit or (room < 0 and found):
                return Page(found, True, revision)
            found.append(entry)


def _ids_at_once(filter: Facets, limit: int) -> int:
    return min(IDS_AT_ONCE, limit + 1) if filter is ANY else IDS_AT_ONCE


async def _bodies(client: Any, keys: Keys, kind: RecordKind, ids: list[str], filter: Facets) -> list[Entry]:
    """Returns the records that still match: heads and bodies of one moment."""
    if not ids:
        return []
    fields = [field_of((kind, id)) for id in ids]
    async with client.pipeline(transaction=True) as pipeline:
        pipeline.execute_command("HMGET", keys.heads, *fields)
        pipeline.execute_command("HMGET", keys.bodies, *fields)
        heads, bodies = await pipeline.execute()
    entries = []
    for id, head, body in zip(ids, heads, bodies, strict=True):
        entry = entry_of((kind, id), body)
        if entry is not None and matches(filter, sized_head(head)[0].facets):
            entries.append(entry)
    return entries
