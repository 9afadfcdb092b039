"""Leases: what was handed out comes again unless it is settled in time, and says how often it came."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.bus.durable.calls import (
    create,
    eventually,
    get,
    holding,
    left,
    letters,
    seconds,
    settings,
    settle,
    store_all,
)
from trunkline.v1.durable_pb2 import Ack, Extend, Nak, Release

SHORT = settings(ack_wait=0.3)
LONG = settings(ack_wait=60)


async def test_an_expired_lease_redelivers_with_the_next_attempt(stub: Any, channel: str) -> None:
    """After ack_wait, not before; to whoever is there, also to the same, one at a time; what was acked in time stays
    away."""
    await create(stub, "d", channel, settings=SHORT)
    await store_all(stub, channel, range(4))
    async with holding(stub, "d", channel) as holder:
        first = await holder.take(4)
        since = time.monotonic()
        await holder.ack(first[1:3])
        again = await holder.take(2)
        assert time.monotonic() - since > 0.2
        assert [(each.n, each.sequence, each.attempt) for each in again] == [
            ("0", first[0].sequence, 2),
            ("0", first[0].sequence, 3),
        ]
        await holder.ack(again[1:])
        third = await holder.take(1)
        assert [(each.n, each.sequence, each.attempt) for each in third] == [("3", first[3].sequence, 2)]
        await holder.ack(third)
        done = await eventually(lambda: get(stub, "d"), lambda found: found.acked == 4)
        assert (done.leased, done.retrying, done.redelivered) == (0, 0, 3)


async def test_what_a_vanished_subscriber_held_goes_to_others(stub: Any, channel: str) -> None:
    """When its lease is over, one at a time; what it was not sent, at once and with no attempt counted."""
    await create(stub, "d", channel, settings=SHORT)
    await store_all(stub, channel, range(3))
    async with holding(stub, "d", channel, credit=2) as gone:
        assert await gone.take_numbers(2) == ["0", "1"]
    async with holding(stub, "d", channel) as other:
        got = await other.take(2)
        await other.ack(got)
        assert [(each.n, each.attempt) for each in got + await other.take(1)] == [("2", 1), ("0", 2), ("1", 2)]


async def test_whoever_reconnects_may_settle_what_it_holds(stub: Any, channel: str) -> None:
    """On another stream, and by a unary call: leases outlive streams."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, range(4))
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(4)
    await left(stub, "d")
    async with holding(stub, "d", channel) as holder:
        await holder.ack(got[:2])
        await eventually(lambda: get(stub, "d"), lambda found: found.acked == 2)
    await settle(stub, "d", ack=Ack(sequences=[each.sequence for each in got[2:]], attempt=1))
    assert (await get(stub, "d")).acked == 4


async def test_acks_come_in_any_order_and_from_any_stream(stub: Any, channel: str) -> None:
    """Of parts of what came together, out of order, by another subscriber of the same name."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, range(10))
    async with holding(stub, "d", channel, credit=10) as holder, holding(stub, "d", channel, credit=5) as other:
        got = await holder.take(10)
        await holder.ack([got[7], got[2]])
        await other.ack([got[9], got[0], got[3]])
        state = await eventually(lambda: get(stub, "d"), lambda found: found.acked == 5)
        assert state.leased == 5
        await other.say("nak", [got[8], got[1], got[5], got[6], got[4]], delay=seconds(0))
        again = await other.take(5)
        assert sorted(each.n for each in again) == ["1", "4", "5", "6", "8"]
        assert {each.attempt for each in again} == {2}
        await holder.ack(again)
        await eventually(lambda: get(stub, "d"), lambda found: found.acked == 10)


async def test_extended_it_stays_leased(stub: Any, channel: str) -> None:
    """By ack_wait or by what is said, from now; only what is named; as often as one likes."""
    await create(stub, "d", channel, settings=settings(ack_wait=0.5, max_deliveries=100))
    await store_all(stub, channel, range(3))
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(3)
        await holder.say("extend", got[:1], lease=seconds(60))
        taking = asyncio.ensure_future(holder.take(2))
        while not taking.done():
            await holder.say("extend", got[1:2])
            await asyncio.wait({taking}, timeout=0.1)  # what is extended is time
        again = await taking
        assert [(each.n, each.attempt) for each in again] == [("2", 2), ("2", 3)]
        await holder.ack(got[:2])
        await eventually(lambda: get(stub, "d"), lambda found: found.acked == 2)


async def test_a_lease_can_be_made_shorter(stub: Any, channel: str) -> None:
    """An extension counts from now: also where it ends before what was granted before."""
    await create(stub, "d", channel, settings=settings(ack_wait=0.3))
    await store_all(stub, channel, ["short", "long"])
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(2)
        await holder.say("extend", got, lease=seconds(60))
        await store_all(stub, channel, ["marker"])
        marker = await holder.take(1)
        again = await holder.take(1)
        assert again[0].n == "marker", "ack_wait is over, and what was extended did not come"
        await holder.ack(again)
        await holder.say("extend", got[:1], lease=seconds(0.2))
        back = (await holder.take(1))[0]
        assert (back.n, back.attempt, marker[0].attempt) == ("short", 2, 1)
        assert (await get(stub, "d")).leased == 2


@pytest.mark.parametrize("unary", [False, True], ids=["stream", "unary"])
async def test_nak_now(stub: Any, channel: str, unary: bool) -> None:
    """A delay of 0: at once, with the next attempt."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, range(2))
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(2)
        if unary:
            await settle(stub, "d", nak=Nak(sequences=[got[0].sequence], attempt=1, delay=seconds(0), error="e"))
        else:
            await holder.say("nak", got[:1], delay=seconds(0))
        again = (await holder.take(1))[0]
        assert (again.n, again.attempt) == ("0", 2)


