"""What every MessageBus promises of what waits in a durable subscription: looked at, cancelled, moved."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.durables import AT_ONCE, numbers, store, take
from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    Backoff,
    CancelledMessages,
    DurableMessage,
    DurableSettings,
    InvalidChannelError,
    InvalidMessageError,
    MessageBus,
    MovedMessages,
    Priority,
    SubscriptionNotFoundError,
    WaitingFilter,
    WaitingMessage,
)

LATER = DurableSettings(backoff=Backoff(initial=86_400, maximum=86_400))
"""What failed waits for a day."""


async def waiting(bus: MessageBus, name: str, **chosen: Any) -> list[WaitingMessage]:
    """What waits."""
    async with asyncio.timeout(PATIENCE):
        return [each async for each in bus.waiting_messages(name, **chosen)]


def named(found: list[WaitingMessage]) -> list[Any]:
    """The payloads' "n"."""
    return [number(each) for each in found]


def number(waiting: WaitingMessage) -> Any:
    """The payload's "n"."""
    return waiting.message.payload["n"]


async def hold(bus: MessageBus, pattern: str, name: str, count: int) -> list[DurableMessage]:
    """Takes so many messages, settles none, and returns them."""
    held: list[DurableMessage] = []
    taken = asyncio.Event()

    async def keep(message: DurableMessage) -> None:
        held.append(message)
        if len(held) == count:
            taken.set()
        await asyncio.Event().wait()

    await bus.subscribe(pattern, keep, durable=name, concurrency=count, credit=count)
    await asyncio.wait_for(taken.wait(), PATIENCE)
    return held


async def settled(bus: MessageBus, name: str, **figures: int) -> None:
    """Returns when a durable subscription has these figures."""
    async with asyncio.timeout(PATIENCE):
        while True:
            now = await bus.durable(name)
            if all(getattr(now, field) == value for field, value in figures.items()):
                return
            await asyncio.sleep(0.01)


async def test_what_waits_is_shown_and_stays(bus: MessageBus, channel: str, name: str) -> None:
    """Each with its place and time, in order of sequences whatever its priority; then it is handed out as ever."""
    await bus.create_durable(name, channel)
    began = datetime.now(UTC) - timedelta(seconds=1)
    receipts = await store(bus, channel, numbered(0), numbered(1, priority=Priority.HIGH), numbered(2))
    found = await waiting(bus, name)
    assert named(found) == [0, 1, 2]
    assert [each.sequence for each in found] == [receipt.sequence for receipt in receipts]
    assert [(each.channel, each.attempts, each.due_at, each.blocked_by_key, each.error) for each in found] == [
        (channel, 0, None, False, "")
    ] * 3
    assert all(began < each.published_at < datetime.now(UTC) + timedelta(seconds=1) for each in found)
    assert found[1].message.priority == Priority.HIGH
    assert named(await waiting(bus, name, limit=2)) == [0, 1]
    (brief, *_) = await waiting(bus, name, brief=True)
    with pytest.raises(InvalidMessageError):
        _ = brief.message.payload
    assert numbers(await take(bus, channel, name, 3)) == [1, 0, 2]
    assert await waiting(bus, name) == []


async def test_pages_go_on_where_the_one_before_ended(bus: MessageBus, channel: str, name: str) -> None:
    """Hundreds, of which each comes once."""
    await bus.create_durable(name, channel)
    await asyncio.gather(*(bus.publish(channel, numbered(n), stored=True) for n in range(450)))
    assert sorted(named(await waiting(bus, name))) == list(range(450))
    found = await waiting(bus, name)
    assert [each.sequence for each in found] == sorted({each.sequence for each in found})


async def test_it_says_who_tried_and_when_the_next_attempt_is(bus: MessageBus, channel: str, name: str) -> None:
    """A message that failed waits with its attempts, its error and its time; what is leased does not wait."""
    await bus.create_durable(name, channel, settings=LATER)
    await store(bus, channel, numbered("fails"))

    async def fail(message: DurableMessage) -> None:
        raise ValueError("odd")

    await bus.subscribe(channel, fail, durable=name)
    await settled(bus, name, retrying=1)
    await bus.unsubscribe(channel)
    await store(bus, channel, numbered("held"), numbered("waits"))
    await hold(bus, channel, name, 1)
    failed, waits = await waiting(bus, name)
    assert (failed.message.payload["n"], failed.attempts) == ("fails", 1)
    assert "odd" in failed.error
    assert failed.due_at is not None
    assert timedelta(hours=23) < failed.due_at - datetime.now(UTC) < timedelta(hours=25)
    assert (waits.message.payload["n"], waits.attempts, waits.due_at) == ("waits", 0, None)


async def test_it_says_what_an_ordering_key_blocks(bus: MessageBus, channel: str, name: str) -> None:
    """Those behind one that is not done, whether the subscription has come to them or not."""
    await bus.create_durable(name, channel)
    for n in range(4):
        await store(bus, channel, numbered(n), ordering_key="k")
    await store(bus, channel, numbered("free"))
    await hold(bus, channel, name, 2)
    await store(bus, channel, numbered(4), ordering_key="k")
    await store(bus, channel, numbered("last"))
    found = await waiting(bus, name)
    assert [(each.message.payload["n"], each.blocked_by_key) for each in found] == [
        (1, True),
        (2, True),
        (3, True),
        (4, True),
        ("last", False),
    ]
    assert named(await waiting(bus, name, ordering_key="k")) == [1, 2, 3, 4]


