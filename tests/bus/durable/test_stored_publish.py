"""Stored publishes: receipts that say what was reached, in order, whatever they are mixed with."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.bus.calls import message, refused, subscribed
from tests.bus.durable.bus import Bus, Gate
from tests.bus.durable.calls import create, eventually, get, holding, store, store_all
from tests.patience import OwnTime
from trunkline.errors import OverloadedError
from trunkline.v1 import bus_pb2
from trunkline.v1.bus_pb2 import DURABILITY_MEMORY, DURABILITY_REPLICATED, DURABILITY_STORED, DURABILITY_UNSPECIFIED
from trunkline.v1.message_pb2 import Message


def wanted(channel: str, *messages: Message, durability: Any = DURABILITY_STORED) -> bus_pb2.PublishRequest:
    return bus_pb2.PublishRequest(channel=channel, messages=messages, durability=durability)


async def published(stub: Any, channel: str, durability: Any) -> list[Any]:
    answer = await stub.Publish(wanted(channel, message(), message(), durability=durability))
    return list(answer.receipts)


async def test_receipts_say_place_time_and_durability(bus: Bus, channel: str) -> None:
    """One for each message, in order; never more durability than the engine reaches."""
    before = time.time()
    receipts = await store(bus.stub, channel, *(message(n) for n in range(5)))
    first = receipts[0].sequence
    assert [each.sequence for each in receipts] == list(range(first, first + 5))
    assert {each.durability for each in receipts} == {
        DURABILITY_STORED if bus.engine != "memory" else DURABILITY_MEMORY
    }
    assert all(before - 0.001 <= each.time.ToNanoseconds() / 1e9 <= time.time() for each in receipts)
    assert not any(each.duplicate for each in receipts)
    later = await store_all(bus.stub, channel, range(2))
    assert later[0] == first + 5


async def test_the_receipt_comes_after_the_sync(socket_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk is at work there is no receipt and nobody gets the message; over sqlite, which has a disk."""
    gate = Gate().install(monkeypatch)
    async with Bus(socket_dir) as bus, subscribed(bus.stub, "a:b") as live:
        gate.shut()
        publishing = asyncio.ensure_future(store(bus.stub, "a:b", message("stored")))
        await gate.reached()
        answer = await bus.stub.Publish(wanted("a:c", message("live"), durability=DURABILITY_MEMORY))
        assert answer.receipts[0].durability == DURABILITY_MEMORY, "what is not stored does not wait"
        assert not publishing.done()
        gate.open()
        await publishing
        assert await live.have(1) == ["stored"]


async def test_the_publishers_wish_decides(stub: Any, bus: Bus, channel: str) -> None:
    """MEMORY, and no wish, are not stored; STORED and REPLICATED are, and the receipt says no more than that."""
    await create(stub, "d", channel)
    reached = DURABILITY_STORED if bus.engine != "memory" else DURABILITY_MEMORY
    expected = {
        DURABILITY_UNSPECIFIED: (DURABILITY_MEMORY, 0),
        DURABILITY_MEMORY: (DURABILITY_MEMORY, 0),
        DURABILITY_STORED: (reached, 2),
        DURABILITY_REPLICATED: (reached, 2),
    }
    waiting = 0
    for wish, (durability, stored) in expected.items():
        receipts = await published(stub, channel, wish)
        waiting += stored
        assert {each.durability for each in receipts} == {durability}
        assert (await get(stub, "d")).waiting == waiting


async def test_a_rule_of_the_server_stores_what_matches(socket_dir: Path) -> None:
    """`stored_patterns`: everything on those channels, unless its publisher says otherwise."""
    async with Bus(socket_dir, stored_patterns=["tasks:>", "a:*:b"]) as bus:
        for channel, wish, durability in [
            ("tasks:new", DURABILITY_UNSPECIFIED, DURABILITY_STORED),
            ("a:x:b", DURABILITY_UNSPECIFIED, DURABILITY_STORED),
            ("tasks:new", DURABILITY_MEMORY, DURABILITY_MEMORY),
            ("tasks", DURABILITY_UNSPECIFIED, DURABILITY_MEMORY),
            ("other", DURABILITY_STORED, DURABILITY_STORED),
        ]:
            receipts = await published(bus.stub, channel, wish)
            assert {each.durability for each in receipts} == {durability}, (channel, wish)


