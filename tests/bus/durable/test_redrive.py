"""Redrive: dead letters go back to the subscription that they come from, and to no other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.bus.calls import message, refused, subscribed
from tests.bus.durable.bus import Bus, Gate
from tests.bus.durable.calls import (
    ALL,
    create,
    delete,
    eventually,
    get,
    holding,
    letters,
    redrive,
    settings,
    store,
    store_all,
)
from trunkline.v1 import bus_pb2, dead_letter_pb2
from trunkline.v1.dead_letter_pb2 import DeadLetterFilter

QUICK = settings(ack_wait=60, max_deliveries=2, backoff=(0, 1, 0))
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


async def bury(stub: Any, name: str, pattern: str) -> None:
    """Terminates all that a durable subscription has."""
    before = (await figures(stub)).dead_letters
    waiting = (await get(stub, name)).waiting
    async with holding(stub, name, pattern, credit=waiting) as holder:
        await holder.say("terminate", await holder.take(waiting), reason="never")
        await eventually(lambda: figures(stub), lambda now: now.dead_letters == before + waiting)


async def figures(stub: Any) -> Any:
    """What the bus says of itself; dead letters count once they are durable."""
    return await stub.GetStats(bus_pb2.GetStatsRequest())


async def test_only_its_own_subscription_gets_it(stub: Any, channel: str) -> None:
    """Neither other durable ones, nor later ones that start at all, nor live ones; with the next attempt's number and
    a sequence of its own."""
    for name in ("d", "e"):
        await create(stub, name, channel, settings=QUICK)
    sequences = await store_all(stub, channel, ["a"])
    await bury(stub, "d", channel)
    async with subscribed(stub, channel) as live, holding(stub, "d", channel) as holder:
        letter = (await letters(stub))[0]
        answer = await redrive(stub, letter.dead_letter_id)
        assert (answer.redriven, answer.guarded, answer.orphaned, answer.remaining) == (1, 0, 0, 0)
        assert list(answer.dead_letter_ids) == [letter.dead_letter_id]
        got = (await holder.take(1))[0]
        assert (got.n, got.attempt, got.channel) == ("a", 2, channel)
        assert got.sequence > sequences[0]
        await holder.ack([got])
        await store_all(stub, channel, ["marker"])
        assert await live.have(1) == ["marker"]
    assert await letters(stub) == []
    assert (await get(stub, "e")).waiting == 2
    await create(stub, "later", channel, position=ALL)
    assert (await get(stub, "later")).waiting == 2
    async with holding(stub, "later", channel) as holder:
        assert await holder.take_numbers(2) == ["a", "marker"]
    async with holding(stub, "e", channel) as holder:
        assert await holder.take_numbers(2) == ["a", "marker"]


async def test_it_has_all_its_deliveries_again(stub: Any, channel: str) -> None:
    """Attempts count on, max_deliveries anew, and what was before is kept with the next dead letter."""
    await create(stub, "d", channel, settings=QUICK)
    await store_all(stub, channel, ["a"])
    async with holding(stub, "d", channel) as holder:
        for attempt in (1, 2):
            await holder.say("nak", await holder.take(1), error=f"error {attempt}")
        await eventually(lambda: letters(stub), len)
        await redrive(stub)
        for attempt in (3, 4):
            got = await holder.take(1)
            assert got[0].attempt == attempt
            await holder.say("nak", got, error=f"error {attempt}")
        found = (await eventually(lambda: letters(stub), len))[0]
    assert found.redrives == 1
    assert [(each.number, each.error) for each in found.attempts] == [(n, f"error {n}") for n in (1, 2, 3, 4)]


async def test_many_over_several_channels(stub: Any) -> None:
    """To a connected subscriber, in the order in which they died, with channels and priorities mixed: none is lost."""
    await create(stub, "d", "a:>", settings=QUICK)
    for n in range(60):
        await store(stub, f"a:{'xyz'[n % 3]}", message(n, priority=1 + n % 4, ordering_key="k" if n % 5 == 4 else ""))
    dead = 0
    async with holding(stub, "d", "a:>", credit=1000) as holder:
        while dead < 60:
            await holder._step()
            await holder.say("terminate", holder.got)
            dead, holder.got = dead + len(holder.got), []
        await eventually(lambda: letters(stub), lambda found: len(found) == 60)
        answer = await redrive(stub)
        assert answer.redriven == 60
        seen: set[Any] = set()
        while len(seen) < 60:
            got = await holder.take(1)
            seen.add(got[0].n)
            await holder.ack(got)
    assert seen == {str(n) for n in range(60)}
    state = await get(stub, "d")
    assert (state.waiting, state.retrying) == (0, 0)


async def test_over_several_channels_while_nobody_is_connected(stub: Any) -> None:
    """They wait as any message does."""
    await create(stub, "d", "a:>", settings=QUICK)
    for n in range(9):
        await store_all(stub, f"a:{n % 3}", [n])
    await bury(stub, "d", "a:>")
    assert (await redrive(stub)).redriven == 9
    assert (await get(stub, "d")).waiting == 9
    async with holding(stub, "d", "a:>") as holder:
        assert await holder.take_numbers(9) == [str(n) for n in range(9)]


async def test_a_dry_run_and_a_limit(stub: Any, channel: str) -> None:
    """The oldest first; what is beyond the limit is said; a dry run says the same and does nothing."""
    await create(stub, "d", channel, settings=QUICK)
    await store_all(stub, channel, range(5))
    await bury(stub, "d", channel)
    ids = [each.dead_letter_id for each in await letters(stub)]
    for dry_run in (True, False):
        answer = await redrive(stub, limit=2, dry_run=dry_run)
        assert (answer.redriven, answer.remaining) == (2, 3)
        assert list(answer.dead_letter_ids) == ids[:2]
    assert [each.dead_letter_id for each in await letters(stub)] == ids[2:]
    assert (await redrive(stub, filter=DeadLetterFilter(durable="none"))).redriven == 0
    assert (await redrive(stub, filter=DeadLetterFilter(error_contains="never"))).redriven == 3


async def test_the_guard_against_loops(stub: Any, channel: str) -> None:
    """What was redriven three times stays, unless it is forced."""
    await create(stub, "d", channel, settings=QUICK)
    await store_all(stub, channel, ["loop"])
    await bury(stub, "d", channel)
    for _ in range(3):
        assert (await redrive(stub)).redriven == 1
        await bury(stub, "d", channel)
    await store_all(stub, channel, ["new"])
    await bury(stub, "d", channel)
    answer = await redrive(stub)
    assert (answer.redriven, answer.guarded) == (1, 1)
    assert [(each.message.json, each.redrives) for each in await letters(stub)] == [("loop", 3)]
    assert (await redrive(stub, force=True)).redriven == 1
    await bury(stub, "d", channel)
    assert {(each.message.json, each.redrives) for each in await letters(stub)} == {("loop", 4), ("new", 1)}


async def test_orphans_stay(stub: Any, channel: str) -> None:
    """Those of a deleted subscription: counted where a filter chose them, refused where they were named."""
    for name in ("d", "e"):
        await create(stub, name, channel, settings=QUICK)
    await store_all(stub, channel, ["a"])
    for name in ("d", "e"):
        await bury(stub, name, channel)
    await delete(stub, "d")
    orphan, other = await letters(stub)
    error = await refused(
        redrive(stub, other.dead_letter_id, orphan.dead_letter_id), NOT_FOUND, "SUBSCRIPTION_NOT_FOUND"
    )
    assert error.details["durable"] == "d"
    answer = await redrive(stub)
    assert (answer.redriven, answer.orphaned) == (1, 1)
    assert await letters(stub) == [orphan]


async def test_a_name_that_has_another_pattern_now_is_another_subscription(stub: Any) -> None:
    """Its predecessor's dead letters are not for its pattern: they are orphans, and are not lost."""
    await create(stub, "d", "a:x", settings=QUICK)
    await store_all(stub, "a:x", ["a"])
    await bury(stub, "d", "a:x")
    await delete(stub, "d")
    await create(stub, "d", "b:y", settings=QUICK)
    answer = await redrive(stub)
    assert (answer.redriven, answer.orphaned) == (0, 1)
    assert len(await letters(stub)) == 1


