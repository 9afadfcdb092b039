"""Subscribe on the wire: frames out of order, credit, Lagged, groups, and clients that vanish."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from tests.bus.calls import Ack, credit, gone, listed, message, publish, refused, several, start, subscribed
from tests.bus.conftest import SMALL_BYTES, SMALL_MESSAGES
from tests.patience import PATIENCE
from trunkline.limits import FRAME_BYTES
from trunkline.v1.bus_pb2 import SubscribeRequest
from trunkline.v1.message_pb2 import Priority

INVALID = grpc.StatusCode.INVALID_ARGUMENT
QUIET = 0.15
"""Seconds in which nothing must come."""


@pytest.mark.parametrize(
    "first",
    [SubscribeRequest(ack=Ack(sequences=[1])), credit(5), SubscribeRequest()],
    ids=["ack", "credit", "empty"],
)
async def test_the_first_frame_must_be_start(stub: Any, first: SubscribeRequest) -> None:
    """Frames out of order in a stream (ack before start) answer INVALID_MESSAGE."""
    call = stub.Subscribe()
    await call.write(first)
    error = await refused(call.read(), INVALID, "INVALID_MESSAGE")
    assert error.details["field"] == "frame"


async def test_half_closing_without_a_frame_is_refused(stub: Any) -> None:
    """A caller that says nothing at all gets the same error."""
    call = stub.Subscribe()
    await call.done_writing()
    await refused(call.read(), INVALID, "INVALID_MESSAGE")


@pytest.mark.parametrize(
    ("second", "opened_with"),
    [
        (start("wire:other"), None),
        (SubscribeRequest(ack=Ack(sequences=[1])), None),
        (SubscribeRequest(), None),
        (credit(5), None),
        (credit(0), 1),
        (credit(-3), 1),
    ],
    ids=["second start", "ack on live", "empty", "credit where none was asked", "credit 0", "credit -3"],
)
async def test_a_later_frame_that_makes_no_sense_ends_the_stream(
    stub: Any, channel: str, second: SubscribeRequest, opened_with: int | None
) -> None:
    """A second start, an ack of a live subscription, a bad credit: INVALID_MESSAGE, and the interest is gone."""
    async with subscribed(stub, channel, credit=opened_with) as subscription:
        await subscription.call.write(second)
        await refused(subscription.read(), INVALID, "INVALID_MESSAGE")
        await gone(stub, channel)


@pytest.mark.parametrize("pattern", ["", "a::b", ">:a", "a*", "x" * 256, "a:>:b"])
async def test_a_bad_pattern_is_refused(stub: Any, pattern: str) -> None:
    """Empty, overlong and malformed patterns answer INVALID_CHANNEL."""
    call = stub.Subscribe()
    await call.write(start(pattern))
    error = await refused(call.read(), INVALID, "INVALID_CHANNEL")
    assert error.details["field"] == "pattern"


@pytest.mark.parametrize("group", ["a b", "a:b", "*", ">", "x" * 256])
async def test_a_bad_group_is_refused(stub: Any, channel: str, group: str) -> None:
    """A group's name is like a token."""
    call = stub.Subscribe()
    await call.write(start(channel, group))
    error = await refused(call.read(), INVALID, "INVALID_CHANNEL")
    assert error.details["field"] == "group"


@pytest.mark.parametrize("amount", [0, -1, -(2**31)])
async def test_a_bad_credit_in_the_start_is_refused(stub: Any, channel: str, amount: int) -> None:
    """Negative or zero credits answer INVALID_MESSAGE."""
    call = stub.Subscribe()
    await call.write(start(channel, credit=amount))
    error = await refused(call.read(), INVALID, "INVALID_MESSAGE")
    assert error.details["field"] == "start.credit"
    assert await listed(stub, channel) == []


async def test_half_closing_keeps_the_stream(stub: Any, channel: str) -> None:
    """A caller that half-closes after the first frame keeps its stream (that is what grpcurl -d does)."""
    async with subscribed(stub, channel) as subscription:
        await subscription.call.done_writing()
        await publish(stub, channel, *several(range(10)))
        assert await subscription.have(10) == [str(n) for n in range(10)]
        await publish(stub, channel, message("later"))
        assert (await subscription.have(11))[-1] == "later"