async def test_live_subscribers_get_what_is_stored_in_order_with_what_is_not(bus: Bus, channel: str) -> None:
    """A message that is not stored does not overtake a stored one that was published before it on its channel."""
    async with subscribed(bus.stub, channel) as live:
        stream = bus.stub.PublishStream()
        wishes = [DURABILITY_STORED if n % 3 else DURABILITY_MEMORY for n in range(100)]
        for n, wish in enumerate(wishes):
            await stream.write(bus_pb2.PublishStreamRequest(publish=wanted(channel, message(n), durability=wish)))
        await stream.done_writing()
        assert await live.have(100) == [str(n) for n in range(100)]
        sequences = [each.sequence for each in live.delivered]
        # Where there may be several replicas, what is live has sequences of its replica, what is stored the journal's.
        for part in (sequences[::3], sequences[1::3]) if bus.engine == "redis" else (sequences,):
            assert part == sorted(set(part))
        stream.cancel()


async def test_a_stream_is_answered_in_order_whatever_is_stored(stub: Any, channel: str) -> None:
    """PublishStream: frames that wait for the disk, that do not, and that are refused: answers in their order."""
    stream = stub.PublishStream()
    kinds = [("stored", "live", "bad")[n % 3] for n in range(90)]
    for n, kind in enumerate(kinds):
        wish = DURABILITY_STORED if kind == "stored" else DURABILITY_MEMORY
        frame = wanted("" if kind == "bad" else channel, *(message() for _ in range(n + 1)), durability=wish)
        await stream.write(bus_pb2.PublishStreamRequest(publish=frame))
    await stream.done_writing()
    answers = [answer async for answer in stream]
    assert [len(each.published.receipts) for each in answers] == [
        0 if kind == "bad" else n + 1 for n, kind in enumerate(kinds)
    ]
    assert {each.error.reason for each in answers[2::3]} == {"INVALID_CHANNEL"}
    assert await stream.code() is grpc.StatusCode.OK, "half-closed, it ends behind the last answer"


async def test_ten_thousand_in_one_call(stub: Any, channel: str) -> None:
    """As many as one call may have, all with their receipts, all kept, in order."""
    await create(stub, "d", channel)
    sequences = await store_all(stub, channel, range(10_000))
    assert sequences == list(range(sequences[0], sequences[0] + 10_000))
    async with holding(stub, "d", channel, credit=10_000) as holder:
        got = await holder.take(10_000)
    assert [each.n for each in got] == [str(n) for n in range(10_000)]
    assert [each.sequence for each in got] == sequences


async def test_too_much_that_waits_for_the_disk_is_refused(socket_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OVERLOADED says which limit; what was taken is stored; one that is larger than the limit alone is taken."""
    gate = Gate().install(monkeypatch)
    async with Bus(socket_dir, max_waiting_publishes=10) as bus:
        gate.shut()
        first = asyncio.ensure_future(store(bus.stub, "a", *(message(n) for n in range(8))))
        await gate.reached()
        error = await refused(
            store(bus.stub, "a", *(message(n) for n in range(3))), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"
        )
        assert error.details == {"limit": "max_waiting_publishes", "maximum": 10}
        gate.open()
        assert len(await first) == 8
        assert len(await store(bus.stub, "a", *(message(n) for n in range(20)))) == 20


async def test_on_a_full_disk_each_publish_is_refused_at_once(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the next commit is tried; the disk is tried now and then; when there is room, everything goes on by
    itself, also what a commit that failed would refuse."""
    gate = Gate().install(monkeypatch)
    async with Bus(socket_dir) as bus:
        gate.fails = OverloadedError("there is no room", details={"limit": "disk"})
        tried = len(gate.batches)
        since, own = time.monotonic(), OwnTime(os.getpid())
        for n in range(100):
            error = await refused(store(bus.stub, "a", message(n)), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
            assert error.details == {"limit": "disk"}
        took = time.monotonic() - since
        assert own.seconds() < 2.5, "a tenth of what it would be at a commit for each"
        assert len(gate.batches) - tried <= 10 + took / 0.1, "a publish that came between two tries is tried with them"
        gate.fails = None
        await eventually(lambda: _made(bus.stub), bool)
        assert len(await store(bus.stub, "a", message())) == 1


async def _made(stub: Any) -> bool:
    try:
        return bool((await create(stub, "d", "a")).created)
    except grpc.aio.AioRpcError:
        return False


async def test_what_is_expired_on_arrival_is_dropped(stub: Any, channel: str) -> None:
    """TTL: its receipt has sequence 0, and says nothing of being stored; the others of the publish are kept."""
    await create(stub, "d", channel)
    old = message("old", ttl_seconds=1, timestamp={"seconds": 1})
    receipts = await store(stub, channel, message("a"), old, message("b"))
    assert [bool(each.sequence) for each in receipts] == [True, False, True]
    assert receipts[1].durability == DURABILITY_MEMORY
    assert (await get(stub, "d")).waiting == 2