async def test_a_successor_does_not_get_what_was_redriven_to_a_deleted_one(kept: Bus) -> None:
    """Also after a restart: numbers of durable subscriptions are not given again; over sqlite, which keeps any."""
    stub = kept.stub
    await create(stub, "d", "a", settings=QUICK)
    await store_all(stub, "a", ["a"])
    await bury(stub, "d", "a")
    await redrive(stub)
    await delete(stub, "d")
    stub = await kept.restart()
    await create(stub, "e", "a", position=ALL, settings=QUICK)
    assert (await get(stub, "e")).waiting == 1
    async with holding(stub, "e", "a") as holder:
        got = (await holder.take(1))[0]
        assert (got.n, got.attempt) == ("a", 1), "the message itself, not the redriven one"
        await holder.ack([got])
        await store_all(stub, "a", ["marker"])
        assert await holder.take_numbers(1) == ["marker"]


async def test_a_ttl_ends_with_a_redrive(stub: Any, channel: str) -> None:
    """Who redrives an expired message wants it delivered."""
    await create(stub, "d", channel, settings=QUICK)
    await store_all(stub, channel, ["a"], ttl_seconds=1)
    await asyncio.sleep(1.1)  # the shortest TTL
    async with holding(stub, "d", channel) as holder:
        await eventually(lambda: letters(stub), len)
        await redrive(stub)
        got = (await holder.take(1))[0]
        assert (got.n, got.attempt) == ("a", 1)


