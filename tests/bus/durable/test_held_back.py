"""Messages that are held back until later."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.bus.calls import message, refused, subscribed
from tests.bus.durable.bus import Bus
from tests.bus.durable.calls import create, eventually, get, holding, seconds, settings, store, store_all
from trunkline.v1 import bus_pb2
from trunkline.v1.message_pb2 import Message

INVALID = grpc.StatusCode.INVALID_ARGUMENT
LONG = settings(ack_wait=60)
YEAR = 365 * 86_400


async def held_back(stub: Any) -> int:
    return int((await stub.GetStats(bus_pb2.GetStatsRequest())).held_back)


def after(n: object, wait: float, **fields: Any) -> Message:
    return message(n, deliver_after=seconds(wait), **fields)


def at(n: object, time: float, **fields: Any) -> Message:
    return message(n, deliver_at=seconds(time), **fields)


async def test_it_takes_its_place_when_it_is_due(stub: Any, channel: str) -> None:
    """Not before; under a new sequence, behind what was published meanwhile; live and durable subscribers get it."""
    await create(stub, "d", channel, settings=LONG)
    async with subscribed(stub, channel) as live, holding(stub, "d", channel) as holder:
        since = time.time()
        receipts = await store(stub, channel, after("late", 0.4), at("later", since + 0.6))
        assert await held_back(stub) == 2
        assert (await get(stub, "d")).waiting == 0
        await store_all(stub, channel, ["meanwhile"])
        got = await holder.take(3)
        assert time.time() - since >= 0.6
        assert [each.n for each in got] == ["meanwhile", "late", "later"]
        assert got[1].sequence > got[0].sequence > receipts[1].sequence > receipts[0].sequence
        assert await live.have(3) == ["meanwhile", "late", "later"]
        figures = await stub.GetStats(bus_pb2.GetStatsRequest())
        assert (figures.held_back, figures.stored, figures.published) == (0, 3, 3)


async def test_in_order_of_their_times(stub: Any, channel: str) -> None:
    """Whatever order they were published in; equal times in order of publication."""
    await create(stub, "d", channel, settings=LONG)
    due = time.time() + 0.5
    waits = [0.3, 0.1, 0.2, 0.1, 0.0]
    await store(stub, channel, *(at(f"{wait}.{n}", due + wait) for n, wait in enumerate(waits)))
    async with holding(stub, "d", channel) as holder:
        assert await holder.take_numbers(5) == ["0.0.4", "0.1.1", "0.1.3", "0.2.2", "0.3.0"]


async def test_a_time_that_is_past_means_now(stub: Any, channel: str) -> None:
    """And so does a wait of nothing: it is not held back."""
    await create(stub, "d", channel, settings=LONG)
    await store(stub, channel, at("past", time.time() - 60), after("zero", 0))
    assert await held_back(stub) == 0
    assert (await get(stub, "d")).waiting == 2


async def test_nothing_is_lost_where_they_come_due_among_others(stub: Any) -> None:
    """Held-back and other messages on several channels that meet in one commit: each is handed out once, and live
    subscribers see sequences rise."""
    await create(stub, "d", "a:>", settings=LONG)
    channels = ["a:x", "a:y", "a:z"]
    async with holding(stub, "d", "a:>", credit=100_000) as holder, subscribed(stub, "a:x") as live:
        due = time.time() + 0.3
        for n in range(300):
            await store(stub, channels[n % 3], at(f"held {n}", due + n / 1000))
        total, sent = 300, 0
        while await held_back(stub):
            await asyncio.gather(*(store_all(stub, each, [f"now {sent}.{each}"]) for each in channels))
            sent += 1
        total += 3 * sent
        got = await holder.take(total)
        assert len({each.n for each in got}) == total
        await live.have(100 + sent)
        sequences = [each.sequence for each in live.delivered]
        assert sequences == sorted(sequences)


async def test_held_back_across_a_restart(kept: Bus, channel: str) -> None:
    """What is due later, and what came due meanwhile; over sqlite, which alone keeps anything."""
    await create(kept.stub, "d", channel, settings=LONG)
    due = time.time() + 1.0
    first = await store(kept.stub, channel, at("later", due), at("soon", due - 0.9))
    await kept.stop()
    await asyncio.sleep(max(0, due - 0.85 - time.time()))  # "soon" comes due while nobody is there
    await kept.start()
    stub = kept.stub
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(2)
        assert time.time() >= due
    assert [each.n for each in got] == ["soon", "later"]
    assert got[0].sequence > first[-1].sequence
    assert await held_back(stub) == 0


async def test_with_an_ordering_key_it_is_ordered_from_when_it_is_due(stub: Any, channel: str) -> None:
    """It takes its place in its key then."""
    await create(stub, "d", channel, settings=LONG)
    await store(stub, channel, after("late", 0.3, ordering_key="k"), message("now", ordering_key="k"))
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(1)
        assert got[0].n == "now"
        await eventually(lambda: held_back(stub), lambda count: count == 0)
        assert (await get(stub, "d")).leased == 1
        await holder.ack(got)
        assert await holder.take_numbers(1) == ["late"]


async def test_a_new_subscription_gets_what_comes_due_after_it(stub: Any, channel: str) -> None:
    """It takes its place when it is due: whoever starts at "new" before that gets it."""
    await store(stub, channel, after("late", 0.3))
    await create(stub, "d", channel, settings=LONG)
    async with holding(stub, "d", channel) as holder:
        assert await holder.take_numbers(1) == ["late"]


async def test_a_reply_that_is_held_back_replies_when_it_is_due(stub: Any, channel: str) -> None:
    """A request waits for a reply to be delivered, not for it to be planned."""
    async with subscribed(stub, channel):
        asked = time.monotonic()
        wanted = bus_pb2.RequestRequest(channel=channel, message=message("?", correlation_id=channel))
        asking = asyncio.ensure_future(stub.Request(wanted, timeout=10))
        await eventually(lambda: stub.GetStats(bus_pb2.GetStatsRequest()), lambda found: found.pending_requests)
        await store(stub, "replies", after("!", 0.5, correlation_id=channel))
        answer = await asking
        assert answer.message.json == "!"
        assert time.monotonic() - asked >= 0.5


@pytest.mark.parametrize(
    ("fields", "field", "value"),
    [
        ({"deliver_after": seconds(YEAR + 1)}, "deliver_after", str(YEAR + 1)),
        ({"deliver_after": seconds(-1)}, "deliver_after", "-1"),
        ({"deliver_after": {"nanos": -1}}, "deliver_after", None),
        ({"deliver_at": {"seconds": int(time.time()) + YEAR + 100_000}}, "deliver_at", None),
        ({"deliver_at": {"seconds": 1}, "deliver_after": seconds(1)}, "deliver_after", None),
        ({"deliver_after": seconds(20), "ttl_seconds": 10}, "deliver_after", "20"),
        ({"deliver_at": {"seconds": int(time.time()) + 100_000}, "ttl_seconds": 10}, "deliver_at", None),
    ],
    ids=["over a year", "negative", "a little negative", "at over a year", "both", "TTL before", "TTL before at"],
)
async def test_what_makes_no_sense_is_refused(
    stub: Any, channel: str, fields: dict[str, Any], field: str, value: str | None
) -> None:
    """Bad input: with the field, the value, and which message it was; nothing of the publish is stored."""
    error = await refused(store(stub, channel, message(), message(**fields)), INVALID, "INVALID_MESSAGE")
    assert (error.details["field"], error.details["index"]) == (field, 1)
    if value is not None:
        assert float(error.details["value"]) == pytest.approx(float(value))
    figures = await stub.GetStats(bus_pb2.GetStatsRequest())
    assert (figures.stored, figures.held_back) == (0, 0)


@pytest.mark.parametrize("field", ["deliver_at", "deliver_after"])
async def test_only_what_is_stored_can_be_held_back(stub: Any, channel: str, field: str) -> None:
    """On a live publish it is refused, and the field is named."""
    wanted = bus_pb2.PublishRequest(channel=channel, messages=[message(**{field: {"seconds": 5}})])
    error = await refused(stub.Publish(wanted), INVALID, "INVALID_MESSAGE")
    assert error.details["field"] == field
    assert "stored" in error.message


async def test_a_year_ahead_is_taken(socket_dir: Path) -> None:
    """The bound itself is fine."""
    async with Bus(socket_dir) as bus:
        await store(bus.stub, "a", after("next year", YEAR))
        assert await held_back(bus.stub) == 1
