"""Where a durable subscription starts, and where it is moved to."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.bus.calls import message, refused
from tests.bus.durable.bus import Bus, Gate
from tests.bus.durable.calls import (
    ALL,
    NEW,
    create,
    eventually,
    get,
    holding,
    seconds,
    seek,
    store,
    store_all,
)
from trunkline.v1.durable_pb2 import Position


def at(time: float) -> Position:
    return Position(time=seconds(time))


async def all_of(stub: Any, name: str, pattern: str) -> list[str]:
    """What it hands out now, acked."""
    waiting = (await get(stub, name)).waiting
    async with holding(stub, name, pattern, credit=max(1, waiting)) as holder:
        got = await holder.take(waiting)
        await holder.ack(got)
        await eventually(lambda: get(stub, name), lambda found: not found.leased)
    return [each.n for each in got]


async def test_starts(stub: Any, channel: str) -> None:
    """New, all, a sequence (also in the middle of what was published together), and a time."""
    first = await store_all(stub, channel, range(5))
    await store_all(stub, "other:channel", range(5))
    receipt = (await store(stub, channel, message(5)))[0]
    taken = receipt.time.ToNanoseconds() / 1e9
    expected = {
        "unset": (None, []),
        "new": (NEW, []),
        "all": (ALL, ["0", "1", "2", "3", "4", "5"]),
        "first": (Position(sequence=1), ["0", "1", "2", "3", "4", "5"]),
        "middle": (Position(sequence=first[3]), ["3", "4", "5"]),
        "next": (Position(sequence=receipt.sequence + 1), []),
        "long-ago": (at(1.0), ["0", "1", "2", "3", "4", "5"]),
        "then": (at(taken), ["5"]),
        "later": (at(taken + 0.000_1), []),
    }
    for name, (position, numbers) in expected.items():
        made = await create(stub, name, channel, position=position)
        assert made.subscription.waiting == len(numbers), name
    await store_all(stub, channel, ["new"])
    for name, (_, numbers) in expected.items():
        assert await all_of(stub, name, channel) == [*numbers, "new"], name


async def test_moved_back_it_hands_everything_out_again(stub: Any, channel: str) -> None:
    """What was acked too; attempts count from 1 anew."""
    await create(stub, "d", channel)
    sequences = await store_all(stub, channel, range(6))
    assert await all_of(stub, "d", channel) == ["0", "1", "2", "3", "4", "5"]
    moved = await seek(stub, "d", Position(sequence=sequences[2]))
    assert (moved.subscription.waiting, moved.subscription.next_sequence) == (4, sequences[2])
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(4)
        assert [(each.n, each.attempt) for each in got] == [("2", 1), ("3", 1), ("4", 1), ("5", 1)]
    await seek(stub, "d", ALL)
    assert (await get(stub, "d")).waiting == 6


async def test_moved_forwards_it_leaves_the_rest_out(stub: Any, channel: str) -> None:
    """To new, and to a sequence; while subscribers are connected, who go on."""
    await create(stub, "d", channel)
    async with holding(stub, "d", channel, credit=1) as holder:
        sequences = await store_all(stub, channel, range(6))
        assert await holder.take_numbers(1) == ["0"]
        await seek(stub, "d", Position(sequence=sequences[4]))
        await holder.grant(1)
        assert await holder.take_numbers(1) == ["4"]
        moved = await seek(stub, "d", NEW)
        assert (moved.subscription.waiting, moved.subscription.leased) == (0, 0)
        await store_all(stub, channel, ["next"])
        await holder.grant(1)
        assert await holder.take_numbers(1) == ["next"]


async def test_what_is_leased_or_retrying_becomes_stale(stub: Any, channel: str) -> None:
    """Acks for it are refused, and change nothing."""
    await create(stub, "d", channel)
    await store_all(stub, channel, range(3))
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(3)
        await holder.say("nak", got[:1], delay=seconds(60))
        await eventually(lambda: get(stub, "d"), lambda found: found.retrying == 1)
        moved = await seek(stub, "d", NEW)
        figures = moved.subscription
        assert (figures.waiting, figures.leased, figures.retrying) == (0, 0, 0)
        await holder.ack(got)
        refusals: list[int] = []
        while len(refusals) < 3:
            refusal = await holder.refusal()
            assert refusal.error.reason == "STALE_ACK"
            refusals += refusal.sequences
        assert sorted(refusals) == [each.sequence for each in got]
        assert (await get(stub, "d")).acked == 0


async def test_a_busy_ordering_key_is_free_after_a_move(stub: Any, channel: str) -> None:
    """What was leased of a key does not hold the key any more."""
    await create(stub, "d", channel)
    sequences = await store_all(stub, channel, range(3), ordering_key="k")
    async with holding(stub, "d", channel) as holder:
        assert await holder.take_numbers(1) == ["0"]
        await seek(stub, "d", Position(sequence=sequences[1]))
        for number in ("1", "2"):
            got = await holder.take(1)
            assert got[0].n == number
            await holder.ack(got)


async def test_credit_for_what_was_not_sent_is_not_lost(socket_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moved while a message is on its way to a subscriber, it owes the subscriber another; with sqlite, where handing
    out waits for the disk."""
    gate = Gate().install(monkeypatch)
    async with Bus(socket_dir) as bus:
        await create(bus.stub, "d", "a")
        async with holding(bus.stub, "d", "a", credit=1) as holder:
            gate.shut()
            storing = asyncio.ensure_future(store_all(bus.stub, "a", ["lost"]))
            await gate.reached()
            gate.step()
            await storing
            await gate.reached()  # the hand-out is at the disk
            assert (await get(bus.stub, "d")).leased == 1
            moving = asyncio.ensure_future(seek(bus.stub, "d", NEW))
            await eventually(lambda: get(bus.stub, "d"), lambda found: not found.leased)
            gate.open()
            await moving
            await store_all(bus.stub, "a", ["next"])
            assert await holder.take_numbers(1) == ["next"]


