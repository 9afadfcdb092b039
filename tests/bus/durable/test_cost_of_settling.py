"""What settling costs: by the number of messages that it names, never by what else was published or held with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from tests.bus.calls import message, refused
from tests.bus.conftest import OPTIONS
from tests.bus.durable.calls import create, eventually, get, holding, left, redrive, seconds, settings, store
from tests.bystander import Bystander
from tests.programs import RunningProgram
from trunkline.limits import MAX_SETTLED_MESSAGES
from trunkline.v1 import bus_pb2_grpc, durable_pb2
from trunkline.v1.bus_pb2 import SubscribeRequest
from trunkline.v1.durable_pb2 import Ack, Extend, Nak, Release, Terminate

pytestmark = pytest.mark.alone

MESSAGES = 10_000
INVALID, STALE = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
MOST_MORE = 0.25
"""Seconds that another client may wait more than alone; it is a tenth of that where nothing else runs."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProgram]:
    """A bus in a process of its own, so that what is measured is the bus alone."""
    program = RunningProgram("bus", "--path", str(tmp_path_factory.mktemp("bus") / "bus.db"))
    try:
        yield program.start()
    finally:
        program.end()


@pytest.fixture
async def own(program: RunningProgram) -> AsyncIterator[Any]:
    """A raw stub of it."""
    async with grpc.aio.insecure_channel(program.address, options=OPTIONS) as line:
        yield bus_pb2_grpc.BusServiceStub(line)


@pytest.fixture(scope="module")
def bystander(program: RunningProgram) -> Iterator[Bystander]:
    with Bystander(program) as bystander:
        yield bystander


async def alone(bystander: Bystander) -> float:
    """What a bystander waits at the most while nothing happens."""
    async with bystander.asking():
        await asyncio.sleep(0.5)
        return await bystander.longest()


async def published(stub: Any, name: str, **how: Any) -> int:
    """A durable subscription, and 10,000 messages in one publish; returns the first sequence."""
    await create(stub, name, f"cost:{name}", settings=settings(**how))
    receipts = await store(stub, f"cost:{name}", *(message(n) for n in range(MESSAGES)))
    return int(receipts[0].sequence)


async def test_late_acks_of_a_large_publish(own: Any, bystander: Bystander) -> None:
    """One holds 10,000 beyond its leases, another acks them all, the first acks late in one frame: refused at once."""
    await published(own, "late", ack_wait=1.0)
    base = await alone(bystander)
    async with holding(own, "late", "cost:late", credit=MESSAGES) as first:
        got = await first.take(MESSAGES)
        await eventually(lambda: get(own, "late"), lambda now: now.retrying == MESSAGES)
        async with bystander.asking():
            await first.ack(got)  # they wait for another attempt
            refusal = await first.refusal()
            assert await bystander.longest() < base + MOST_MORE
        assert (len(refusal.sequences), refusal.error.metadata["why"]) == (MESSAGES, "lease expired")
    done = [each.sequence for each in got]
    await left(own, "late")
    async with holding(own, "late", "cost:late") as other:
        for _ in range(20):  # what lapsed comes one at a time
            await other.ack(await other.take(1))
    await own.SeekDurableSubscription(
        durable_pb2.SeekDurableSubscriptionRequest(name="late", position=durable_pb2.Position(new=True))
    )
    async with holding(own, "late", "cost:late") as first:
        frame = SubscribeRequest(ack=Ack(sequences=done, attempt=1))
        async with bystander.asking():
            await first.call.write(frame)
            refusal = await first.refusal()
            assert await bystander.longest() < base + MOST_MORE
        assert (len(refusal.sequences), refusal.error.metadata["why"]) == (MESSAGES, "settled")


async def test_sequences_that_were_never_delivered(own: Any, bystander: Bystander) -> None:
    """As many as a call may name: STALE_ACK at once; a million are refused before anything is looked at."""
    await published(own, "never")
    base = await alone(bystander)
    far = range(10**9, 10**9 + MAX_SETTLED_MESSAGES)
    async with bystander.asking():
        for kind, frame in KINDS.items():
            wanted = durable_pb2.SettleRequest(durable="never", **{kind: frame(sequences=far)})
            error = await refused(own.Settle(wanted), STALE, "STALE_ACK")
            assert error.details["why"] == "never handed out"
        many = durable_pb2.SettleRequest(durable="never", ack=Ack(sequences=range(1, 1_000_001)))
        error = await refused(own.Settle(many), INVALID, "INVALID_MESSAGE")
        assert error.details["field"] == "ack.sequences"
        assert await bystander.longest() < base + MOST_MORE


KINDS = {"ack": Ack, "nak": Nak, "terminate": Terminate, "extend": Extend, "release": Release}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_list_of_sequences_is_bounded(stub: Any, channel: str, kind: str) -> None:
    """By the same limit for each kind, on a stream and by a call."""
    await create(stub, "d", channel)
    frame = KINDS[kind](sequences=range(1, MAX_SETTLED_MESSAGES + 2))
    error = await refused(
        stub.Settle(durable_pb2.SettleRequest(durable="d", **{kind: frame})), INVALID, "INVALID_MESSAGE"
    )
    assert error.details["field"] == f"{kind}.sequences"
    async with holding(stub, "d", channel) as holder:
        await holder.call.write(SubscribeRequest(**{kind: frame}))
        ended = await holder.ended()
        assert ended.code() is INVALID


async def test_small_steps_in_a_large_publish(own: Any, bystander: Bystander) -> None:
    """Naks, extensions, releases, terminations and redrives, one message each, spread over 10,000 that came at once."""
    await published(own, "small", ack_wait=60, backoff=(3600, 1, 3600))
    base = await alone(bystander)
    async with holding(own, "small", "cost:small", credit=MESSAGES) as holder:
        got = await holder.take(MESSAGES)
        async with bystander.asking():
            for index in range(0, 2_000, 5):
                for offset, kind in enumerate(("nak", "extend", "release", "terminate", "ack")):
                    await holder.say(kind, [got[index * 5 + offset]])
            await eventually(lambda: get(own, "small"), lambda now: now.dead_lettered == 400)
            await redrive(own)
            await holder.say("nak", got[9_000::2], delay=seconds(3600))
            await eventually(lambda: get(own, "small"), lambda now: now.retrying >= 400 + 500)
            assert await bystander.longest() < base + MOST_MORE
