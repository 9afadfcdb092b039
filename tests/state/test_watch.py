"""Watches: what was there, then each change in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tests.patience import PATIENCE
from tests.state.conftest import MakeEngine, make_store
from tests.state.samples import AGENT, TASK, drop, put, unsigned
from trunkline.errors import CompactedError, OverloadedError, StateDisconnectedError
from trunklined.state.records import Entry, Facets
from trunklined.state.store import Store
from trunklined.state.watch import Event, Left, Progress, Synced, WatchFilter

RUNNING = WatchFilter((AGENT,), None, Facets(status="running"))


async def take(events: AsyncGenerator[Event, None], count: int) -> list[Event]:
    async with asyncio.timeout(PATIENCE):
        return [unsigned(await anext(events)) for _ in range(count)]


async def save(store: Store, id: str, **words: str) -> None:
    outcome = await store.write([put(id, **words)], 1)  # type: ignore[arg-type]  # status alone
    assert isinstance(outcome, list)


async def test_a_watch_tells_the_records_then_synced_then_each_change_in_order(store: Store) -> None:
    """Of all kinds, where none is named."""
    await store.write([put("b"), put("a"), put("t", kind=TASK)], 3)
    events = store.watch(WatchFilter(), None)
    assert await take(events, 4) == [
        Entry(AGENT, "a", 2, b"body"),
        Entry(AGENT, "b", 1, b"body"),
        Entry(TASK, "t", 3, b"body"),
        Synced(3),
    ]
    await store.write([put("a"), drop("b"), put("c")], 2)
    assert await take(events, 3) == [
        Entry(AGENT, "a", 4, b"body"),
        Left(AGENT, "b", 5, deleted=True),
        Entry(AGENT, "c", 6, b"body"),
    ]
    await events.aclose()
    assert len(store.watchers) == 0


async def test_nothing_falls_between_the_records_and_the_changes(store: Store) -> None:
    """Writes while the records are told: each record's last word is told, at its revision."""
    for number in range(300):
        await save(store, f"r{number:03}")
    events = store.watch(WatchFilter(), None)
    seen = await take(events, 10)
    for number in range(0, 300, 3):
        await store.write([put(f"r{number:03}", b"new")], 1) if number % 2 else await store.write(
            [drop(f"r{number:03}")], 0
        )
    known: dict[str, bytes] = {}
    for event in seen:
        assert isinstance(event, Entry)
        known[event.id] = event.body
    last = 0
    while last < store.engine.holdings.revision:
        (event,) = await take(events, 1)
        if isinstance(event, Entry):
            known[event.id] = event.body
        elif isinstance(event, Left):
            known.pop(event.id, None)
        if not isinstance(event, Entry) or event.revision > 300:
            assert event.revision >= last
            last = event.revision
    page = await store.page(AGENT, Facets(), None, 1000)
    assert known == {entry.id: entry.body for entry in page.entries}
    await events.aclose()


async def test_a_watch_resumes_after_a_revision(store: Store) -> None:
    """With the changes behind it, then synced, then what comes."""
    await store.write([put("a"), put("b"), drop("a")], 2)
    events = store.watch(WatchFilter(), 1)
    assert await take(events, 3) == [Entry(AGENT, "b", 2, b"body"), Left(AGENT, "a", 3, deleted=True), Synced(3)]
    await save(store, "c")
    assert await take(events, 1) == [Entry(AGENT, "c", 4, b"body")]
    await events.aclose()


async def test_a_record_that_matches_no_more_has_left(store: Store) -> None:
    """Also when the watch resumes; a record that never matched is not told of."""
    await store.write([put("a", status="running"), put("b")], 2)
    live, now = store.watch(RUNNING, None), 2
    assert await take(live, 2) == [Entry(AGENT, "a", 1, b"body"), Synced(now)]
    await store.write([put("b", status="waiting"), put("a", status="idle"), drop("b"), put("a", status="running")], 3)
    expected = [Left(AGENT, "a", 4, deleted=False), Entry(AGENT, "a", 6, b"body")]
    assert await take(live, 2) == expected
    resumed = store.watch(RUNNING, now)
    assert await take(resumed, 3) == [*expected, Synced(6)]
    await live.aclose()
    await resumed.aclose()


async def test_one_record_can_be_watched(store: Store) -> None:
    """By kind and id, with or without a filter."""
    await store.write([put("a"), put("b"), put("a", kind=TASK)], 3)
    events = store.watch(WatchFilter((AGENT,), "a"), None)
    filtered = store.watch(WatchFilter((AGENT,), "a", Facets(status="running")), None)
    assert await take(events, 2) == [Entry(AGENT, "a", 1, b"body"), Synced(3)]
    assert await take(filtered, 1) == [Synced(3)]
    await store.write([put("b"), drop("a")], 1)
    assert await take(events, 1) == [Left(AGENT, "a", 5, deleted=True)]
    await events.aclose()
    await filtered.aclose()


@pytest.mark.parametrize("after", [0, 1, 1000])
async def test_a_revision_that_is_gone_answers_compacted_with_the_oldest(make_engine: MakeEngine, after: int) -> None:
    """Too old, or never given by this store (another one's, or from before its data was lost)."""
    store = make_store(make_engine(history=4))
    await store.open()
    for number in range(20):
        await save(store, f"r{number}")
    oldest = store.engine.holdings.oldest
    with pytest.raises(CompactedError) as caught:
        await take(store.watch(WatchFilter(), after), 1)
    assert caught.value.details == {"oldest": oldest, "requested": after}
    events = store.watch(WatchFilter(), oldest)
    assert isinstance((await take(events, 1))[0], Entry)
    await events.aclose()
    await store.close()


async def test_a_slow_watcher_ends_with_overloaded_and_hits_nobody_else(make_engine: MakeEngine) -> None:
    """Its queue is bounded; the fast one misses nothing, and the slow one resumes where it was."""
    store = make_store(make_engine(), queue=5)
    await store.open()
    slow, fast = store.watch(WatchFilter(), None), store.watch(WatchFilter(), None)
    await take(slow, 1)
    await take(fast, 1)
    for number in range(10):
        await save(store, f"r{number}")
        assert await take(fast, 1) == [Entry(AGENT, f"r{number}", number + 1, b"body")]
    with pytest.raises(OverloadedError) as caught:
        await take(slow, 10)
    assert caught.value.details == {"limit": "watch_queue", "maximum": 5}
    again = store.watch(WatchFilter(), 0)
    assert len(await take(again, 10)) == 10
    await fast.aclose()
    await again.aclose()
    await store.close()


async def test_progress_is_told_while_nothing_changes(make_engine: MakeEngine) -> None:
    """An idle stream shows that it lives, and how far it is."""
    store = make_store(make_engine(), progress=0.01)
    await store.open()
    await save(store, "a")
    events = store.watch(WatchFilter((TASK,)), None)
    assert await take(events, 3) == [Synced(1), Progress(1), Progress(1)]
    await events.aclose()
    await store.close()


async def test_draining_ends_watches_as_unavailable(store: Store) -> None:
    """Those that run, and those that come."""
    events = store.watch(WatchFilter(), None)
    await take(events, 1)
    await store.drain(1)
    for watch in (events, store.watch(WatchFilter(), None)):
        with pytest.raises(StateDisconnectedError):
            await take(watch, 1)
