"""Limits of a durable subscription: what they let through by a clock of the test, kept over a kill, told to whom."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tests.bus.durable.bus import Bus
from tests.bus.durable.calls import create, eventually, get, holding, settings, store_all
from tests.conftest import StartProgram
from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from trunkline import DurableMessage, DurableSettings, GrpcMessageBus
from trunkline.v1 import bus_pb2, durable_pb2
from trunklined.bus.durable.hand_out_limits import HandOutLimits


class Clock:
    """Seconds, as a test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("rate", "burst"), [(0.5, 1), (3.0, 7), (100.0, 10), (1_000.0, 1_000)])
def test_in_no_span_of_time_more_goes_than_the_burst_and_the_rate(rate: float, burst: int) -> None:
    """And, where somebody always takes what there is, no less."""
    clock, chance = Clock(), random.Random(rate)
    limits = HandOutLimits(DurableSettings(rate=rate, burst=burst), clock)
    began, given = clock.now, [(clock.now, limits.room(0))]
    limits.take(given[0][1])
    assert given[0][1] == burst
    for _ in range(400):
        wait = limits.wait(0)
        assert wait is not None
        clock.now += wait * chance.choice((0.3, 1.0, 1.0, 2.5))
        taken = limits.room(0)
        limits.take(taken)
        given.append((clock.now, taken))
    for start in range(len(given)):
        count = 0
        for time, taken in given[start:]:
            count += taken
            assert count <= burst + rate * (time - given[start][0]) + 1e-6
    assert sum(taken for _, taken in given) >= rate * (clock.now - began) * 0.4


def test_a_wait_ends_with_room_for_one() -> None:
    """Not before, and no later; none is known while what is leased is in the way."""
    clock = Clock()
    limits = HandOutLimits(DurableSettings(rate=4.0, burst=2, max_leased=3), clock)
    limits.take(limits.room(0))
    assert limits.room(2) == 0
    assert limits.wait(2) == pytest.approx(0.25)
    assert limits.wait(3) is None
    clock.now += 0.24
    assert limits.room(2) == 0
    clock.now += 0.01
    assert limits.room(2) == 1
    clock.now += 1_000
    assert limits.room(0) == 2, "no more than the burst gathers"
    assert limits.room(2) == 1


def test_another_rate_keeps_what_is_in_the_bucket() -> None:
    """As far as the new burst goes; without a rate there is no bucket, and a new one is full."""
    clock = Clock()
    limits = HandOutLimits(DurableSettings(rate=10.0), clock)
    assert limits.room(0) == 10
    limits.take(8)
    limits.change(DurableSettings(rate=1_000.0))
    assert limits.room(0) == 2
    limits.change(DurableSettings(rate=1.0))
    assert limits.room(0) == 1
    limits.change(DurableSettings())
    assert limits.room(7) == 65_529
    limits.change(DurableSettings(rate=0.25, burst=3))
    assert limits.room(0) == 3


async def update(stub: Any, name: str, wanted: durable_pb2.DurableSettings) -> Any:
    request = durable_pb2.UpdateDurableSubscriptionRequest(name=name, settings=wanted)
    return await stub.UpdateDurableSubscription(request, timeout=PATIENCE)


async def test_subscribers_are_told_how_it_is_now(stub: Any, channel: str) -> None:
    """A frame for each change that is theirs to know: paused, resumed, another lease; none for others."""
    await create(stub, "d", channel)
    start = bus_pb2.SubscribeRequest.Start(pattern=channel, durable="d")
    call = stub.Subscribe()
    await call.write(bus_pb2.SubscribeRequest(start=start))
    started = (await call.read()).started
    assert not started.paused
    await stub.PauseDurableSubscription(durable_pb2.PauseDurableSubscriptionRequest(name="d"), timeout=PATIENCE)
    changed = (await call.read()).changed
    assert (changed.HasField("paused"), changed.paused, changed.ack_wait.seconds) == (True, True, 30)
    await update(stub, "d", durable_pb2.DurableSettings(max_leased=5))
    await update(stub, "d", settings(ack_wait=7))
    changed = (await call.read()).changed
    assert (changed.paused, changed.ack_wait.seconds) == (True, 7)
    await stub.ResumeDurableSubscription(durable_pb2.ResumeDurableSubscriptionRequest(name="d"), timeout=PATIENCE)
    changed = (await call.read()).changed
    assert (changed.HasField("paused"), changed.paused) == (True, False)
    call.cancel()


async def test_what_is_handed_out_next_has_the_new_lease(stub: Any, channel: str) -> None:
    """What was leased before keeps its own."""
    await create(stub, "d", channel, settings=settings(ack_wait=60, backoff=(0, 1, 0)))
    await store_all(stub, channel, range(2))
    async with holding(stub, "d", channel, credit=1) as holder:
        assert [each.n for each in await holder.take(1)] == ["0"]
        await update(stub, "d", settings(ack_wait=0.2))
        await holder.grant(1)
        assert [(each.n, each.attempt) for each in await holder.take(1)] == [("1", 1)]
        found = await eventually(lambda: get(stub, "d"), lambda found: found.retrying == 1)
        assert found.leased == 1


async def test_a_key_goes_on_after_a_restart(kept: Bus, channel: str) -> None:
    """Fewer of a key at once than are pending: those that are done come no more, those passed over come in order."""
    several = durable_pb2.DurableSettings(key_concurrency=3)
    await create(kept.stub, "d", channel, settings=several)
    await store_all(kept.stub, channel, range(6), ordering_key="k")
    async with holding(kept.stub, "d", channel) as holder:
        first = await holder.take(3)
        await update(kept.stub, "d", durable_pb2.DurableSettings(key_concurrency=1))
        await holder.ack(first[2:])
        await eventually(lambda: get(kept.stub, "d"), lambda found: found.acked == 1)
    await kept.restart()
    async with holding(kept.stub, "d", channel) as holder:
        await kept.stub.Settle(
            durable_pb2.SettleRequest(
                durable="d", ack=durable_pb2.Ack(sequences=[each.sequence for each in first[:2]])
            ),
            timeout=PATIENCE,
        )
        for number in ("3", "4", "5"):
            (got,) = await holder.take(1)
            assert got.n == number
            await holder.ack([got])


async def test_a_kill_keeps_settings_and_pause(start_program: StartProgram, tmp_path: Path) -> None:
    """What was answered is so after `kill -9`; nothing is handed out until somebody resumes it."""
    program = start_program("bus", "--path", f"{tmp_path}/bus.db")
    async with GrpcMessageBus(program.address) as bus:
        await bus.create_durable("d", "a:b", settings=DurableSettings(key_concurrency=2))
        for n in range(3):
            await bus.publish("a:b", numbered(n), stored=True)
        changed = await bus.update_durable("d", max_leased=1, rate=50.0, burst=3, ack_wait=9.0)
        paused = await bus.pause_durable("d")
        program.kill()
    program.restart()
    came: list[DurableMessage] = []
    async with GrpcMessageBus(program.address) as bus:
        now = await bus.durable("d")
        assert now == paused
        assert now.settings == changed.settings
        assert now.settings.figures() | {"max_leased": 1, "rate": 50.0, "burst": 3, "key_concurrency": 2} == (
            now.settings.figures()
        )
        messages = bus.messages("a:b", durable="d")
        step = asyncio.ensure_future(anext(messages))
        await bus.update_durable("d", max_leased=2)
        assert not step.done()
        await bus.resume_durable("d")
        came.append(await step)
        while len(came) < 3:
            came.append(await anext(messages))
        await messages.aclose()
    assert [message.payload["n"] for message in came] == [0, 1, 2]
