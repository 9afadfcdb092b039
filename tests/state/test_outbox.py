"""The outbox of each engine: in one commit with the writes, bounded, and kept over restarts."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE
from tests.state.conftest import MakeEngine, make_stock
from tests.state.samples import AGENT, drop, put
from tests.torn import Remains, cuts, judge, make_pages_small
from trunkline import InMemoryMessageBus
from trunkline.errors import InvalidRecordError, OverloadedError, RevisionMismatchError
from trunkline.limits import FRAME_BYTES, MAX_FRAME_ITEMS
from trunkline.v1 import message_pb2, state_pb2
from trunklined.local.link import LocalLink
from trunklined.relay.journal import Arrival, Held
from trunklined.relay.outbox import OutboxRelay
from trunklined.state.engines.engine import Engine
from trunklined.state.engines.sqlite import SqliteEngine
from trunklined.state.records import History, Put
from trunklined.state.store import Store, StoreLimits
from trunklined.state.watch import Watchers
from trunklined.state.wire.outbox import check_published

NOW = 1_000.0


def arrival(n: int, channel: str = "a") -> Arrival:
    return Arrival(channel, None, NOW + n, message_pb2.Message(message_id=f"{n}").SerializeToString())


def numbers(batches: Sequence[Sequence[Held]]) -> list[int]:
    return [int(message_pb2.Message.FromString(held.message).message_id) for batch in batches for held in batch]


def publishing(id: str, *messages: Arrival, expected: int | None = None) -> Put:
    return put(id, expected=expected)._replace(publish=messages)


def store_of(engine: Engine, bus: InMemoryMessageBus) -> Store:
    """A store whose messages go to a bus in memory."""
    watchers = Watchers(engine, max_changes=100, max_bytes=10**9, progress_seconds=60.0)
    return Store(engine, watchers, StoreLimits(1_000, 10**6), OutboxRelay(engine.outbox, LocalLink(bus)))


async def test_messages_are_held_with_the_writes_that_succeed(engine: Engine) -> None:
    """Of one commit: in the order of the writes; nothing of a transaction that fails, or of a deletion of nothing."""
    commit = await engine.write(
        [
            [publishing("x", arrival(0)), publishing("y", arrival(1), arrival(2))],
            [publishing("z", arrival(3)), publishing("x", arrival(4), expected=9)],
            [drop("none")._replace(publish=[arrival(5)])],
            [drop("x")._replace(publish=[arrival(6)])],
        ]
    )
    assert isinstance(commit.outcomes[1], RevisionMismatchError)
    assert [int(each.taken_at - NOW) for each in commit.published] == [0, 1, 2, 6]
    await engine.outbox.turn()
    assert numbers(await engine.outbox.next([], 100, NOW)) == [0, 1, 2, 6]
    assert await engine.read(AGENT, "z") is None


async def test_steps_of_the_outbox_run_beside_writes(engine: Engine) -> None:
    """Both at once, and steps whose caller is cancelled: nothing is lost, mixed up or left locked."""
    done: list[Held] = []

    async def relay() -> None:
        while len(done) < 50:
            abandoned = asyncio.ensure_future(engine.outbox.next([], 1, NOW))
            await asyncio.sleep(0)
            abandoned.cancel()
            batches = await engine.outbox.next([], 7, NOW)
            sent = [held for batch in batches for held in batch]
            await engine.outbox.next(sent, 1, NOW)
            done.extend(sent)
            await asyncio.sleep(0)

    await engine.outbox.turn()
    relaying = asyncio.ensure_future(relay())
    for n in range(50):
        await engine.write([[publishing(f"{n}", arrival(n))]])
    await asyncio.wait_for(relaying, PATIENCE)
    assert numbers([done]) == list(range(50))
    assert engine.holdings.revision == 50


async def test_a_full_outbox_refuses_what_carries_messages(make_engine: MakeEngine) -> None:
    """In number and in bytes, with those that wait for a commit and those that are stuck; all else goes on, and what a
    failed write carried counts no more."""
    store = store_of(make_engine(), InMemoryMessageBus())
    store.engine.outbox.stock = stock = make_stock(messages=3, size=100)
    await store.open()
    try:
        writes = [store.execute(publishing(f"{n}", arrival(n))) for n in range(2)]
        with pytest.raises(RevisionMismatchError):
            await store.execute(publishing("0", arrival(2), expected=9))
        await asyncio.gather(*writes)
        assert (stock.messages, stock.kept, stock.oldest_at) == (2, 2, NOW)
        with pytest.raises(OverloadedError, match="max_outbox_messages is 3, it has 2, and 2 came"):
            await store.execute(publishing("2", arrival(2), arrival(3)))
        large = Arrival("a", None, NOW, b"x" * 100)
        with pytest.raises(OverloadedError, match="max_outbox_bytes is 100"):
            await store.execute(publishing("2", large))
        assert await store.get(AGENT, "2") is None
        assert await store.execute(put("2")) == 3
        await store.engine.outbox.turn()
        [[first], *_] = await store.engine.outbox.next([], 1, NOW)
        await store.engine.outbox.refuse(first, "0", OverloadedError("never"), NOW)
        assert (stock.messages, stock.refused) == (1, 1)
        with pytest.raises(OverloadedError):
            await store.execute(publishing("3", arrival(2), arrival(3)))
        await store.execute(publishing("3", arrival(3)))
    finally:
        await store.close()


async def test_a_full_outbox_goes_to_the_bus_after_a_restart(tmp_path: Path) -> None:
    """Only what has a file outlives its program."""
    bus = InMemoryMessageBus()
    async with bus:
        came: asyncio.Queue[str] = asyncio.Queue()

        async def take(message: Any) -> None:
            await came.put(message.message_id)

        await bus.subscribe("a", take)
        away = store_of(sqlite_engine(tmp_path), InMemoryMessageBus())
        await away.open()
        for n in range(1_000):
            away.submit([publishing(f"{n}", arrival(n))], 0, lambda outcome: None)
        with pytest.raises(OverloadedError):
            await away.execute(publishing("more", arrival(0)))
        await away.drain(PATIENCE)
        await away.close()
        back = store_of(sqlite_engine(tmp_path), bus)
        await back.open()
        assert back.engine.outbox.stock.oldest_at == NOW
        async with asyncio.timeout(PATIENCE):
            assert [await came.get() for _ in range(1_000)] == [f"{n}" for n in range(1_000)]
        await back.drain(PATIENCE)
        stock = back.engine.outbox.stock
        assert (stock.messages, stock.bytes) == (0, 0)
        assert stock.oldest_at is None
        await back.close()


async def test_without_a_bus_no_write_carries_messages(store: Store) -> None:
    """It is refused before anything is counted."""
    with pytest.raises(InvalidRecordError, match="was given no bus"):
        await store.execute(publishing("a", arrival(0)))
    assert (store.waiting, store.engine.outbox.stock.messages) == (0, 0)
    assert await store.get(AGENT, "a") is None


FILES = Path(__file__).resolve().parent.parent / "sqlite" / "files"


def sqlite_engine(directory: Path) -> SqliteEngine:
    history = History(1_000, 10**9)
    return SqliteEngine(
        directory / "state.db", history=history, page_bytes=2**20, answer_bytes=2**20, outbox=make_stock()
    )


async def test_a_file_without_an_outbox_gets_one(tmp_path: Path) -> None:
    """Of the version before: its records stay, and a copy of it is kept."""
    shutil.copy(FILES / "state-v1.db", tmp_path / "state.db")
    newer = sqlite_engine(tmp_path)
    await newer.open()
    await newer.write([[publishing("b", arrival(1))]])
    assert numbers(await newer.outbox.next([], 9, NOW)) == [1]
    kept = await newer.read(AGENT, "coding-01")
    assert kept is not None
    assert kept.revision == 2
    await newer.close()
    assert (tmp_path / "state.db.v1").exists()


async def test_a_torn_commit_is_noticed_with_its_messages(tmp_path: Path) -> None:
    """The record and its message are one commit: the file has both, or it is refused."""
    engine = sqlite_engine(tmp_path)
    await engine.open()
    await engine.close()
    make_pages_small(tmp_path / "state.db")
    engine = sqlite_engine(tmp_path)
    await engine.open()
    for n in range(3):
        await engine.write([[publishing(f"{n}", arrival(n))]])
    remains = Remains.of(tmp_path / "state.db")
    await engine.close()

    async def contents(path: Path) -> object:
        opened = sqlite_engine(path.parent)
        await opened.open()
        try:
            held = numbers(await opened.outbox.next([], 9, NOW))
            return held, [await opened.read(AGENT, f"{n}") is not None for n in held]
        finally:
            await opened.close()

    whole = tmp_path / "whole"
    whole.mkdir()
    remains.lay(whole)
    expected = await contents(whole / "state.db")
    assert expected == ([0, 1, 2], [True] * 3)
    shutil.rmtree(whole)
    commit = remains.last_commit()[::97]
    assert await judge(cuts(remains, "-wal", commit), contents, expected) == {"refused": len(commit)}


def test_too_many_messages_are_refused_before_they_are_decoded() -> None:
    """An empty one is two bytes on the wire and a hundred in memory."""
    empty = state_pb2.OutboxMessage()
    request = state_pb2.SaveRequest(publish=[empty] * (MAX_FRAME_ITEMS + 1))
    raw = request.SerializeToString() + b"\x0a\x00" * FRAME_BYTES
    with pytest.raises(InvalidRecordError, match=f"publish has more than {MAX_FRAME_ITEMS} entries"):
        check_published(raw, ())
    batch = state_pb2.BatchRequest(operations=[{"delete": state_pb2.DeleteRequest(publish=request.publish)}])
    raw = batch.SerializeToString() + b"\x10\x00" * FRAME_BYTES
    with pytest.raises(InvalidRecordError):
        check_published(raw, (1, 1), (1, 3))
    fewer = state_pb2.SaveRequest(publish=[empty] * 1_000).SerializeToString()
    check_published(fewer + b"\x20\x00" * FRAME_BYTES, ())


async def test_many_messages_hold_no_commit_up(make_engine: MakeEngine) -> None:
    """They count as rows of a commit: what is saved behind a thousand of them waits for no other thousand."""
    store = store_of(make_engine(), InMemoryMessageBus())
    await store.open()
    try:
        many = [publishing(f"{n}", *(arrival(n) for _ in range(200))) for n in range(5)]
        await asyncio.gather(*(store.execute(each) for each in many))
        assert store.counts.commits >= 4
        assert store.engine.outbox.stock.messages == 1_000
    finally:
        await store.close()


async def test_a_store_closes_amid_steps_of_its_outbox(tmp_path: Path) -> None:
    """A step whose caller has gone is finished before the file is closed."""
    engine = sqlite_engine(tmp_path)
    await engine.open()
    await engine.write([[publishing("a", arrival(0))]])
    steps = [asyncio.ensure_future(engine.outbox.next([], 1, NOW + n)) for n in range(5)]
    await asyncio.sleep(0)
    for step in steps:
        step.cancel()
    await engine.close()
    again = sqlite_engine(tmp_path)
    await again.open()
    [[held]] = await again.outbox.next([], 1, NOW + 9)
    assert held.sent_at == NOW
    await again.close()
