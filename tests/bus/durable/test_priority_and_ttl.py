"""Priority and TTL of durable messages."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.bus.calls import message
from tests.bus.durable.bus import Bus, Gate
from tests.bus.durable.calls import (
    Got,
    create,
    eventually,
    get,
    get_when_dead,
    holding,
    letters,
    seconds,
    settings,
    store,
    store_all,
)
from trunkline.v1.dead_letter_pb2 import DEAD_LETTER_REASON_EXPIRED

LONG = settings(ack_wait=60)
TTL = 1
"""The shortest: whole seconds."""


async def test_of_what_waits_the_higher_goes_first(stub: Any, channel: str) -> None:
    """Equal ones keep the order of publication, also across publishes; unset is medium."""
    await create(stub, "d", channel, settings=LONG)
    for part in range(3):
        await store(stub, channel, *(message(f"{p}.{part}", priority=p) for p in (1, 2, 3, 4)))
    await store(stub, channel, message("2.unset"))
    async with holding(stub, "d", channel, credit=20) as holder:
        got = await holder.take(13)
    expected = [f"{p}.{part}" for p in (4, 3, 2, 1) for part in range(3)]
    expected.insert(9, "2.unset")
    assert [each.n for each in got] == expected
    assert [each.priority for each in got] == [4] * 3 + [3] * 3 + [2] * 4 + [1] * 3


async def test_a_higher_one_overtakes_what_waits_for_credit(stub: Any, channel: str) -> None:
    """Also what comes again after a nak: it has its priority."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, ["low 0", "low 1"], priority=1)
    async with holding(stub, "d", channel, credit=1) as holder:
        got = await holder.take(1)
        await holder.say("nak", got, delay=seconds(0))
        await eventually(lambda: get(stub, "d"), lambda found: found.retrying == 1)
        await store_all(stub, channel, ["high"], priority=3)
        for expected in ("high", "low 0", "low 1"):
            await holder.grant(1)
            assert await holder.take_numbers(1) == [expected]


async def test_priorities_outlive_a_restart(kept: Bus, channel: str) -> None:
    """Over sqlite, which alone keeps anything; many of one priority do not hide few of another."""
    await create(kept.stub, "d", channel, settings=LONG)
    await store_all(kept.stub, channel, range(2000))
    await store_all(kept.stub, channel, ["low"], priority=1)
    await store_all(kept.stub, channel, ["critical"], priority=4)
    stub = await kept.restart()
    async with holding(stub, "d", channel, credit=3000) as holder:
        got = await holder.take_numbers(2002)
    assert got == ["critical", *map(str, range(2000)), "low"]


async def test_expired_before_it_was_handed_out(stub: Any, channel: str) -> None:
    """A dead letter with reason EXPIRED and no attempt; what lives is handed out."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, ["a", "b"], ttl_seconds=TTL)
    await store_all(stub, channel, ["lives"], ttl_seconds=3600)
    await asyncio.sleep(TTL + 0.1)
    async with holding(stub, "d", channel) as holder:
        assert await holder.take_numbers(1) == ["lives"]
    found = await eventually(lambda: letters(stub), lambda found: len(found) == 2)
    assert [each.message.json for each in found] == ["a", "b"]
    assert {each.reason for each in found} == {DEAD_LETTER_REASON_EXPIRED}
    assert [len(each.attempts) for each in found] == [0, 0]
    assert all("TTL" in each.error for each in found)
    state = await get_when_dead(stub, "d", 2)
    assert (state.waiting, state.dead_lettered) == (0, 2)


async def test_expired_between_attempts(stub: Any, channel: str) -> None:
    """With the attempts that there were; never handed out again."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, ["a"], ttl_seconds=TTL)
    async with holding(stub, "d", channel) as holder:
        await holder.say("nak", await holder.take(1), delay=seconds(TTL + 0.1), error="busy")
        found = await eventually(lambda: letters(stub), len)
        assert found[0].reason == DEAD_LETTER_REASON_EXPIRED
        assert [(each.number, each.error) for each in found[0].attempts] == [(1, "busy")]
        state = await get_when_dead(stub, "d", 1)
        assert (state.retrying, state.leased, state.dead_lettered) == (0, 0, 1)


async def test_nothing_is_asked_of_the_disk_when_all_that_was_due_is_expired(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle bus stays idle: what expired between attempts does not make it look again and again."""
    gate = Gate().install(monkeypatch)
    async with Bus(socket_dir) as bus:
        await create(bus.stub, "d", "a", settings=LONG)
        await store_all(bus.stub, "a", ["x"], ttl_seconds=TTL)
        async with holding(bus.stub, "d", "a") as holder:
            await holder.say("nak", await holder.take(1), delay=seconds(TTL + 0.1))
            await eventually(lambda: letters(bus.stub), len)
            before = gate.reads["due"]
            await asyncio.sleep(0.3)  # how often it looks is a rate
            assert gate.reads["due"] - before < 10


async def test_settled_past_its_ttl_it_is_done(stub: Any, channel: str) -> None:
    """A lease that was begun in time may be settled after the TTL: the work was done."""
    await create(stub, "d", channel, settings=LONG)
    await store_all(stub, channel, ["a"], ttl_seconds=TTL)
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(1)
        await asyncio.sleep(TTL + 0.1)
        await holder.ack(got)
        await eventually(lambda: get(stub, "d"), lambda found: found.acked == 1)
    assert await letters(stub) == []


async def test_what_waits_for_a_stalled_reader_past_its_ttl_is_not_sent(stub: Any, channel: str) -> None:
    """Handed out, but not sent since nobody reads: a message past its TTL is never delivered."""
    await create(stub, "d", channel, settings=settings(ack_wait=0.5, max_deliveries=100))
    body = "x" * 16_384
    async with holding(stub, "d", channel) as holder:
        for _ in range(5):
            await store(stub, channel, *(message(body, ttl_seconds=TTL) for _ in range(100)))
        await asyncio.sleep(TTL + 0.7)  # all leases, and the TTL, are over
        late: list[Got] = []
        reading = time.monotonic()
        while time.monotonic() - reading < 1.0:
            try:
                async with asyncio.timeout(0.3):
                    late += await holder.take(1)
            except TimeoutError:
                break
        assert len(late) < 300, "what the transport had taken already comes; what waited behind it does not"
    await eventually(lambda: get(stub, "d"), lambda found: found.dead_lettered > 0)
