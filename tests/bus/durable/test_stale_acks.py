"""Whoever does not hold a message cannot settle it: refused by name, with why, and nothing is changed."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from tests.bus.calls import refused
from tests.bus.durable.calls import (
    Got,
    create,
    eventually,
    get,
    holding,
    seconds,
    settings,
    settle,
    store_all,
)
from trunkline.v1 import bus_pb2
from trunkline.v1.durable_pb2 import Ack, Extend, Nak, Release, Terminate

FAILED = grpc.StatusCode.FAILED_PRECONDITION
LONG = settings(ack_wait=60)


async def stale(stub: Any, name: str, sequence: int, attempt: int = 1) -> str:
    """Why an ack is refused, by a unary call."""
    before = await get(stub, name)
    error = await refused(settle(stub, name, ack=Ack(sequences=[sequence], attempt=attempt)), FAILED, "STALE_ACK")
    assert error.details["durable"] == name
    assert (error.details["sequence"], error.details["attempt"]) == (sequence, attempt)
    assert str(sequence) in error.message
    after = await get(stub, name)
    assert (after.acked, after.leased, after.waiting) == (before.acked, before.leased, before.waiting)
    why: str = error.details["why"]
    return why


async def test_never_handed_out(stub: Any, channel: str) -> None:
    """One that waits, one that does not exist yet, and a later attempt than there was."""
    await create(stub, "d", channel, settings=LONG)
    first, second = await store_all(stub, channel, range(2))
    assert await stale(stub, "d", first) == "never handed out"
    assert await stale(stub, "d", 1_000_000) == "never handed out"
    async with holding(stub, "d", channel, credit=1) as holder:
        await holder.take(1)
        assert await stale(stub, "d", first, attempt=2) == "never handed out"
        assert await stale(stub, "d", second) == "never handed out"


async def test_passed_over_for_its_ordering_key_is_never_handed_out(stub: Any, channel: str) -> None:
    """It lies behind the position, and still nobody had it."""
    await create(stub, "d", channel, settings=LONG)
    sequences = await store_all(stub, channel, range(2), ordering_key="k")
    await store_all(stub, channel, ["behind"])
    async with holding(stub, "d", channel) as holder:
        assert await holder.take_numbers(2) == ["0", "behind"]
        assert await stale(stub, "d", sequences[1]) == "never handed out"


async def test_a_live_message_was_never_handed_out(stub: Any, channel: str) -> None:
    """Its sequence lies among those of stored ones, and it was never the subscription's."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, ["a"])
    answer = await stub.Publish(bus_pb2.PublishRequest(channel=channel, messages=[{"json": "1"}]))
    await store_all(stub, channel, ["b"])
    async with holding(stub, "d", channel) as holder:
        await holder.take(2)
        assert await stale(stub, "d", answer.receipts[0].sequence) in ("never handed out", "not deliverable")


async def test_settled(stub: Any, channel: str) -> None:
    """Twice: acked, or terminated, before."""
    await create(stub, "d", channel, settings=LONG)
    first, second = await store_all(stub, channel, range(2))
    await store_all(stub, channel, ["held"])
    async with holding(stub, "d", channel) as holder:
        await holder.take(3)
        await settle(stub, "d", ack=Ack(sequences=[first], attempt=1))
        await settle(stub, "d", terminate=Terminate(sequences=[second], attempt=1))
        assert await stale(stub, "d", first) == "settled"
        assert await stale(stub, "d", second) == "settled"


async def test_lease_expired(stub: Any, channel: str) -> None:
    """After the lease, while it waits for its next attempt."""
    await create(stub, "d", channel, settings=settings(ack_wait=0.1))
    await store_all(stub, channel, range(1))
    async with holding(stub, "d", channel, credit=1) as holder:
        got = await holder.take(1)
        await eventually(lambda: get(stub, "d"), lambda found: found.retrying == 1)
        assert await stale(stub, "d", got[0].sequence) == "lease expired"


async def test_handed_on(stub: Any, channel: str) -> None:
    """Somebody else has it by now: the later attempt alone counts."""
    await create(stub, "d", channel, settings=settings(ack_wait=0.2, max_deliveries=100))
    await store_all(stub, channel, range(1))
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(1)
        again = await holder.take(1)
        await holder.say("extend", again, lease=seconds(60))
        error = await refused(settle(stub, "d", ack=Ack(sequences=[got[0].sequence])), FAILED, "STALE_ACK")
        assert (error.details["why"], error.details["current_attempt"]) == ("handed on", again[0].attempt)
        await holder.ack(again)
        await eventually(lambda: get(stub, "d"), lambda found: found.acked == 1)


