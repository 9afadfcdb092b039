"""Messages with the same ordering key reach the subscribers one at a time and in order; others run in parallel."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.bus.calls import message
from tests.bus.durable.bus import Bus
from tests.bus.durable.calls import (
    ALL,
    Got,
    Holder,
    create,
    eventually,
    get,
    holding,
    letters,
    redrive,
    seconds,
    settings,
    store,
    store_all,
)

LONG = settings(ack_wait=60, max_deliveries=2)


async def finish(holder: Holder, numbers: list[str]) -> None:
    """Acks one after the other, as they come."""
    for number in numbers:
        got = await holder.take(1)
        assert got[0].n == number
        await holder.ack(got)


async def test_one_at_a_time_and_in_order(stub: Any, channel: str) -> None:
    """Whatever their priority, and whatever they were published with; others go past them."""
    await create(stub, "d", channel, settings=LONG)
    await store(
        stub,
        channel,
        message("k0", ordering_key="k", priority=1),
        message("x0"),
        message("k1", ordering_key="k", priority=4),
        message("j0", ordering_key="j"),
    )
    await store(stub, channel, message("k2", ordering_key="k"), message("x1"))
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(4)
        assert [each.n for each in got] == ["k0", "x0", "j0", "x1"]
        await holder.ack(got[1:])
        await eventually(lambda: get(stub, "d"), lambda found: found.acked == 3)
        await store_all(stub, channel, ["marker"])
        assert await holder.take_numbers(1) == ["marker"], "while the first of the key is held, no other of it comes"
        await holder.ack(got[:1])
        await finish(holder, ["k1", "k2"])


async def test_the_next_comes_when_one_is_done(stub: Any, channel: str) -> None:
    """An ack, a terminate, or the last delivery of one lets the next go on; a nak does not."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, range(4), ordering_key="k")
    async with holding(stub, "d", channel) as holder:
        await holder.ack(await holder.take(1))
        got = await holder.take(1)
        assert got[0].n == "1"
        await holder.say("nak", got, delay=seconds(0.3))
        await eventually(lambda: get(stub, "d"), lambda found: not found.leased)
        again = await holder.take(1)
        assert (again[0].n, again[0].attempt) == ("1", 2)
        await holder.say("nak", again, error="cannot")
        got = await holder.take(1)
        assert got[0].n == "2"
        await holder.say("terminate", got, reason="never")
        await finish(holder, ["3"])
    assert [each.message.json for each in await letters(stub)] == ["1", "2"]


async def test_across_an_expired_lease(stub: Any, channel: str) -> None:
    """The same one comes again before the next."""
    await create(stub, "d", channel, settings=settings(ack_wait=0.2))
    await store_all(stub, channel, range(2), ordering_key="k")
    async with holding(stub, "d", channel) as holder:
        first, again = await holder.take(2)
        assert [(each.n, each.attempt) for each in (first, again)] == [("0", 1), ("0", 2)]
        await holder.ack([again])
        assert (await holder.take(1))[0].n == "1"


async def test_across_a_release(stub: Any, channel: str) -> None:
    """The same one comes again, as if it had not been handed out."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, range(2), ordering_key="k")
    async with holding(stub, "d", channel) as holder:
        await holder.say("release", await holder.take(1))
        again = (await holder.take(1))[0]
        assert (again.n, again.attempt) == ("0", 1)
        await holder.ack([again])
        await finish(holder, ["1"])


async def test_a_redriven_message_comes_behind_its_key(stub: Any, channel: str) -> None:
    """As a new message of its key: one at a time with the others."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, range(3), ordering_key="k")
    async with holding(stub, "d", channel) as holder:
        await holder.say("terminate", await holder.take(1))
        held = await holder.take(1)
        assert held[0].n == "1"
        await redrive(stub)
        await store_all(stub, channel, ["other"])
        assert await holder.take_numbers(1) == ["other"]
        await holder.ack(held)
        await finish(holder, ["2", "0"])


async def test_a_key_is_one_for_all_channels_of_a_subscription(stub: Any) -> None:
    """The pattern's channels share the keys; those of other subscriptions, and other channels, do not."""
    await create(stub, "d", "a:*", settings=LONG)
    await create(stub, "e", "a:y", settings=LONG)
    for n, channel in enumerate(["a:x", "b:x", "a:y", "a:x"]):
        await store_all(stub, channel, [n], ordering_key="k")
    async with holding(stub, "d", "a:*") as holder, holding(stub, "e", "a:y") as other:
        await finish(other, ["2"])
        await finish(holder, ["0", "2", "3"])


