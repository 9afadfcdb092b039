"""A message id that was stored already within the window is stored once, and its receipt says so."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.bus.calls import message, subscribed
from tests.bus.durable.bus import Bus, Gate
from tests.bus.durable.calls import ALL, create, get, holding, seconds, store
from trunkline.v1 import bus_pb2
from trunkline.v1.message_pb2 import Message


def named(*ids: str, **fields: Any) -> list[Message]:
    return [message(id, message_id=id, **fields) for id in ids]


def said(receipts: list[Any]) -> list[tuple[int, bool]]:
    return [(each.sequence, each.duplicate) for each in receipts]


async def test_the_same_id_again_stores_nothing(stub: Any, channel: str) -> None:
    """Sequence and time are those of the first."""
    await create(stub, "d", ">")
    first = await store(stub, channel, *named("a", "b", "c"))
    for _ in range(2):
        second = await store(stub, channel, *named("b", "c"))
        assert said(second) == [(each.sequence, True) for each in first[1:]]
        assert [each.time for each in second] == [each.time for each in first[1:]]
    assert (await get(stub, "d")).waiting == 3
    figures = await stub.GetStats(bus_pb2.GetStatsRequest())
    assert (figures.stored, figures.duplicates) == (3, 4)


async def test_the_same_id_on_another_channel_is_another_message(stub: Any, channel: str) -> None:
    """It is stored there too, once; also where it is held back."""
    await create(stub, "d", ">")
    first = await store(stub, channel, *named("a", "b"))
    there = await store(stub, "other:channel", *named("b", "a"))
    assert [each.duplicate for each in there] == [False, False]
    assert said(await store(stub, "other:channel", *named("a"))) == [(there[1].sequence, True)]
    assert said(await store(stub, channel, *named("a"))) == [(first[0].sequence, True)]
    for name in (channel, "other:channel"):
        held = await store(stub, name, *named("later", deliver_after=seconds(3600)))
        assert not held[0].duplicate
        assert said(await store(stub, name, *named("later"))) == [(held[0].sequence, True)]
    assert (await get(stub, "d")).waiting == 4


async def test_an_id_is_one_of_its_channel_after_a_restart(kept: Bus, channel: str) -> None:
    """What is stored and what is held back: known on its channel, new on another."""
    first = await store(kept.stub, channel, *named("a"))
    held = await store(kept.stub, channel, *named("later", deliver_after=seconds(3600)))
    stub = await kept.restart()
    again = await store(stub, channel, *named("a", "later"))
    assert said(again) == [(first[0].sequence, True), (held[0].sequence, True)]
    assert [each.duplicate for each in await store(stub, "other:channel", *named("a", "later"))] == [False, False]


async def test_each_message_has_one_receipt_wherever_the_known_ones_stand(stub: Any, channel: str) -> None:
    """Known ones between new ones: the receipts are those of the messages, in order, and each new one is kept once."""
    known = (await store(stub, channel, *named("k")))[0].sequence
    await create(stub, "d", channel)
    later = message("later", message_id="later", deliver_after=seconds(3600))
    receipts = await store(stub, channel, *named("a", "k", "b", "a"), later, *named("c", "k", "d"))
    assert [each.duplicate for each in receipts] == [False, True, False, True, False, False, True, False]
    a, k, b, again, held, c, k2, d = (each.sequence for each in receipts)
    assert (k, k2, again) == (known, known, a)
    assert len({known, a, b, held, c, d}) == 6
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(4)
    assert [(each.n, each.sequence) for each in got] == [("a", a), ("b", b), ("c", c), ("d", d)]


async def test_the_same_id_twice_in_one_publish_is_stored_once(stub: Any, channel: str) -> None:
    """Within one call, too."""
    await create(stub, "d", channel)
    receipts = await store(stub, channel, *named("a", "b", "a", "a"))
    first = receipts[0].sequence
    assert said(receipts) == [(first, False), (first + 1, False), (first, True), (first, True)]
    assert (await get(stub, "d")).waiting == 2


async def test_an_expired_message_does_not_stand_for_a_later_one(stub: Any, channel: str) -> None:
    """What was dropped as past its TTL was not stored: the same id that still lives is."""
    await create(stub, "d", channel)
    old = named("x", "y", ttl_seconds=1, timestamp={"seconds": 1})
    receipts = await store(stub, channel, *old, *named("y"))
    assert not receipts[2].duplicate
    assert receipts[2].sequence > 0
    assert (await get(stub, "d")).waiting == 1


async def test_the_same_id_while_the_first_is_being_stored(socket_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its receipt waits for the disk as the first one's does; with sqlite, which has a disk to wait for."""
    gate = Gate().install(monkeypatch)
    async with Bus(socket_dir) as bus:
        gate.shut()
        first = asyncio.ensure_future(store(bus.stub, "a", *named("x")))
        await gate.reached()
        second = asyncio.ensure_future(store(bus.stub, "a", *named("x")))
        await bus.stub.GetStats(bus_pb2.GetStatsRequest())
        assert not second.done()
        gate.open()
        (stored,), (repeated,) = await first, await second
        assert said([repeated]) == [(stored.sequence, True)]


async def test_live_publishes_have_no_window(stub: Any, channel: str) -> None:
    """What is not stored is passed on as often as it is published."""
    async with subscribed(stub, channel) as live:
        for _ in range(2):
            await stub.Publish(bus_pb2.PublishRequest(channel=channel, messages=named("a")))
        assert await live.have(2) == ["a", "a"]


async def test_ids_are_known_for_so_long(socket_dir: Path) -> None:
    """`dedup_seconds`: later the same id is stored again."""
    async with Bus(socket_dir, dedup_seconds=0.5) as bus:
        first = (await store(bus.stub, "a", *named("x")))[0]
        again = (await store(bus.stub, "a", *named("x")))[0]
        assert again.duplicate or again.time.ToNanoseconds() - first.time.ToNanoseconds() >= 0.5e9
        await asyncio.sleep(0.6)  # the window is a time
        later = (await store(bus.stub, "a", *named("x")))[0]
        assert not later.duplicate
        assert later.sequence > first.sequence


async def test_so_many_ids_are_known(socket_dir: Path) -> None:
    """`dedup_messages`: beyond it the oldest are forgotten first."""
    async with Bus(socket_dir, dedup_messages=3) as bus:
        for id in "abcd":
            await store(bus.stub, "x", *named(id))
        assert [(await store(bus.stub, "x", *named(id)))[0].duplicate for id in "dcb"] == [True, True, True]
        assert not (await store(bus.stub, "x", *named("a")))[0].duplicate


async def test_ids_outlive_a_restart(kept: Bus, channel: str) -> None:
    """Also those of messages that are held back."""
    later = message("l", message_id="l", deliver_after=seconds(3600))
    first = await store(kept.stub, channel, *named("a", "b"), later)
    stub = await kept.restart()
    again = await store(stub, channel, *named("b"), later, *named("c"))
    assert said(again)[:2] == [(first[1].sequence, True), (first[2].sequence, True)]
    assert [each.time for each in again[:2]] == [each.time for each in first[1:]]
    assert not again[2].duplicate
    await create(stub, "d", channel, position=ALL)
    assert (await get(stub, "d")).waiting == 3