async def test_filters_choose(bus: MessageBus, channel: str, name: str) -> None:
    """By each field, and by all that are given."""
    base = channel.rpartition(":")[0]
    await bus.create_durable(name, f"{base}:>")
    messages = [
        AgentMessage(message_type=kind, sender_id=sender, payload={"n": n})
        for n, (kind, sender) in enumerate((("a", "x"), ("b", "x"), ("a", "y")))
    ]
    receipts = await store(bus, channel, *messages)
    await asyncio.sleep(0.01)
    receipts += await store(bus, f"{base}:other", numbered(3))
    for chosen, expected in (
        ({"sequences": [receipts[0].sequence, receipts[3].sequence, 10**15]}, [0, 3]),
        ({"message_ids": [messages[1].message_id, "nobody's"]}, [1]),
        ({"channel": f"{base}:*"}, [0, 1, 2, 3]),
        ({"channel": f"{base}:other"}, [3]),
        ({"message_type": "a"}, [0, 2]),
        ({"message_type": "a", "sender_id": "y"}, [2]),
        ({"sender_id": "nobody"}, []),
        ({"since": receipts[3].time}, [3]),
        ({"before": receipts[3].time}, [0, 1, 2]),
    ):
        assert named(await waiting(bus, name, **chosen)) == expected, chosen


async def test_what_is_cancelled_is_never_handed_out(
    bus: MessageBus, other: MessageBus, channel: str, name: str
) -> None:
    """Whatever is next to it; another subscription keeps its own."""
    for each in (name, f"{name}-2"):
        await bus.create_durable(each, channel)
    await asyncio.gather(*(bus.publish(channel, numbered(n), stored=True) for n in range(60)))
    found = await waiting(bus, name)
    which = WaitingFilter(sequences=[each.sequence for each in found if number(each) % 3 == 0])
    assert await other.cancel_waiting(name, which, dry_run=True) == CancelledMessages(20, 0)
    assert (await bus.durable(name)).waiting == 60
    assert await other.cancel_waiting(name, which) == CancelledMessages(20, 0)
    assert (await bus.durable(name)).waiting == 40
    assert await other.cancel_waiting(name, which) == CancelledMessages(0, 0)
    assert sorted(named(await waiting(bus, name))) == [n for n in range(60) if n % 3]
    await store(bus, channel, numbered("end"))
    taken = await take(bus, channel, name, 41)
    assert sorted(numbers(taken)[:-1]) == [n for n in range(60) if n % 3]
    assert numbers(taken)[-1] == "end"
    await settled(bus, name, waiting=0, leased=0, acked=41)
    assert len(await take(bus, channel, f"{name}-2", 61)) == 61
    await bus.seek_durable(name, "all")
    assert len(await take(bus, channel, name, 61)) == 61, "moved back, it has all again"


async def test_what_waits_for_another_attempt_is_cancelled(bus: MessageBus, channel: str, name: str) -> None:
    """One of several that failed together; what is leased is left out, and counted."""
    await bus.create_durable(name, channel, settings=LATER)
    await store(bus, channel, *map(numbered, range(5)))

    async def fail(message: DurableMessage) -> None:
        raise ValueError("odd")

    await bus.subscribe(channel, fail, durable=name, concurrency=5)
    await settled(bus, name, retrying=5)
    await bus.unsubscribe(channel)
    await store(bus, channel, numbered("held"), numbered("waits"))
    await hold(bus, channel, name, 1)
    found = await waiting(bus, name)
    assert named(found) == [0, 1, 2, 3, 4, "waits"]
    some = WaitingFilter(sequences=[found[1].sequence, found[3].sequence, found[5].sequence])
    assert await bus.cancel_waiting(name, some) == CancelledMessages(3, 0)
    assert named(await waiting(bus, name)) == [0, 2, 4]
    await settled(bus, name, retrying=3, waiting=0, leased=1)
    assert await bus.cancel_waiting(name, WaitingFilter()) == CancelledMessages(3, 1)
    await settled(bus, name, retrying=0, waiting=0, leased=1)
    assert await waiting(bus, name) == []


async def test_what_is_ready_for_its_next_attempt_is_cancelled(bus: MessageBus, channel: str, name: str) -> None:
    """While it is paused it waits in memory; then the others come."""
    await bus.create_durable(name, channel, settings=AT_ONCE)
    await store(bus, channel, *map(numbered, range(4)))
    held = await hold(bus, channel, name, 4)
    await bus.pause_durable(name)
    for message in held:
        await message.nak("made to fail", delay=0)
    await settled(bus, name, retrying=4)
    found = await waiting(bus, name)
    assert await bus.cancel_waiting(name, WaitingFilter(sequences=[found[1].sequence])) == CancelledMessages(1, 0)
    await bus.unsubscribe(channel)
    await bus.resume_durable(name)
    taken = await take(bus, channel, name, 3)
    assert sorted(numbers(taken)) == [0, 2, 3]
    assert {message.attempt for message in taken} == {2}
    await settled(bus, name, retrying=0, leased=0, acked=3)


