"""Whose write a record is: over each engine, and of data that an older version kept."""

from __future__ import annotations

import time
from dataclasses import replace
from uuid import uuid4

import pytest
import redis

from tests.redis.servers import RedisServer
from tests.state.conftest import PAGE_BYTES, make_stock
from tests.state.samples import AGENT, drop, put
from trunkline.errors import StorageError
from trunkline.records import RecordKind
from trunklined.redis.checks import FORMAT_KEY, check_redis
from trunklined.redis.link import Link
from trunklined.redis.target import parse_url
from trunklined.state.engines.engine import Engine
from trunklined.state.engines.redis.engine import RedisEngine
from trunklined.state.engines.redis.layout import ROOM, TYPES, keys_of
from trunklined.state.records import ANY, UNKNOWN, Drop, End, Entry, Facets, History, Hold, Put, Read

LEASE = RecordKind.LEASE


def by(writer: str, operation: Put | Drop) -> Put | Drop:
    return operation._replace(writer=writer)


async def test_a_record_says_who_wrote_it_last_and_when(engine: Engine) -> None:
    """However it is read; a touch is no write."""
    before = time.time_ns() // 1_000_000
    await engine.write([[by("ann", put("a"))], [by("größer", put("a"))], [by("cid", put("b"))]])
    after = time.time_ns() // 1_000_000
    entry = await engine.read(AGENT, "a")
    assert entry is not None
    assert entry.written.by == "größer"
    assert before <= entry.written.at_ms <= after
    page = await engine.page(AGENT, ANY, None, 10)
    assert [each.written.by for each in page.entries] == ["größer", "cid"]
    assert [change.written.by for change in await engine.changes(0, 10)] == ["ann", "größer", "cid"]
    commit = await engine.write([[by("dan", put("b")), Read(AGENT, "b")]])
    [[_, read]] = commit.outcomes  # type: ignore[misc]
    assert isinstance(read, Entry)
    assert read.written.by == "dan"


async def test_an_end_says_who_made_it(engine: Engine) -> None:
    """Who deleted it, or released the lease that it was bound to; nobody where its TTL passed."""
    lease = put("l", kind=LEASE, expected=0)._replace(facets=Facets(agent_id="me"), ttl_ms=60_000, writer="ann")
    await engine.write([[lease], [by("ann", put("a"))], [by("ann", put("b")._replace(lease=Hold("l", 1)))]])
    await engine.write([[by("ann", put("c")._replace(ttl_ms=100))], [by("bob", drop("a"))]])
    await engine.write([[by("cid", drop("l", kind=LEASE, expected=1))]], lambda _: [(AGENT, "b")])
    ends = {change.id: change.written.by for change in await engine.changes(5 - 1, 10) if change.body is None}
    assert ends == {"a": "bob", "l": "cid", "b": "cid"}
    end = End(AGENT, "c", 4, lambda: True)
    while await engine.read(AGENT, "c") is not None:  # one engine asks another clock whether it is due
        await engine.write([[end]])
    [expired] = await engine.changes(8 - 1, 10)
    assert (expired.id, expired.written.by) == ("c", "")
    assert expired.written.at_ms > 0


async def test_a_page_counts_who_wrote(engine: Engine) -> None:
    """Small records with long names are no more than the page may have."""
    writer = "é" * 255
    await engine.write([[by(writer, put(f"r{number:03}", b"x"))] for number in range(200)])
    seen, after = 0, None
    while True:
        page = await engine.page(AGENT, ANY, after, 1000)
        assert sum(1 + len(each.written.by.encode()) for each in page.entries) <= PAGE_BYTES
        seen, after = seen + len(page.entries), page.entries[-1].id
        if not page.more:
            break
    assert seen == 200


async def test_what_an_older_format_keeps_in_redis_is_read(redis_server: RedisServer) -> None:
    """Nobody is known to have written it; what is written now is noted, and an older program starts on it no more."""
    target = replace(parse_url(redis_server.url), prefix=f"tests-{uuid4().hex}")
    keys = keys_of(target)

    def make() -> RedisEngine:
        return RedisEngine(
            target, history=History(100, 10**6), page_bytes=10**6, answer_bytes=10**6, outbox=make_stock()
        )

    engine = make()
    await engine.open()
    await engine.write([[by("ann", put("a", b"12:34:x"))], [by("ann", put("b"))], [by("ann", drop("b"))]])
    await engine.close()
    link = Link(target, ROOM)
    with redis.Redis.from_url(redis_server.url) as client:  # as format 1 had it
        client.hset(keys.bodies, "1:a", b"1 12:34:x")
        entries = client.xrange(keys.log)
        client.delete(keys.log)
        for id, fields in entries:
            reason, published, _ = fields[b"w"].split(b":", 2)
            parts = (*(fields[name] for name in (b"k", b"p", b"c")), reason, published, fields[b"h"], fields[b"b"])
            client.xadd(keys.log, dict(zip("kpcrohb", parts, strict=True)), id)
        client.set(link.key(FORMAT_KEY), "trunkline state 1")
    engine = make()
    await engine.open()
    entry = await engine.read(AGENT, "a")
    assert entry is not None
    assert (entry.revision, entry.body, entry.written) == (1, b"12:34:x", UNKNOWN)
    assert [change.written for change in await engine.changes(0, 10)] == [UNKNOWN] * 3
    await engine.write([[by("bob", put("a"))]])
    assert [change.written.by for change in await engine.changes(0, 10)] == ["", "", "", "bob"]
    await engine.close()
    with pytest.raises(StorageError, match="a newer version wrote it"):
        await check_redis(link, ROOM, 1, TYPES)
    await link.close()
