"""What lapsed is handed out one message at a time: what kills its worker uses up no attempt of its neighbours."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.bus.durable.bus import Bus
from tests.bus.durable.calls import create, eventually, get, holding, left, letters, redrive, settings, store_all
from tests.patience import PATIENCE
from trunkline.v1 import bus_pb2

SHORT = settings(ack_wait=0.3, max_deliveries=3)


async def work(stub: Any, channel: str, killer: str, most: int = 20, **start: Any) -> list[str]:
    """Workers, one after the other, that die of one message and do the others; returns what was done."""
    done: list[str] = []
    for _ in range(most):
        async with holding(stub, "d", channel, **start) as holder:
            while True:
                state = await get(stub, "d")
                if not state.waiting + state.leased + state.retrying:
                    return done
                got = (await holder.take(1))[0]
                if got.n == killer:
                    break
                await holder.ack([got])
                done.append(got.n)
                acked = len(done)
                await eventually(lambda: get(stub, "d"), lambda now: now.acked == acked)  # noqa: B023
        await left(stub, "d")
        await eventually(lambda: get(stub, "d"), lambda now: not now.leased)
    raise AssertionError(f"still not done; done: {done}")


async def test_only_what_kills_its_worker_is_a_dead_letter(stub: Any, channel: str) -> None:
    """Four messages, the first kills its worker each time: one dead letter, of three attempts, and three are done."""
    await create(stub, "d", channel, settings=SHORT)
    await store_all(stub, channel, range(4))
    assert sorted(await work(stub, channel, "0")) == ["1", "2", "3"]
    dead = await letters(stub)
    assert [letter.message.json for letter in dead] == ["0"]


async def test_a_killer_among_others_is_found(stub: Any, channel: str) -> None:
    """Wherever it stands: the third of five."""
    await create(stub, "d", channel, settings=SHORT)
    await store_all(stub, channel, range(5))
    assert sorted(await work(stub, channel, "2")) == ["0", "1", "3", "4"]
    assert [letter.message.json for letter in await letters(stub)] == ["2"]


async def test_new_messages_flow_beside_one_that_lapsed(stub: Any, channel: str) -> None:
    """One of those that lapsed is with a subscriber at a time, another subscriber gets another; what is new comes as
    ever, and so does everything when they are settled."""
    await create(stub, "d", channel, settings=settings(ack_wait=1.0))
    await store_all(stub, channel, range(3))
    async with holding(stub, "d", channel) as holder:
        await holder.take(3)
    await eventually(lambda: get(stub, "d"), lambda found: found.retrying == 3)
    async with holding(stub, "d", channel) as holder:
        first = (await holder.take(1))[0]
        assert (first.n, first.attempt) == ("0", 2)
        await store_all(stub, channel, ["new", "newer"])
        got = await holder.take(2)
        assert [(each.n, each.attempt) for each in got] == [("new", 1), ("newer", 1)]
        async with holding(stub, "d", channel) as other:
            second = (await other.take(1))[0]
            assert (second.n, second.attempt) == ("1", 2)
            await holder.ack([first, *got])
            third = (await holder.take(1))[0]
            assert (third.n, third.attempt) == ("2", 2)
            await holder.ack([second, third])
        await store_all(stub, channel, range(10, 20))
        assert await holder.take_numbers(10) == [str(n) for n in range(10, 20)]


async def test_who_stands_still_gets_nothing_that_lapsed_elsewhere(stub: Any, channel: str) -> None:
    """A subscriber that lets a lease lapse and says nothing may stand still: what lapsed waits for as long as a lease,
    or for a word of it. Else it would lapse there unread, again and again. What is new comes as ever."""
    await create(stub, "d", channel, settings=settings(ack_wait=2.0, max_deliveries=9))
    await store_all(stub, channel, range(2))
    async with holding(stub, "d", channel) as gone:
        await gone.take(2)
    await eventually(lambda: get(stub, "d"), lambda found: found.retrying == 2)
    async with holding(stub, "d", channel) as holder:
        first = (await holder.take(1))[0]
        assert (first.n, first.attempt) == ("0", 2)
        state = await eventually(lambda: get(stub, "d"), lambda found: found.retrying == 2)
        assert not state.leased, "its lease lapsed, and neither message is handed out again"
        await store_all(stub, channel, ["new"])
        new = (await holder.take(1))[0]
        assert (new.n, new.attempt) == ("new", 1)
        await holder.ack([new])
        again = (await holder.take(1))[0]
        assert (again.n, again.attempt) == ("0", 3)


async def test_what_was_released_is_no_suspect(stub: Any, channel: str) -> None:
    """It was never begun: it comes again as it came, all at once."""
    await create(stub, "d", channel, settings=settings(ack_wait=60))
    await store_all(stub, channel, range(4))
    async with holding(stub, "d", channel) as holder:
        await holder.say("release", await holder.take(4))
        assert await holder.take_numbers(4) == ["0", "1", "2", "3"]


async def test_what_was_naked_is_no_suspect(stub: Any, channel: str) -> None:
    """Its worker lived: it comes again with others."""
    await create(stub, "d", channel, settings=settings(ack_wait=60, backoff=(0, 1, 0)))
    await store_all(stub, channel, range(4))
    async with holding(stub, "d", channel) as holder:
        await holder.say("nak", await holder.take(4))
        assert await holder.take_numbers(4) == ["0", "1", "2", "3"]


async def test_what_was_leased_when_the_bus_ended_comes_one_at_a_time(kept: Bus, channel: str) -> None:
    """Nobody knows what became of it; and what had lapsed before is still under suspicion."""
    await create(kept.stub, "d", channel, settings=settings(ack_wait=2))
    await store_all(kept.stub, channel, range(6))
    async with holding(kept.stub, "d", channel, credit=3) as holder:
        await holder.take(3)
    await eventually(lambda: get(kept.stub, "d"), lambda found: found.retrying == 3)
    async with holding(kept.stub, "d", channel, credit=4) as holder:
        assert sorted(await holder.take_numbers(4)) == ["0", "3", "4", "5"]
    stub = await kept.restart()
    async with holding(stub, "d", channel) as holder:
        came = {}
        for _ in range(6):
            got = await holder.take(1)
            came[got[0].n] = got[0].attempt
            assert not holder.got, "it came alone"
            await holder.ack(got)
        assert came == {"0": 3} | {str(n): 2 for n in range(1, 6)}
    assert (await get(stub, "d")).redelivered == 1 + 6


async def test_what_killed_its_worker_is_suspected_when_it_is_redriven(stub: Any, channel: str) -> None:
    """Redriven together, dead letters of lapsed leases come one at a time."""
    await create(stub, "d", channel, settings=settings(ack_wait=0.3, max_deliveries=1))
    await store_all(stub, channel, range(3))
    async with holding(stub, "d", channel) as holder:
        await holder.take(3)
    await eventually(lambda: letters(stub), lambda found: len(found) == 3)
    assert (await redrive(stub)).redriven == 3
    async with holding(stub, "d", channel) as holder:
        for n in range(3):
            got = await holder.take(1)
            assert (got[0].n, got[0].attempt) == (str(n), 2)
            assert (await get(stub, "d")).leased == 1
            await holder.ack(got)


async def test_a_process_has_one_at_a_time_whatever_it_takes_it_from(stub: Any, channel: str) -> None:
    """Two durable subscriptions of one client: what lapsed in both comes one by one, since what kills or holds up the
    process would use up an attempt of the other's message too."""
    names = ("a", "b")
    for name in names:
        await create(stub, name, channel, settings=settings(ack_wait=2.0))
    await store_all(stub, channel, range(1))
    for name in names:
        async with holding(stub, name, channel) as holder:
            await holder.take(1)
    for name in names:
        await eventually(lambda name=name: get(stub, name), lambda found: found.retrying == 1)  # type: ignore[misc]
    call = stub.OpenStream()
    starts = [
        {"id": id, "subscribe": {"start": {"pattern": channel, "durable": name}}} for id, name in enumerate(names, 1)
    ]
    await call.write(bus_pb2.OpenStreamRequest(items=starts))
    given: list[int] = []
    for _ in names:
        await call.write(bus_pb2.OpenStreamRequest(items=[{"id": 9, "ping": {}}]))
        seen, ponged = len(given), False
        while len(given) == seen or not ponged:
            for item in (await asyncio.wait_for(call.read(), PATIENCE)).items:
                ponged |= item.HasField("pong")
                if item.subscription.HasField("deliveries"):
                    given.append(item.id)
                    sequence = item.subscription.deliveries.first_sequence
        assert len(given) == seen + 1
        ack = {"subscribe": {"ack": {"sequences": [sequence], "attempt": 2}}}
        await call.write(bus_pb2.OpenStreamRequest(items=[{"id": given[-1], **ack}]))
    assert sorted(given) == [1, 2]
    call.cancel()
