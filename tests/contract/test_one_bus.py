"""What the bus in memory once did otherwise than the service: one rule for every bus, here held to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.bus.durable.calls import eventually
from tests.contract.durables import numbers, store, take
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    CompactedError,
    DeadLetterFilter,
    DurableMessage,
    DurableSettings,
    GrpcMessageBus,
    InMemoryMessageBus,
    MessageBus,
)
from trunklined.bus.config import RetentionSettings
from trunklined.local import bus as local

KEPT = 5
RETENTION = {"pattern": "kept:>", "max_messages": KEPT}


@pytest.fixture(params=["memory", "grpc"])
async def forgetful(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[MessageBus]:
    """A bus that keeps the last five messages of `kept:>` that nobody needs."""
    bus: MessageBus
    if request.param == "memory":
        settings = local.SETTINGS.model_copy(
            update={"retention": [RetentionSettings.model_validate(RETENTION)], "dedup_seconds": 0}
        )
        monkeypatch.setattr(local, "SETTINGS", settings)
        bus = InMemoryMessageBus()
    else:
        start_program = request.getfixturevalue("start_program")
        options = ("--retention", json.dumps([RETENTION]), "--dedup-seconds", "0")
        bus = GrpcMessageBus(start_program("bus", "--path", str(tmp_path / "bus.db"), *options).address)
    async with bus:
        yield bus


async def only_kept(bus: MessageBus, count: int) -> None:
    """Returns when retention left so many messages."""
    await eventually(bus.statistics, lambda now: now.journal_messages == count)


async def test_live_callbacks_run_one_after_the_other_unless_concurrency_says_more(
    bus: MessageBus, channel: str
) -> None:
    """subscribe: concurrency is how many callbacks may run at once; of five publishes at the same time, too."""
    running, most = {1: 0, 3: 0}, {1: 0, 3: 0}
    done = Inbox()

    async def listen(concurrency: int) -> None:
        async def work(message: AgentMessage) -> None:
            running[concurrency] += 1
            most[concurrency] = max(most[concurrency], running[concurrency])
            await asyncio.sleep(0.02)
            running[concurrency] -= 1
            await done(message)

        await bus.subscribe(channel, work, concurrency=concurrency)

    await listen(1)
    await listen(3)
    await asyncio.gather(*(bus.publish(channel, numbered(n)) for n in range(5)))
    await done.have(10)
    assert most[1] == 1
    assert 1 < most[3] <= 3


async def test_a_dead_letter_is_an_orphan_where_another_subscription_has_its_name(
    bus: MessageBus, channel: str, name: str
) -> None:
    """redrive: a durable subscription that was deleted and made anew with another pattern is not the one it was for."""
    await bus.create_durable(name, channel, settings=DurableSettings(max_deliveries=1))
    await store(bus, channel, numbered(1))

    async def refuse(message: DurableMessage) -> None:
        await message.terminate("never")

    await bus.subscribe(channel, refuse, durable=name)
    await eventually(lambda: bus.count_dead_letters(durable=name), bool)
    await bus.unsubscribe(channel)
    await bus.delete_durable(name)
    await bus.create_durable(name, f"{channel}:other")
    redriven = await bus.redrive(DeadLetterFilter(durable=name))
    assert (redriven.redriven, redriven.orphaned) == (0, 1)


async def test_a_start_at_a_time_whose_messages_are_gone_is_refused(forgetful: MessageBus) -> None:
    """start: CompactedError where not everything since that time is kept, instead of a silent later start."""
    receipts = await store(forgetful, "kept:a", *map(numbered, range(12)))
    await only_kept(forgetful, KEPT)
    before: datetime = receipts[0].time
    with pytest.raises(CompactedError) as caught:
        await forgetful.create_durable("early", "kept:a", start=before)
    assert "oldest" in caught.value.details


async def test_what_another_channel_lost_does_not_matter_for_a_start(forgetful: MessageBus) -> None:
    """start: what is kept is asked of the pattern's own channels, not of the whole bus."""
    await store(forgetful, "whole:a", *map(numbered, range(3)))
    await store(forgetful, "kept:a", *map(numbered, range(12)))
    await only_kept(forgetful, 3 + KEPT)
    assert numbers(await take(forgetful, "whole:a", "from-the-first", 3, start=1)) == [0, 1, 2]
    with pytest.raises(CompactedError):
        await forgetful.create_durable("early", "kept:a", start=1)


