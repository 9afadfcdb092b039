"""Counting: what waits for a durable subscription is counted beside everything else, and is exact all the same."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.bus.calls import message
from tests.bus.durable.bus import Bus
from tests.bus.durable.calls import ALL, create, get, holding, letters, seek, store, store_all
from tests.patience import PATIENCE
from trunkline.v1 import bus_pb2, durable_pb2
from trunklined.bus.engines.sqlite import SqliteJournal
from trunklined.bus.write_batch import WriteBatch


class SlowCounts:
    """Lets no count go on before the test says so, as one of ten million rows would take its time."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()
        slow = self

        class Slow(SqliteJournal):
            def counting(self, *words: Any) -> Any:
                return slow.held(super().counting(*words))

            def count_dead_letters(self, *words: Any) -> int:
                return int(slow.held(lambda: super(Slow, self).count_dead_letters(*words))())

        patch.setattr("trunklined.bus.app.SqliteJournal", Slow)

    def held(self, count: Any) -> Any:
        """A count that waits."""

        def held() -> Any:
            self.began.set()
            assert self.go_on.wait(PATIENCE), "the count was never let go on"
            return count()

        return held

    async def wait(self) -> None:
        """Returns when one has begun."""
        assert await asyncio.to_thread(self.began.wait, PATIENCE), "nothing was counted"


@pytest.fixture
async def counts(monkeypatch: pytest.MonkeyPatch) -> SlowCounts:
    return SlowCounts(monkeypatch)


async def test_others_go_on_while_it_is_counted(counts: SlowCounts, socket_dir: Path) -> None:
    """What is stored meanwhile counts once, and nothing is handed out before."""
    async with Bus(socket_dir) as bus:
        await store_all(bus.stub, "a", range(5))
        made = asyncio.ensure_future(create(bus.stub, "d", "a", position=ALL))
        await counts.wait()
        await store_all(bus.stub, "a", range(5, 8))
        await store_all(bus.stub, "b", range(3))
        assert (await get(bus.stub, "d")).leased == 0
        again = asyncio.ensure_future(create(bus.stub, "d", "a"))
        await asyncio.wait({made, again}, timeout=0.05)
        assert not made.done()
        assert not again.done()  # whoever finds it waits for its figures too
        counts.go_on.set()
        assert (await made).subscription.waiting == 8
        assert (await again).subscription.waiting == 8
        async with holding(bus.stub, "d", "a", credit=8) as holder:
            assert await holder.take_numbers(8) == [str(n) for n in range(8)]


async def test_one_that_moves_while_it_is_counted_is_counted_anew(counts: SlowCounts, socket_dir: Path) -> None:
    """Each caller is answered; what counts is where it stands in the end."""
    async with Bus(socket_dir) as bus:
        sequences = await store_all(bus.stub, "a", range(6))
        await create(bus.stub, "d", "a")
        to_all = asyncio.ensure_future(seek(bus.stub, "d", ALL))
        await counts.wait()
        to_fourth = asyncio.ensure_future(seek(bus.stub, "d", durable_pb2.Position(sequence=sequences[3])))
        await asyncio.wait({to_fourth}, timeout=0.05)
        counts.go_on.set()
        await asyncio.gather(to_all, to_fourth)
        assert (await get(bus.stub, "d")).waiting == 3
        async with holding(bus.stub, "d", "a", credit=8) as holder:
            assert await holder.take_numbers(3) == ["3", "4", "5"]


async def test_one_that_was_not_counted_is_when_the_bus_starts_again(counts: SlowCounts, socket_dir: Path) -> None:
    """It was stopped, or killed, meanwhile."""
    async with Bus(socket_dir) as bus:
        await store_all(bus.stub, "a", range(5))
        made = asyncio.ensure_future(create(bus.stub, "d", "a", position=ALL))
        await counts.wait()
        await store_all(bus.stub, "a", range(5, 7))
        stopped = asyncio.ensure_future(bus.stop())
        with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):  # what it hears depends on who is first
            await asyncio.wait_for(made, PATIENCE)
        counts.go_on.set()
        await stopped
        await bus.start()
        assert (await get(bus.stub, "d")).waiting == 7


async def test_one_that_is_deleted_while_it_is_counted_leaves_nothing(counts: SlowCounts, socket_dir: Path) -> None:
    """Its maker is answered."""
    async with Bus(socket_dir) as bus:
        await store_all(bus.stub, "a", range(5))
        made = asyncio.ensure_future(create(bus.stub, "d", "a", position=ALL))
        await counts.wait()
        await bus.stub.DeleteDurableSubscription(durable_pb2.DeleteDurableSubscriptionRequest(name="d"))
        counts.go_on.set()
        assert (await made).created
        assert (await create(bus.stub, "d", "a", position=ALL)).subscription.waiting == 5


async def test_what_is_about_to_be_removed_does_not_count(socket_dir: Path) -> None:
    """The commit that removes it is still to come; and what is committed after a count was asked for counts no more."""
    async with Bus(socket_dir) as bus:
        sequences = [(await store_all(bus.stub, "a", [n]))[0] for n in range(6)]
        await store_all(bus.stub, "b", [1])
        await bus.stop()
        engine = SqliteJournal(bus.path)
        engine.open()
        try:
            count = engine.counting(["a"], 1, sequences[0], sequences[2:4])
            engine.apply(WriteBatch(removed=sequences[:1]))
            engine.commit()
            assert count() == 4
            assert engine.counting(["a"], 1, sequences[1], [])() == 5
        finally:
            engine.close()


async def test_dead_letters_are_counted_beside_everything_else(counts: SlowCounts, socket_dir: Path) -> None:
    """A list waits for its total, and nobody else does."""
    async with Bus(socket_dir) as bus:
        listed = asyncio.ensure_future(letters(bus.stub))
        await counts.wait()
        await store(bus.stub, "a", message("x"))
        await bus.stub.GetStats(bus_pb2.GetStatsRequest())
        assert not listed.done()
        counts.go_on.set()
        assert await listed == []
