"""ListSubscriptions and GetStats: for people who debug."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from tests.bus.calls import message, publish, reached, refused, several, subscribed
from tests.patience import PATIENCE
from trunkline import __version__
from trunkline.limits import MAX_PAGE_SIZE
from trunkline.v1 import bus_pb2

INVALID = grpc.StatusCode.INVALID_ARGUMENT
List = bus_pb2.ListSubscriptionsRequest


async def test_subscriptions_are_listed_in_pages(stub: Any, channel: str) -> None:
    """In order of their ids, in pages, each once; the last page has no token."""
    async with AsyncExitStack() as stack:
        for _ in range(7):
            await stack.enter_async_context(subscribed(stub, channel, credit=5))
        ids: list[int] = []
        sizes: list[int] = []
        token = ""
        while True:
            page = await stub.ListSubscriptions(List(pattern=channel, page_size=3, page_token=token))
            ids += [each.subscription_id for each in page.subscriptions]
            sizes.append(len(page.subscriptions))
            token = page.next_page_token
            if not token:
                break
        assert sizes == [3, 3, 1]
        assert ids == sorted(set(ids))
        whole = await stub.ListSubscriptions(List(pattern=channel, page_size=7))
        assert (len(whole.subscriptions), whole.next_page_token) == (7, "")
        unset = await stub.ListSubscriptions(List(pattern=channel))
        assert len(unset.subscriptions) == 7
        huge = await stub.ListSubscriptions(List(pattern=channel, page_size=2**31 - 1))
        assert len(huge.subscriptions) == 7
        assert MAX_PAGE_SIZE >= 7


async def test_a_page_goes_on_behind_a_subscription_that_left(stub: Any, channel: str) -> None:
    """A token stays good when what it names is gone."""
    async with subscribed(stub, channel):
        async with subscribed(stub, channel):
            page = await stub.ListSubscriptions(List(pattern=channel, page_size=1))
            assert page.next_page_token
        async with subscribed(stub, channel):
            rest = await stub.ListSubscriptions(List(pattern=channel, page_token=page.next_page_token))
            assert len(rest.subscriptions) >= 1
            assert page.subscriptions[0].subscription_id not in {each.subscription_id for each in rest.subscriptions}


@pytest.mark.parametrize("size", [0, -1, -(2**31)])
async def test_a_page_size_below_1_is_refused(stub: Any, size: int) -> None:
    """Negative or zero page sizes answer INVALID_MESSAGE."""
    error = await refused(stub.ListSubscriptions(List(page_size=size)), INVALID, "INVALID_MESSAGE")
    assert error.details["field"] == "page_size"


@pytest.mark.parametrize(
    "token", ["x", "after-", "after--1", "after-1e3", "after-" + "9" * 5_000, "after-99999999", "after-0", "\x00", "é"]
)
async def test_a_token_that_was_never_given_is_refused(stub: Any, token: str) -> None:
    """Page tokens that were never given answer INVALID_MESSAGE."""
    error = await refused(stub.ListSubscriptions(List(page_token=token)), INVALID, "INVALID_MESSAGE")
    assert error.details["field"] == "page_token"


async def test_a_token_is_good_only_for_its_own_pattern(stub: Any, channel: str) -> None:
    """A token that was given for another question was never given for this one."""
    async with subscribed(stub, channel), subscribed(stub, channel):
        page = await stub.ListSubscriptions(List(pattern=channel, page_size=1))
        wrong = List(pattern=f"{channel}:x", page_token=page.next_page_token)
        await refused(stub.ListSubscriptions(wrong), INVALID, "INVALID_MESSAGE")


async def test_a_bad_pattern_to_list_is_refused(stub: Any) -> None:
    """A malformed pattern answers INVALID_CHANNEL."""
    await refused(stub.ListSubscriptions(List(pattern="a::b")), INVALID, "INVALID_CHANNEL")


async def test_a_subscription_says_what_it_is(stub: Any, channel: str) -> None:
    """Pattern, group, peer, what waits, what was delivered, and the credit that is left."""
    async with subscribed(stub, channel, "workers", credit=2):
        await publish(stub, channel, *several(range(5)))
        await reached(stub, lambda _: True)
        async with asyncio.timeout(PATIENCE):
            while True:
                [row] = (await stub.ListSubscriptions(List(pattern=channel))).subscriptions
                if row.delivered == 2:
                    break
                await asyncio.sleep(0.01)
        assert (row.pattern, row.group, row.credit) == (channel, "workers", 0)
        assert row.queued_messages == 3
        assert row.queued_bytes > 3 * 10
        assert row.peer
        assert row.started_at.seconds > 1_700_000_000


async def test_the_figures_add_up(small: Any, channel: str) -> None:
    """GetStats: published, delivered, dropped by reason, what waits, subscriptions, requests."""
    before = await small.GetStats(bus_pb2.GetStatsRequest())
    async with subscribed(small, channel) as all_of_it, subscribed(small, channel, credit=1) as slow:
        await publish(small, channel, *several(range(50)))
        await publish(small, channel, *several(range(90)))
        await publish(small, channel, message("old", ttl_seconds=1, timestamp={"seconds": 1}))
        await all_of_it.have(140 - sum(all_of_it.lagged))
        await slow.have(1)
        now = await small.GetStats(bus_pb2.GetStatsRequest())
        assert now.published - before.published == 140
        assert now.subscriptions == before.subscriptions + 2
        lagged = now.dropped["lagged"] - before.dropped["lagged"]
        waiting = now.queued_messages - before.queued_messages
        assert now.delivered - before.delivered + lagged + waiting == 2 * 140
        assert waiting == 100
        assert now.queued_bytes > before.queued_bytes
        assert now.dropped["expired"] - before.dropped["expired"] == 1
    after = await reached(small, lambda figures: figures.subscriptions == before.subscriptions)
    assert after.dropped["vanished"] - before.dropped["vanished"] == 100
    assert (after.queued_messages, after.queued_bytes) == (before.queued_messages, before.queued_bytes)
    assert (after.engine, after.version) == ("memory", __version__)
    assert after.started_at.seconds > 1_700_000_000


async def test_connections_are_counted_while_they_are_there(small: Any) -> None:
    """connections: the OpenStream streams of now."""
    before = (await small.GetStats(bus_pb2.GetStatsRequest())).connections
    call = small.OpenStream()
    await call.initial_metadata()
    await reached(small, lambda figures: figures.connections == before + 1)
    call.cancel()
    await reached(small, lambda figures: figures.connections == before)