async def test_a_settle_that_comes_too_late_is_refused_and_told(
    bus: MessageBus, channel: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An ack of what was sought away meanwhile is a stale one: the service refuses it, and the log says so."""
    await store(bus, channel, numbered(1))
    began, go_on = asyncio.Event(), asyncio.Event()

    async def work(message: DurableMessage) -> None:
        began.set()
        await go_on.wait()

    async def refusals() -> list[str]:
        return [each.message for each in caplog.records if "too late" in each.message or "lost to" in each.message]

    await bus.create_durable(name, channel, start="all")
    await bus.subscribe(channel, work, durable=name)
    await asyncio.wait_for(began.wait(), PATIENCE)
    await bus.seek_durable(name, "new")
    go_on.set()
    assert await eventually(refusals, bool)
    assert (await bus.durable(name)).acked == 0


@pytest.mark.parametrize("bus_kind", ["memory"])
async def test_a_publish_inside_a_callback_returns_at_once(bus: MessageBus, channel: str) -> None:
    """publish: in memory it waits for the callbacks that it caused, but not inside one, which would wait for itself."""
    seen: list[object] = []
    done = Inbox()

    async def echo(message: AgentMessage) -> None:
        n = message.payload["n"]
        assert isinstance(n, int)
        if n < 3:
            await bus.publish(channel, numbered(n + 1))
        seen.append(n)
        await done(message)

    await bus.subscribe(channel, echo)
    async with asyncio.timeout(PATIENCE):
        await bus.publish(channel, numbered(0))
    assert seen[0] == 0
    await done.have(4)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("bus_kind", ["memory"])
@pytest.mark.parametrize("stored", [False, True])
async def test_publish_waits_for_callbacks_where_credit_is_little(bus: MessageBus, channel: str, stored: bool) -> None:
    """publish: also for what still waits in the bus, because the subscriber's credit is used up."""
    done: list[object] = []

    async def slow(message: AgentMessage) -> None:
        await asyncio.sleep(0.01)
        done.append(message.payload["n"])

    await bus.subscribe(channel, slow, credit=1)

    async def publish(n: int) -> None:
        if stored:
            await bus.publish(channel, numbered(n), stored=True)
        else:
            await bus.publish(channel, numbered(n))
        assert n in done

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*map(publish, range(10)))


@pytest.mark.parametrize("bus_kind", ["memory"])
async def test_publish_waits_for_callbacks_where_a_large_frame_is_taken_in_pieces(
    bus: MessageBus, channel: str
) -> None:
    """publish: also for what the bus takes later, since so much came at once that others have their turn in between."""
    done: set[object] = set()

    async def note(message: AgentMessage) -> None:
        done.add(message.payload["n"])

    await bus.subscribe(channel, note)

    async def publish(n: int) -> None:
        await bus.publish(channel, numbered(n))
        assert n in done

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*map(publish, range(3_000)))


@pytest.mark.parametrize("bus_kind", ["memory"])
async def test_publish_does_not_wait_for_what_expired_on_the_way(bus: MessageBus, channel: str) -> None:
    """publish: a message that is dropped before a callback gets it is waited for no longer."""
    free = asyncio.Event()
    inbox = Inbox()

    async def hold(message: AgentMessage) -> None:
        await inbox(message)
        await free.wait()

    await bus.subscribe(channel, hold, credit=1)
    first = asyncio.ensure_future(bus.publish(channel, numbered(1)))
    await inbox.have(1)
    brief = [asyncio.ensure_future(bus.publish(channel, numbered(n, ttl_seconds=1))) for n in range(2, 6)]
    await asyncio.sleep(1.1)
    free.set()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(first, *brief)
    assert inbox.numbers == [1]


@pytest.mark.parametrize("when", [datetime(1970, 1, 1, tzinfo=UTC), datetime(1950, 1, 1, tzinfo=UTC)])
async def test_a_start_before_anything_gets_all_there_is(
    bus: MessageBus, channel: str, name: str, when: datetime
) -> None:
    """start: a time at or before the epoch, on channels that have lost nothing; empty, and with messages."""
    await bus.create_durable(name, channel, start=when)
    await store(bus, channel, *map(numbered, range(3)))
    assert numbers(await take(bus, channel, name, 3)) == [0, 1, 2]
    assert numbers(await take(bus, channel, f"{name}-late", 3, start=when)) == [0, 1, 2]
    await bus.seek_durable(name, when)
    assert numbers(await take(bus, channel, name, 3)) == [0, 1, 2]
