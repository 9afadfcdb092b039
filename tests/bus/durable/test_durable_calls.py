"""Durable subscriptions by stream and by unary calls: made, found, listed, shared and deleted."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest

from tests.bus.calls import refused
from tests.bus.durable.calls import (
    ALL,
    create,
    delete,
    eventually,
    get,
    holding,
    left,
    settings,
    store_all,
)
from tests.patience import PATIENCE
from trunkline.errors import SubscriptionExistsError
from trunkline.v1 import durable_pb2
from trunkline.wire.status import error_from_rpc

NOT_FOUND, EXISTS = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS


async def listed(stub: Any, **fields: Any) -> Any:
    return await stub.ListDurableSubscriptions(durable_pb2.ListDurableSubscriptionsRequest(**fields), timeout=PATIENCE)


def unlimited(made: durable_pb2.DurableSettings) -> durable_pb2.DurableSettings:
    """The same, with what is said of limits where there are none."""
    made.MergeFrom(durable_pb2.DurableSettings(max_leased=0, rate=0, burst=0, key_concurrency=1))
    return made


async def test_one_that_is_made_says_how_it_is(stub: Any, channel: str) -> None:
    """Its settings with the defaults filled in, and its figures."""
    await store_all(stub, channel, range(3))
    before = time.time()
    answer = await create(stub, "d", channel, settings=settings(ack_wait=2.5, max_deliveries=7))
    assert answer.created
    made = answer.subscription
    assert (made.name, made.pattern) == ("d", channel)
    assert made.settings == unlimited(settings(2.5, 7, (1, 2, 60)))
    assert before - 0.001 <= made.created_at.ToNanoseconds() / 1e9 <= time.time()
    assert (made.waiting, made.leased, made.retrying, made.subscribers, made.next_sequence) == (0, 0, 0, 0, 4)
    assert await get(stub, "d") == made


async def test_the_defaults_are_those_of_the_contract(stub: Any, channel: str) -> None:
    """30 s, 5 deliveries, 1 s doubled up to 60 s."""
    assert (await create(stub, "d", channel)).subscription.settings == unlimited(settings(30, 5, (1, 2, 60)))


async def test_it_keeps_what_comes_while_nobody_is_connected(stub: Any, channel: str) -> None:
    """Every stored message that matches from its making on, until it is acked; live ones and others are not its."""
    await store_all(stub, channel, ["before"])
    await create(stub, "d", "wire:*:work")
    await store_all(stub, channel, range(3))
    await store_all(stub, "other:channel", ["other"])
    async with holding(stub, "d", "wire:*:work") as holder:
        got = await holder.take(3)
        assert [each.n for each in got] == ["0", "1", "2"]
        assert {each.attempt for each in got} == {1}
        await holder.ack(got)
        done = await eventually(lambda: get(stub, "d"), lambda found: found.acked == 3)
        assert (done.waiting, done.leased, done.retrying, done.subscribers) == (0, 0, 0, 1)
    await left(stub, "d")
    await store_all(stub, channel, range(3, 5))
    async with holding(stub, "d", "wire:*:work") as holder:
        assert await holder.take_numbers(2) == ["3", "4"]


async def test_a_stream_makes_it_where_there_is_none(stub: Any, channel: str) -> None:
    """With the settings and the position of its start; they are of no effect where it is there already."""
    await store_all(stub, channel, range(2))
    async with holding(stub, "d", channel, position=ALL, settings=settings(ack_wait=7)) as holder:
        assert holder.ack_wait == 7
        await holder.ack(await holder.take(2))
        async with holding(stub, "d", channel, position=ALL) as second:
            assert second.ack_wait == 7
            await store_all(stub, channel, ["next"])
            both = [asyncio.ensure_future(each.take(1)) for each in (holder, second)]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            assert (await get(stub, "d")).leased == 1, "from all on would be three"
            for task in both:
                task.cancel()


async def test_several_subscribers_share(stub: Any, channel: str) -> None:
    """Each message goes to one of them, and all of them are given something."""
    await create(stub, "d", channel)
    async with holding(stub, "d", channel) as a, holding(stub, "d", channel) as b, holding(stub, "d", channel) as c:
        await store_all(stub, channel, range(300))
        await eventually(lambda: get(stub, "d"), lambda found: found.leased == 300)
        assert (await get(stub, "d")).subscribers == 3
        shares = [await holder.take(50) for holder in (a, b, c)]
        taken = {each.sequence for share in shares for each in share}
        assert len(taken) == 150, "none was given to two"
        assert (await get(stub, "d")).redelivered == 0


async def test_what_one_cannot_take_goes_to_the_others(stub: Any, channel: str) -> None:
    """A subscriber with little credit holds nothing back from one with more."""
    await create(stub, "d", channel)
    async with holding(stub, "d", channel, credit=1) as small, holding(stub, "d", channel, credit=100) as large:
        await store_all(stub, channel, range(20))
        assert len(await large.take(19)) == 19
        assert len(await small.take(1)) == 1


async def test_other_durable_subscriptions_have_their_own(stub: Any, channel: str) -> None:
    """An ack of one is none of another."""
    for name in ("d", "e"):
        await create(stub, name, channel)
    await store_all(stub, channel, range(2))
    async with holding(stub, "d", channel) as holder:
        await holder.ack(await holder.take(2))
        await eventually(lambda: get(stub, "d"), lambda found: found.acked == 2)
    assert (await get(stub, "e")).waiting == 2


async def test_making_it_again_finds_it(stub: Any, channel: str) -> None:
    """The same pattern, and the same settings or none: the one that is there, as it is."""
    first = await create(stub, "d", channel, settings=settings(ack_wait=3))
    for same in ({}, {"settings": settings(ack_wait=3)}, {"position": ALL}):
        again = await create(stub, "d", channel, **same)
        assert not again.created
        assert again.subscription == first.subscription


@pytest.mark.parametrize("by_stream", [False, True], ids=["unary", "stream"])
async def test_a_name_reused_with_another_pattern_is_refused(stub: Any, by_stream: bool) -> None:
    """Bad input: with both patterns."""
    await create(stub, "d", "a:b")
    error = await conflict(stub, by_stream, "a:>")
    assert error.details == {"durable": "d", "pattern": "a:>", "existing_pattern": "a:b"}
    assert "'a:b'" in error.message
    assert "'a:>'" in error.message


@pytest.mark.parametrize("by_stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize(
    ("other", "field", "value", "existing"),
    [
        (settings(ack_wait=4), "ack_wait", "4", "3"),
        (settings(ack_wait=3, max_deliveries=9), "max_deliveries", "9", "5"),
        (settings(ack_wait=3, backoff=(0, 2, 60)), "backoff_initial", "0", "1"),
        (settings(ack_wait=3, backoff=(1, 3, 60)), "backoff_multiplier", "3", "2"),
        (settings(ack_wait=3, backoff=(1, 2, 61)), "backoff_maximum", "61", "60"),
    ],
    ids=["ack_wait", "max_deliveries", "initial", "multiplier", "maximum"],
)
async def test_a_name_reused_with_other_settings_is_refused(
    stub: Any, by_stream: bool, other: Any, field: str, value: str, existing: str
) -> None:
    """Bad input: with both figures."""
    await create(stub, "d", "a:b", settings=settings(ack_wait=3))
    error = await conflict(stub, by_stream, "a:b", settings=other)
    assert error.details["field"].replace("settings.", "").replace(".", "_") == field
    assert (error.details["value"], error.details["existing_value"]) == (value, existing)
    assert (await get(stub, "d")).settings.ack_wait.seconds == 3


async def conflict(stub: Any, by_stream: bool, pattern: str, **fields: Any) -> SubscriptionExistsError:
    async def join() -> None:
        async with holding(stub, "d", pattern, **fields):
            raise AssertionError("it was taken")

    call = join() if by_stream else create(stub, "d", pattern, **fields)
    error = await refused(call, EXISTS, "SUBSCRIPTION_EXISTS")
    assert isinstance(error, SubscriptionExistsError)
    return error


async def test_many_who_make_it_at_once_make_one(stub: Any, channel: str) -> None:
    """Only one hears that it made it."""
    answers = await asyncio.gather(*(create(stub, "d", channel) for _ in range(20)))
    assert sum(answer.created for answer in answers) == 1
    assert [each.name for each in (await listed(stub)).subscriptions] == ["d"]


async def test_they_are_listed_by_name_in_pages(stub: Any) -> None:
    """Also where one goes meanwhile; a page size above the bound counts as the bound."""
    for name in ("e", "b", "d", "a", "c"):
        await create(stub, name, f"x:{name}")
    first = await listed(stub, page_size=2)
    assert [each.name for each in first.subscriptions] == ["a", "b"]
    await delete(stub, "b")
    second = await listed(stub, page_size=2, page_token=first.next_page_token)
    assert [each.name for each in second.subscriptions] == ["c", "d"]
    third = await listed(stub, page_size=2, page_token=second.next_page_token)
    assert [each.name for each in third.subscriptions] == ["e"]
    assert not third.next_page_token
    whole = await listed(stub, page_size=100_000)
    assert [each.name for each in whole.subscriptions] == ["a", "c", "d", "e"]
    assert not whole.next_page_token


async def test_what_is_not_there_is_not_found(stub: Any) -> None:
    """Get, Delete, Seek and Settle of an unknown name."""
    position = durable_pb2.Position(all=True)
    for call in (
        get(stub, "none"),
        delete(stub, "none"),
        stub.SeekDurableSubscription(durable_pb2.SeekDurableSubscriptionRequest(name="none", position=position)),
        stub.Settle(durable_pb2.SettleRequest(durable="none", ack=durable_pb2.Ack(sequences=[1]))),
    ):
        error = await refused(call, NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")
        assert error.details == {"durable": "none"}
        assert "'none'" in error.message


async def test_deleting_ends_its_streams(stub: Any, channel: str) -> None:
    """Each with SUBSCRIPTION_NOT_FOUND; what waited is gone, and the name is free for another pattern."""
    await create(stub, "d", channel)
    await store_all(stub, channel, range(5))
    async with holding(stub, "d", channel, credit=2) as a, holding(stub, "d", channel, credit=2) as b:
        await delete(stub, "d")
        for holder in (a, b):
            ended = await holder.ended()
            assert ended.code() is NOT_FOUND
            assert error_from_rpc(ended).error_code == "SUBSCRIPTION_NOT_FOUND"
    await refused(get(stub, "d"), NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")
    answer = await create(stub, "d", "quite:another")
    assert answer.created
    assert (answer.subscription.waiting, answer.subscription.leased) == (0, 0)