async def test_nak_after_a_delay(stub: Any, channel: str) -> None:
    """Not before it is over; it waits for another attempt meanwhile, and others go on."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, range(3))
    async with holding(stub, "d", channel, credit=2) as holder:
        got = await holder.take(2)
        since = time.monotonic()
        await holder.say("nak", got[:1], delay=seconds(0.5))
        state = await eventually(lambda: get(stub, "d"), lambda found: found.retrying == 1)
        assert state.leased == 1
        await holder.grant(2)
        assert await holder.take_numbers(1) == ["2"]
        again = (await holder.take(1))[0]
        assert time.monotonic() - since >= 0.5
        assert (again.n, again.attempt) == ("0", 2)
        assert (await get(stub, "d")).retrying == 0


async def test_nak_backs_off_as_the_settings_say(stub: Any, channel: str) -> None:
    """Initial, multiplied with each attempt, at most the maximum."""
    await create(stub, "d", channel, settings=settings(ack_wait=60, max_deliveries=10, backoff=(0.1, 2, 0.3)))
    await store_all(stub, channel, range(1))
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(1)
        for attempt, least, most in [(2, 0.1, 0.2), (3, 0.2, 0.3), (4, 0.3, 0.6), (5, 0.3, 0.6)]:
            since = time.monotonic()
            await holder.say("nak", got)
            got = await holder.take(1)
            assert got[0].attempt == attempt
            assert least <= time.monotonic() - since < most + 30, "however busy the machine is: not after the lease"


async def test_the_earliest_due_comes_first(stub: Any, channel: str) -> None:
    """Whatever order the naks came in."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, range(4))
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(4)
        for each, delay in zip(got, (0.4, 0.1, 0.3, 0.2), strict=True):
            await holder.say("nak", [each], delay=seconds(delay))
        assert await holder.take_numbers(4) == ["1", "3", "2", "0"]


@pytest.mark.parametrize("unary", [False, True], ids=["stream", "unary"])
async def test_released_it_counts_no_attempt(stub: Any, channel: str, unary: bool) -> None:
    """It goes to somebody else at once, before what is new, as if it had never been handed out."""
    await create(stub, "d", channel, settings=settings(ack_wait=60, max_deliveries=1))
    await store_all(stub, channel, range(4))
    async with holding(stub, "d", channel, credit=3) as holder:
        got = await holder.take(3)
        if unary:
            released = Release(sequences=[each.sequence for each in got[1:]], attempt=1)
            await settle(stub, "d", release=released)
        else:
            await holder.say("release", got[1:])
        await eventually(lambda: get(stub, "d"), lambda found: found.leased == 1)
        async with holding(stub, "d", channel) as other:
            assert [(each.n, each.attempt) for each in await other.take(3)] == [("1", 1), ("2", 1), ("3", 1)]
    assert (await get(stub, "d")).redelivered == 0
    assert await letters(stub) == []


async def test_an_extension_by_a_unary_call(stub: Any, channel: str) -> None:
    """Settle extends, too, and answers when it is taken."""
    await create(stub, "d", channel, settings=SHORT)
    await store_all(stub, channel, range(2))
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(2)
        await settle(stub, "d", extend=Extend(sequences=[got[0].sequence], attempt=1, lease=seconds(60)))
        assert [(each.n, each.attempt) for each in await holder.take(2)] == [("1", 2), ("1", 3)]


async def test_many_leases_are_extended_again_and_again(stub: Any, channel: str) -> None:
    """By less than ack_wait, so that each extension ends before the lease did: what is held is held, and it costs next
    to nothing, however often it is said."""
    await create(stub, "d", channel, settings=settings(ack_wait=86_400))
    await store_all(stub, channel, range(500))
    async with holding(stub, "d", channel, credit=1000) as holder:
        got = await holder.take(500)
        cost = time.process_time()
        for _ in range(40):
            await holder.say("extend", got, lease=seconds(0.5))
            await asyncio.sleep(0.05)  # what is extended is time
        assert time.process_time() - cost < 1.0
        state = await get(stub, "d")
        assert (state.leased, state.redelivered) == (500, 0)