async def test_expired_ones_of_a_key_are_passed_over(stub: Any, channel: str) -> None:
    """What waits behind its key past its TTL becomes a dead letter, and the key goes on."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, ["a"], ordering_key="k")
    await store_all(stub, channel, ["b"], ordering_key="k", ttl_seconds=1)
    await store_all(stub, channel, ["c"], ordering_key="k")
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(1)
        await asyncio.sleep(1.1)  # the shortest TTL
        await holder.ack(got)
        await finish(holder, ["c"])
    found = await letters(stub)
    assert [(each.message.json, len(each.attempts)) for each in found] == [("b", 0)]


async def test_across_restarts(kept: Bus, channel: str) -> None:
    """With one leased, one that waits for its next attempt, and others behind each; over sqlite, which keeps them."""
    stub = kept.stub
    await create(stub, "d", channel, settings=settings(ack_wait=10))
    for n in range(3):
        await store_all(stub, channel, [f"j{n}"], ordering_key="j")
        await store_all(stub, channel, [f"k{n}"], ordering_key="k")
    async with holding(stub, "d", channel) as holder:
        j, k = await holder.take(2)
        await holder.say("nak", [k], delay=seconds(5))
        await eventually(lambda: get(stub, "d"), lambda found: found.retrying == 1)
    stub = await kept.restart()
    await store_all(stub, channel, ["x"])
    async with holding(stub, "d", channel) as holder:
        assert await holder.take_numbers(1) == ["x"]
        await holder.ack([j])
        seen: dict[str, list[Got]] = defaultdict(list)
        for _ in range(5):
            got = await holder.take(1)
            seen[got[0].n[0]] += got
            await holder.ack(got)
    assert [(each.n, each.attempt) for each in seen["j"]] == [("j1", 1), ("j2", 1)]
    assert [(each.n, each.attempt) for each in seen["k"]] == [("k0", 2), ("k1", 1), ("k2", 1)]


async def test_many_keys_with_failures(stub: Any, channel: str) -> None:
    """500 keys, several subscribers, naks and releases at random: of each key one at a time and in order, all done."""
    chance = random.Random(7)
    await create(stub, "d", channel, settings=settings(ack_wait=60, max_deliveries=1000))
    await store(stub, channel, *(message(f"{n % 500}.{n // 500}", ordering_key=f"k{n % 500}") for n in range(3000)))
    done: dict[str, list[int]] = defaultdict(list)
    held: set[str] = set()

    async def work(holder: Holder) -> None:
        while sum(map(len, done.values())) < 3000:
            got = (await holder.take(1))[0]
            key, n = got.n.split(".")
            assert key not in held, f"two of key {key} at once"
            held.add(key)
            assert int(n) == len(done[key]), f"key {key} out of order"
            await asyncio.sleep(0)
            held.discard(key)
            kind = chance.choices(["ack", "nak", "release"], [8, 1, 1])[0]
            if kind == "ack":
                done[key].append(int(n))
            await holder.say(kind, [got], **({"delay": seconds(chance.choice([0, 0.05]))} if kind == "nak" else {}))

    async with holding(stub, "d", channel, credit=100_000) as a, holding(stub, "d", channel, credit=100_000) as b:
        workers = [asyncio.ensure_future(work(each)) for each in (a, b)]
        await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
        for worker in workers:
            if worker.done():
                worker.result()
            worker.cancel()
        state = await eventually(lambda: get(stub, "d"), lambda found: found.acked == 3000)
        assert (state.waiting, state.leased, state.retrying) == (0, 0, 0)


@pytest.mark.parametrize("restarts", [1, 2])
async def test_a_long_key_is_worked_off_over_restarts(socket_dir: Path, restarts: int) -> None:
    """One key, a few done between each start and stop: none left out, none twice; over sqlite, which keeps them."""
    async with Bus(socket_dir) as bus:
        await create(bus.stub, "d", "a", position=ALL, settings=LONG)
        await store_all(bus.stub, "a", range(10 * (restarts + 1)), ordering_key="k")
        for part in range(restarts + 1):
            async with holding(bus.stub, "d", "a", credit=10) as holder:
                await finish(holder, [str(n) for n in range(10 * part, 10 * part + 10)])
                await eventually(lambda: get(bus.stub, "d"), lambda found: found.acked == 10 * (part + 1))  # noqa: B023
            await bus.restart()
        state = await get(bus.stub, "d")
        assert (state.waiting, state.leased, state.retrying) == (0, 0, 0)