async def test_twice_at_once_it_is_redriven_once(socket_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two operators, or one who tries again while the first call waits for the disk; also a purge meanwhile."""
    gate = Gate().install(monkeypatch)
    async with Bus(socket_dir) as bus:
        stub = bus.stub
        await create(stub, "d", "a", settings=QUICK)
        await store_all(stub, "a", range(3))
        await bury(stub, "d", "a")
        ids = [each.dead_letter_id for each in await letters(stub)]
        gate.shut()
        purge = dead_letter_pb2.PurgeDeadLettersRequest(dead_letter_ids=ids)
        first = asyncio.ensure_future(redrive(stub, *ids))
        await gate.reached()
        others = [asyncio.ensure_future(each) for each in (redrive(stub, *ids), stub.PurgeDeadLetters(purge))]
        await asyncio.wait(others, timeout=0.1)  # they are there, and wait for the gate where they wait at all
        gate.open()
        assert (await first).redriven == 3
        for other in await asyncio.gather(*others, return_exceptions=True):
            assert isinstance(other, grpc.aio.AioRpcError), "they are gone"
            assert other.code() is NOT_FOUND
        assert (await get(stub, "d")).waiting == 3
        assert (await stub.GetStats(bus_pb2.GetStatsRequest())).dead_letters == 0


@pytest.mark.parametrize("kind", ["Redrive", "Purge"])
async def test_what_is_meant_must_be_said(stub: Any, channel: str, kind: str) -> None:
    """Bad input: neither ids nor a filter, both, unknown ids, a limit out of bounds: refused, and nothing is done."""
    await create(stub, "d", channel, settings=QUICK)
    await store_all(stub, channel, range(2))
    await bury(stub, "d", channel)
    ids = [each.dead_letter_id for each in await letters(stub)]
    call = getattr(stub, f"{kind}DeadLetters")
    request = getattr(dead_letter_pb2, f"{kind}DeadLettersRequest")
    await refused(call(request()), INVALID, "INVALID_MESSAGE")
    await refused(call(request(dead_letter_ids=ids, filter=DeadLetterFilter())), INVALID, "INVALID_MESSAGE")
    error = await refused(call(request(dead_letter_ids=[*ids, 99])), NOT_FOUND, "DEAD_LETTER_NOT_FOUND")
    assert error.details["dead_letter_id"] == 99
    if kind == "Redrive":
        for limit in (0, -1, 10_001):
            error = await refused(call(request(filter=DeadLetterFilter(), limit=limit)), INVALID, "INVALID_MESSAGE")
            assert (error.details["field"], error.details["value"]) == ("limit", str(limit))
    assert len(await letters(stub)) == 2