async def test_a_key_goes_past_what_is_cancelled(bus: MessageBus, channel: str, name: str) -> None:
    """Of those behind the one that is not done, and the one that waits for its next attempt."""
    await bus.create_durable(name, channel, settings=LATER)
    for n in range(6):
        await store(bus, channel, numbered(n), ordering_key="k")

    async def fail(message: DurableMessage) -> None:
        raise ValueError("odd")

    await bus.subscribe(channel, fail, durable=name)
    await settled(bus, name, retrying=1)
    await bus.unsubscribe(channel)
    found = await waiting(bus, name)
    assert named(found) == list(range(6))
    which = WaitingFilter(sequences=[found[n].sequence for n in (1, 2, 4)])
    assert await bus.cancel_waiting(name, which) == CancelledMessages(3, 0)
    assert named(await waiting(bus, name)) == [0, 3, 5]
    assert await bus.cancel_waiting(name, WaitingFilter(sequences=[found[0].sequence])) == CancelledMessages(1, 0)
    assert numbers(await take(bus, channel, name, 2)) == [3, 5]
    await settled(bus, name, retrying=0, waiting=0, acked=2)


async def test_what_is_moved_waits_in_the_other(bus: MessageBus, other: MessageBus, channel: str, name: str) -> None:
    """Behind what waits there, with its attempts; what the other's pattern does not match stays."""
    base = channel.rpartition(":")[0]
    to = f"{name}-2"
    await bus.create_durable(name, f"{base}:>", settings=LATER)
    await store(bus, channel, *map(numbered, range(3)))

    async def fail(message: DurableMessage) -> None:
        raise ValueError("odd")

    await bus.subscribe(f"{base}:>", fail, durable=name, concurrency=3)
    await settled(bus, name, retrying=3)
    await bus.unsubscribe(f"{base}:>")
    await store(bus, channel, numbered(3))
    await store(bus, f"{base}:elsewhere", numbered("stays"))
    await store(bus, channel, numbered("key"), ordering_key="k")
    await bus.create_durable(to, channel)
    await store(bus, channel, numbered("both"))
    assert await other.move_waiting(name, WaitingFilter(), to, dry_run=True) == MovedMessages(6, 0, 1)
    assert (await bus.durable(to)).waiting == 1
    which = WaitingFilter(message_type="status_update")
    assert await other.move_waiting(name, which, to) == MovedMessages(6, 0, 1)
    await settled(bus, name, waiting=1, retrying=0)
    assert named(await waiting(bus, name)) == ["stays"]
    there = await waiting(bus, to)
    assert named(there)[0] == "both"
    assert sorted(map(str, named(there)[1:])) == sorted(["0", "1", "2", "3", "key", "both"])
    assert {number(each): each.attempts for each in there[1:]} == {
        0: 1,
        1: 1,
        2: 1,
        3: 0,
        "key": 0,
        "both": 0,
    }
    assert {each.message.ordering_key for each in there} == {None, "k"}
    taken = await take(bus, channel, to, 7)
    assert sorted(message.attempt for message in taken) == [1, 1, 1, 1, 2, 2, 2]
    assert numbers(await take(bus, f"{base}:>", name, 1)) == ["stays"]


async def test_what_cannot_be_is_refused(bus: MessageBus, channel: str, name: str) -> None:
    """No such subscription, a filter that cannot be, the same one; nothing is done."""
    await bus.create_durable(name, channel)
    await store(bus, channel, numbered(0))
    now = datetime.now(UTC)
    for error, chosen in (
        (InvalidChannelError, {"channel": "a::b"}),
        (InvalidMessageError, {"sequences": []}),
        (InvalidMessageError, {"sequences": [0]}),
        (InvalidMessageError, {"sequences": range(1, 10_002)}),
        (InvalidMessageError, {"message_ids": ["x"] * 10_001}),
        (InvalidMessageError, {"since": now.replace(tzinfo=None)}),
        (InvalidMessageError, {"since": now, "before": now}),
    ):
        with pytest.raises(error):
            await waiting(bus, name, **chosen)
        with pytest.raises(error):
            await bus.cancel_waiting(name, WaitingFilter(**chosen))
    with pytest.raises(InvalidMessageError):
        await waiting(bus, name, limit=0)
    with pytest.raises(InvalidMessageError, match="to_durable"):
        await bus.move_waiting(name, WaitingFilter(), name)
    absent = f"no-{name}"
    for call in (
        waiting(bus, absent),
        bus.cancel_waiting(absent, WaitingFilter()),
        bus.move_waiting(absent, WaitingFilter(), name),
        bus.move_waiting(name, WaitingFilter(), absent),
    ):
        with pytest.raises(SubscriptionNotFoundError):
            await call
    assert named(await waiting(bus, name)) == [0]