async def test_deliveries_say_channel_sequence_and_priority(stub: Any, channel: str) -> None:
    """Deliveries carry the channel, the sequence of each message as its receipt said it, and the priority."""
    async with subscribed(stub, f"{channel}:*") as subscription:
        first = await publish(stub, f"{channel}:a", message(1), message(2, priority=Priority.PRIORITY_HIGH), message(3))
        second = await publish(stub, f"{channel}:b", message(4, priority=Priority.PRIORITY_UNSPECIFIED))
        await subscription.have(4)
        got = sorted(subscription.delivered, key=lambda each: each.sequence)
    assert [each.sequence for each in got] == first + second
    assert [each.n for each in got] == ["1", "2", "3", "4"]
    assert [each.channel for each in got] == [f"{channel}:a"] * 3 + [f"{channel}:b"]
    assert [each.priority for each in got] == [2, 3, 2, 2]


async def test_credit_is_respected_exactly(stub: Any, channel: str) -> None:
    """No more messages are sent than credit allows, and all of those."""
    async with subscribed(stub, channel, credit=3) as subscription:
        await publish(stub, channel, *several(range(20)))
        assert await subscription.have(3) == ["0", "1", "2"]
        reading = asyncio.ensure_future(subscription.step())
        assert not (await asyncio.wait({reading}, timeout=QUIET))[0]
        [row] = await listed(stub, channel)
        assert (row.credit, row.queued_messages, row.delivered) == (0, 17, 3)
        await subscription.call.write(credit(4))
        await asyncio.wait_for(reading, PATIENCE)
        assert await subscription.have(7) == [str(n) for n in range(7)]
        reading = asyncio.ensure_future(subscription.step())
        assert not (await asyncio.wait({reading}, timeout=QUIET))[0]
        await subscription.call.write(credit(2**31 - 1))
        await subscription.call.write(credit(2**31 - 1))
        await reading
        assert await subscription.have(20) == [str(n) for n in range(20)]


async def test_the_higher_priority_of_what_waits_goes_first(stub: Any, channel: str) -> None:
    """Of what waits for one subscriber, the higher goes first; equal ones keep the order of publication."""
    async with subscribed(stub, channel, credit=1) as subscription:
        await publish(stub, channel, message("first"))
        await subscription.have(1)
        for n in range(12):
            await publish(stub, channel, message(n, priority=n % 5))
        await subscription.call.write(credit(100))
        got = await subscription.have(13)
    rank = [-(n % 5 or 2) for n in range(12)]
    assert got[1:] == [str(n) for n in sorted(range(12), key=lambda n: rank[n])]


async def test_what_lagged_is_counted_exactly(small: Any, channel: str) -> None:
    """Live drops the oldest and tells the subscriber how many (Lagged), before what follows."""
    async with subscribed(small, channel, credit=1) as subscription:
        await publish(small, channel, message("taken"))
        await subscription.have(1)
        for n in range(0, 250, 10):
            await publish(small, channel, *several(range(n, n + 10)))
        assert (await listed(small, channel))[0].queued_messages == SMALL_MESSAGES
        await subscription.call.write(credit(1_000))
        got = await subscription.have(1 + SMALL_MESSAGES)
        assert sum(subscription.lagged) == 250 - SMALL_MESSAGES
        assert got[1:] == [str(n) for n in range(250 - SMALL_MESSAGES, 250)]
        assert (await listed(small, channel))[0].dropped == 150


async def test_one_publish_larger_than_the_queue_keeps_its_newest(small: Any, channel: str) -> None:
    """Also within one publish, the oldest are dropped, not the rest of the queue's bound."""
    async with subscribed(small, channel, credit=1) as subscription:
        await publish(small, channel, *several(range(1_000)))
        got = await subscription.have(1)
        await subscription.call.write(credit(5_000))
        total = 1 + len(got)
        while sum(subscription.lagged) + len(subscription.delivered) < 1_000:
            await subscription.step()
            total += 1
        assert sum(subscription.lagged) + len(subscription.delivered) == 1_000
        assert [int(each.n) for each in subscription.delivered][-1] == 999
        assert len(subscription.delivered) <= SMALL_MESSAGES + 1


async def test_the_bound_on_bytes_holds_too(small: Any, channel: str) -> None:
    """Beyond either bound the oldest are dropped; a message over the bound by itself is dropped and said."""
    async with subscribed(small, channel, credit=1) as subscription:
        await publish(small, channel, message("taken"))
        await subscription.have(1)
        for n in range(10):
            await publish(small, channel, message(str(n) * 50_000))
        row = (await listed(small, channel))[0]
        assert row.queued_bytes <= SMALL_BYTES
        assert row.queued_messages == 3
        await publish(small, channel, message("x" * (SMALL_BYTES + 1)))
        row = (await listed(small, channel))[0]
        assert (row.queued_bytes, row.queued_messages, row.dropped) == (0, 0, 11)
        await publish(small, channel, message("small"))
        await subscription.call.write(credit(100))
        assert (await subscription.have(2))[1] == "small"
        assert sum(subscription.lagged) == 11