async def test_a_start_while_messages_are_being_stored_misses_none(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a sequence, from a time and from all on, made while a commit is at the disk: each waits for what is in it,
    once."""
    gate = Gate().install(monkeypatch)
    async with Bus(socket_dir) as bus:
        before = time.time()
        gate.shut()
        storing = asyncio.ensure_future(store_all(bus.stub, "a", range(3)))
        await gate.reached()
        later = asyncio.ensure_future(store_all(bus.stub, "a", range(3, 5)))
        starts = {"all": ALL, "sequence": Position(sequence=2), "time": at(before)}
        making = [asyncio.ensure_future(create(bus.stub, name, "a", position=each)) for name, each in starts.items()]
        await asyncio.wait({later, *making}, timeout=0.1)  # all are there, and wait for the gate
        gate.open()
        await asyncio.gather(storing, later, *making)
        for name, numbers in {"all": 5, "sequence": 4, "time": 5}.items():
            assert (await get(bus.stub, name)).waiting == numbers, name
            assert len(await all_of(bus.stub, name, "a")) == numbers
            assert (await get(bus.stub, name)).waiting == 0


@pytest.mark.parametrize("engine", ["sqlite", "memory"])
@pytest.mark.parametrize("behind", [False, True], ids=["before the disk", "behind the disk"])
async def test_a_move_while_messages_are_being_stored_counts_them_once(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch, engine: str, behind: bool
) -> None:
    """`waiting` is what will be handed out, whatever a commit that runs lets others see already."""
    gate = Gate().install(monkeypatch)
    async with Bus(socket_dir, engine) as bus:
        await create(bus.stub, "d", "a")
        await store_all(bus.stub, "a", range(2))
        gate.shut(behind=behind)
        storing = asyncio.ensure_future(store_all(bus.stub, "a", range(3)))
        await gate.reached()
        moving = asyncio.ensure_future(seek(bus.stub, "d", ALL))
        making = asyncio.ensure_future(create(bus.stub, "e", "a", position=ALL))
        await asyncio.wait({moving, making}, timeout=0.1)  # both are there, and wait for the gate
        gate.open()
        await asyncio.gather(storing, moving, making)
        assert (await get(bus.stub, "d")).waiting == 5
        assert (await get(bus.stub, "e")).waiting == 5


@pytest.mark.parametrize(
    ("position", "field", "value"),
    [
        (Position(), "position", None),
        (Position(new=False), "position.new", None),
        (Position(all=False), "position.all", None),
        (Position(sequence=0), "position.sequence", "0"),
        (Position(sequence=-1), "position.sequence", "-1"),
        (Position(sequence=5), "position.sequence", "5"),
    ],
    ids=["unset", "new: false", "all: false", "0", "-1", "beyond the next"],
)
async def test_positions_that_are_none_are_refused(
    stub: Any, channel: str, position: Position, field: str, value: str | None
) -> None:
    """Bad input: with the field and the value, and nothing was moved."""
    await create(stub, "d", channel)
    await store_all(stub, channel, range(3))
    error = await refused(seek(stub, "d", position), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE")
    assert error.details["field"] == field
    assert error.details.get("value") == value
    assert (await get(stub, "d")).waiting == 3
    if field != "position":
        creating = create(stub, "e", channel, position=position)
        await refused(creating, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE")
        await refused(get(stub, "e"), grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")