async def test_not_deliverable(stub: Any, channel: str) -> None:
    """A message of a channel that its pattern does not match; one of another subscription is refused."""
    await create(stub, "d", channel, settings=LONG)
    await create(stub, "e", "other:channel", settings=LONG)
    others = await store_all(stub, "other:channel", ["x"])
    await store_all(stub, channel, ["y"])
    async with holding(stub, "d", channel) as holder, holding(stub, "e", "other:channel") as other:
        await holder.take(1)
        held = await other.take(1)
        assert await stale(stub, "d", others[0]) == "not deliverable"
        await other.ack(held)
        await eventually(lambda: get(stub, "e"), lambda found: found.acked == 1)


@pytest.mark.parametrize("kind", ["nak", "release"])
async def test_what_was_given_back_is_held_no_more(stub: Any, channel: str, kind: str) -> None:
    """A nak or a release ends the lease: what is said of the message afterwards is refused."""
    await create(stub, "d", channel, settings=settings(ack_wait=60, backoff=(60, 2, 60)))
    await store_all(stub, channel, range(1))
    async with holding(stub, "d", channel, credit=1) as holder:
        got = await holder.take(1)
        await holder.say(kind, got)
        await eventually(lambda: get(stub, "d"), lambda found: found.retrying == 1)
        assert await stale(stub, "d", got[0].sequence) in ("given back", "settled")


SAID = {
    "ack": Ack(),
    "nak": Nak(delay=seconds(0), error="e"),
    "terminate": Terminate(reason="r"),
    "extend": Extend(lease=seconds(1)),
    "release": Release(),
}


@pytest.mark.parametrize("kind", SAID)
async def test_all_or_nothing_by_a_unary_call(stub: Any, channel: str, kind: str) -> None:
    """One that is stale among several: none of them is settled; also one that is named twice."""
    await create(stub, "d", channel, settings=LONG)
    sequences = await store_all(stub, channel, range(3))
    async with holding(stub, "d", channel, credit=2) as holder:
        await holder.take(2)
        for wrong in (sequences, [sequences[0], sequences[1], sequences[0]]):
            said: Any = type(SAID[kind])()
            said.CopyFrom(SAID[kind])
            said.sequences.extend(wrong)
            await refused(settle(stub, "d", **{kind: said}), FAILED, "STALE_ACK")
            state = await get(stub, "d")
            assert (state.leased, state.acked, state.retrying, state.dead_lettered) == (2, 0, 0, 0)


@pytest.mark.parametrize("kind", SAID)
async def test_a_stream_settles_the_others_and_says_which_not(stub: Any, channel: str, kind: str) -> None:
    """Refused frames name sequences, the attempt and why, one frame for each why; the stream goes on."""
    await create(stub, "d", channel, settings=LONG)
    sequences = await store_all(stub, channel, range(4))
    async with holding(stub, "d", channel, credit=3) as holder:
        got = await holder.take(3)
        await holder.ack(got[:1])
        unknown = Got("", sequences[3], 1, channel, 0)
        words: dict[str, Any] = {"nak": {"delay": seconds(60)}, "extend": {"lease": seconds(50)}}.get(kind, {})
        await holder.say(kind, [got[0], got[1], unknown, got[1]], **words)
        refusals: dict[str, list[int]] = {}
        while len(refusals) < 2 or sum(len(each) for each in refusals.values()) < 3:
            refusal = await holder.refusal()
            assert (refusal.attempt, refusal.error.reason) == (1, "STALE_ACK")
            figures = refusal.error.metadata
            assert figures["durable"] == "d"
            assert json.loads(figures["sequence"]) in refusal.sequences
            refusals.setdefault(figures["why"], []).extend(refusal.sequences)
        assert sorted(refusals["settled"]) == [got[0].sequence, got[1].sequence]
        assert refusals["never handed out"] == [sequences[3]]
        await holder.ack(got[2:])
        state = await eventually(lambda: get(stub, "d"), lambda found: found.acked == (3 if kind == "ack" else 2))
        assert state.leased == (1 if kind == "extend" else 0)