async def test_frames_stay_small(stub: Any, channel: str) -> None:
    """Large messages that waited come in many frames, not in one that gRPC itself would refuse."""
    size = 1_000_000
    async with subscribed(stub, channel, credit=1) as subscription:
        await publish(stub, channel, message("taken"))
        await subscription.have(1)
        for n in range(6):
            await publish(stub, channel, *(message(f"{n}{i}" + "x" * size) for i in range(5)))
        await subscription.call.write(credit(1_000))
        largest = came = 0
        while came < 30:
            frame = await subscription.read()
            largest = max(largest, frame.ByteSize())
            came += len(frame.deliveries.messages)
    assert came == 30
    assert largest <= FRAME_BYTES + size + 1_000


async def test_a_group_shares_and_survives_its_members(stub: Any, channel: str) -> None:
    """Each message to one member; what waits when one vanishes goes to who stays."""
    async with subscribed(stub, channel, "g", credit=1) as stays:
        async with subscribed(stub, channel, "g", credit=1) as leaves:
            await publish(stub, channel, *several(range(10)))
            assert len(await stays.have(1)) == len(await leaves.have(1)) == 1
            assert {row.queued_messages for row in await listed(stub, channel)} == {8}
            given = leaves.delivered[0].n
        await stays.call.write(credit(100))
        got = await stays.have(9)
    assert sorted([*got, given], key=int) == [str(n) for n in range(10)]


async def test_a_group_gives_to_who_has_credit(stub: Any, channel: str) -> None:
    """Work goes to who is free: a member without credit gets nothing, the other all of it."""
    async with subscribed(stub, channel, "g", credit=1) as busy, subscribed(stub, channel, "g", credit=500) as free:
        await publish(stub, channel, message("x"), message("y"))
        await busy.have(1)
        for n in range(100):
            await publish(stub, channel, message(n))
        await free.have(101)
        assert len(busy.delivered) == 1


async def test_a_message_that_expired_while_it_waited_is_never_delivered(stub: Any, channel: str) -> None:
    """TTL: it is dropped and counted, also where others wait before and behind it."""
    async with subscribed(stub, channel, credit=1) as subscription:
        await publish(stub, channel, message("taken"))
        await subscription.have(1)
        brief = [message(f"brief {n}", ttl_seconds=1) for n in range(3)]
        await publish(stub, channel, message("a"), *brief, message("b"))
        await asyncio.sleep(1.2)  # nothing but time makes it expire
        await subscription.call.write(credit(10))
        assert (await subscription.have(3))[1:] == ["a", "b"]


async def test_a_client_that_vanishes_is_forgotten(stub: Any, channel: str) -> None:
    """Clients that vanish in the middle of anything: before the start, with messages waiting, while they are sent."""
    before_start = [stub.Subscribe() for _ in range(5)]
    for call in before_start:
        await call.wait_for_connection()
        call.cancel()
    vanished = []
    for credits_ in (None, 1, 500, None):
        call = stub.Subscribe()
        await call.write(start(channel, credit=credits_))
        assert (await call.read()).WhichOneof("frame") == "started"
        vanished.append(call)
    for n in range(5):
        await publish(stub, channel, *several(range(n * 1_000, n * 1_000 + 1_000)))
    for call in vanished:
        call.cancel()
    await gone(stub, channel)
    async with subscribed(stub, channel) as subscription:
        await publish(stub, channel, message("still here"))
        assert await subscription.have(1) == ["still here"]


async def test_too_many_subscriptions_are_refused(small: Any, channel: str) -> None:
    """OVERLOADED: a limit was reached; says which. When one goes, another may come."""
    calls = []
    for n in range(20):
        call = small.Subscribe()
        await call.write(start(f"{channel}:{n}"))
        if (await call.read()).WhichOneof("frame") == "started":
            calls.append(call)
    late = small.Subscribe()
    await late.write(start(channel))
    error = await refused(late.read(), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert error.details == {"limit": "max_subscriptions", "maximum": 20}
    for call in calls:
        call.cancel()
    await gone(small, f"{channel}:0")
    async with subscribed(small, channel) as subscription:
        await publish(small, channel, message("room again"))
        assert await subscription.have(1) == ["room again"]
