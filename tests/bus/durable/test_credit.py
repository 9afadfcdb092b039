"""Credit: no subscriber is sent more than it asked for."""

from __future__ import annotations

from typing import Any

from tests.bus.durable.calls import create, eventually, get, holding, settings, store_all
from trunkline.limits import UNSET_CREDIT_LEASES

LONG = settings(ack_wait=60)


async def test_never_more_than_was_asked_for(stub: Any, channel: str) -> None:
    """Settling gives no credit back; granting does, and adds up."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, range(50))
    async with holding(stub, "d", channel, credit=3) as holder:
        got = await holder.take(3)
        await holder.ack(got)
        await eventually(lambda: get(stub, "d"), lambda found: found.acked == 3)
        await store_all(stub, channel, range(50, 60))
        assert (await get(stub, "d")).leased == 0
        await holder.grant(2)
        await holder.grant(4)
        assert await holder.take_numbers(6) == [str(n) for n in range(3, 9)]
        await store_all(stub, channel, range(60, 70))
        state = await get(stub, "d")
        assert (state.leased, state.waiting) == (6, 61)
        assert not holder.got


async def test_credit_counts_what_comes_again(stub: Any, channel: str) -> None:
    """A redelivery takes credit as any delivery."""
    await create(stub, "d", channel, settings=settings(ack_wait=2))
    await store_all(stub, channel, range(2))
    async with holding(stub, "d", channel, credit=1) as holder:
        await holder.take(1)
        await eventually(lambda: get(stub, "d"), lambda found: found.retrying == 1)
        await store_all(stub, channel, range(2, 4))
        assert (await get(stub, "d")).leased == 0
        await holder.grant(1)
        again = (await holder.take(1))[0]
        assert (again.n, again.attempt) == ("0", 2)


async def test_a_batch_is_cut_to_the_credit(stub: Any, channel: str) -> None:
    """Messages that were published together, and that come again together, are handed out in parts."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, range(100))
    async with holding(stub, "d", channel, credit=7) as holder:
        got = await holder.take(7)
        await holder.say("release", got)
        await eventually(lambda: get(stub, "d"), lambda found: not found.leased)
        for n in range(0, 20, 2):
            await holder.grant(2)
            part = await holder.take(2)
            assert [each.n for each in part] == [str(n), str(n + 1)]
            await holder.ack(part)


async def test_unset_it_is_bounded_by_leases(stub: Any, channel: str) -> None:
    """1,024 at once to one subscriber; what it settles makes room."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, range(3000))
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(UNSET_CREDIT_LEASES)
        await store_all(stub, channel, ["more"])
        assert (await get(stub, "d")).leased == UNSET_CREDIT_LEASES
        await holder.ack(got[:100])
        more = await holder.take(100)
        assert [each.n for each in more] == [str(n) for n in range(1024, 1124)]
        async with holding(stub, "d", channel) as other:
            assert len(await other.take(UNSET_CREDIT_LEASES)) == UNSET_CREDIT_LEASES
            assert (await get(stub, "d")).leased == 2 * UNSET_CREDIT_LEASES


async def test_everything_is_worked_off_with_little_credit(stub: Any, channel: str) -> None:
    """One at a time, by two subscribers: each message once, none left."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, range(200))
    async with holding(stub, "d", channel, credit=1) as a, holding(stub, "d", channel, credit=1) as b:
        seen = []
        for n in range(100):
            for holder in (a, b):
                got = await holder.take(1)
                seen += [each.n for each in got]
                await holder.ack(got)
                if n < 99:  # a hundred each: with more, the first to ask would have the last one
                    await holder.grant(1)
        assert sorted(map(int, seen)) == list(range(200))
        state = await eventually(lambda: get(stub, "d"), lambda found: found.acked == 200)
        assert (state.waiting, state.leased, state.redelivered) == (0, 0, 0)
