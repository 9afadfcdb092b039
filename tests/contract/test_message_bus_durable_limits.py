"""What every MessageBus promises of a durable subscription's limits, of changing them, and of pausing it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.durables import store, take
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from trunkline import (
    DurableMessage,
    DurableSettings,
    InvalidMessageError,
    MessageBus,
    SubscriptionExistsError,
    SubscriptionNotFoundError,
)

SOON = 0.2
"""For which nothing may come; what is wrong comes at once."""


class Held(Inbox):
    """A callback that keeps what it was given until it may go on, one message after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self.most = 0
        self._may_end = asyncio.Semaphore(0)

    async def __call__(self, message: Any) -> None:
        self.held += 1
        self.most = max(self.most, self.held)
        await super().__call__(message)
        await self._may_end.acquire()
        self.held -= 1

    def end(self, messages: int) -> None:
        """Lets so many end."""
        for _ in range(messages):
            self._may_end.release()


async def leased_is(bus: MessageBus, name: str, count: int) -> None:
    """Returns when so many are leased."""
    async with asyncio.timeout(PATIENCE):
        while (await bus.durable(name)).leased != count:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)


async def test_no_more_are_leased_than_may_be_over_all_workers(
    bus: MessageBus, other: MessageBus, channel: str, name: str
) -> None:
    """Two workers with room for ten each share three; each that is done makes room for one."""
    held = Held()
    settings = DurableSettings(max_leased=3)
    for each in (bus, other):
        await each.subscribe(channel, held, durable=name, settings=settings, concurrency=10)
    await store(bus, channel, *map(numbered, range(12)))
    await held.have(3)
    await asyncio.sleep(SOON)
    assert (await bus.durable(name)).leased == len(held.messages) == 3
    held.end(1)
    await held.have(4)
    held.end(12)
    await held.have(12)
    assert held.most == 3
    assert (await bus.durable(name)).settings.max_leased == 3


async def test_a_rate_holds_over_all_workers(bus: MessageBus, other: MessageBus, channel: str, name: str) -> None:
    """The burst goes at once, and nothing more in a thousand seconds; with another rate the rest goes."""
    inbox = Inbox()
    settings = DurableSettings(rate=0.001, burst=5)
    for each in (bus, other):
        await each.subscribe(channel, inbox, durable=name, settings=settings, concurrency=10)
    await store(bus, channel, *map(numbered, range(20)))
    await inbox.have(5)
    await asyncio.sleep(SOON)
    assert len(inbox.messages) == 5
    assert (await other.update_durable(name, rate=200.0)).settings.rate == 200
    await inbox.have(20)
    assert sorted(inbox.numbers) == list(range(20))


async def test_so_many_of_a_key_are_leased_as_may_be(
    bus: MessageBus, other: MessageBus, channel: str, name: str
) -> None:
    """Two of one key over both workers, in order; another key and those without one go past them."""
    held, free = Held(), Inbox()

    async def work(message: DurableMessage) -> None:
        await (held if message.ordering_key == "k" else free)(message)

    for each in (bus, other):
        await each.subscribe(channel, work, durable=name, settings=DurableSettings(key_concurrency=2), concurrency=5)
    for n in range(6):
        await store(bus, channel, numbered(n), ordering_key="k")
    await store(bus, channel, numbered("j"), ordering_key="j")
    await store(bus, channel, numbered("none"))
    await held.have(2)
    await free.have(2)
    await asyncio.sleep(SOON)
    assert sorted(held.numbers) == [0, 1], "one may reach its worker before the other reaches the other's"
    for n in range(2, 6):
        held.end(1)
        await held.have(n + 1)
    held.end(2)
    assert (held.most, held.numbers[2:]) == (2, [2, 3, 4, 5])


async def test_more_of_a_key_go_when_more_may(bus: MessageBus, channel: str, name: str) -> None:
    """What was passed over goes at once; with less, what is leased stays, and the next waits for its turn."""
    held = Held()
    await bus.subscribe(channel, held, durable=name, concurrency=9)
    for n in range(9):
        await store(bus, channel, numbered(n), ordering_key="k")
    await held.have(1)
    await bus.update_durable(name, key_concurrency=4)
    await held.have(4)
    await bus.update_durable(name, key_concurrency=1)
    held.end(3)
    await leased_is(bus, name, 1)
    await asyncio.sleep(SOON)
    assert held.numbers == [0, 1, 2, 3]
    for n in range(4, 9):
        held.end(1)
        await held.have(n + 1)
    held.end(1)
    assert held.numbers == list(range(9))


async def test_a_limit_below_what_is_leased_takes_nothing_away(bus: MessageBus, channel: str, name: str) -> None:
    """Whoever has a message keeps it; the next is handed out when fewer are leased than may be."""
    held = Held()
    await bus.subscribe(channel, held, durable=name, concurrency=4, credit=4)
    await store(bus, channel, *map(numbered, range(8)))
    await held.have(4)
    now = await bus.update_durable(name, max_leased=2)
    assert (now.settings.max_leased, now.leased) == (2, 4)
    held.end(2)
    await leased_is(bus, name, 2)
    await asyncio.sleep(SOON)
    assert len(held.messages) == 4
    held.end(1)
    await held.have(5)
    assert (await bus.durable(name)).leased == 2
    await bus.update_durable(name, max_leased=0)
    await held.have(7)
    held.end(5)
    await held.have(8)
    assert (await bus.durable(name)).redelivered == 0


async def test_each_setting_is_changed_alone(bus: MessageBus, channel: str, name: str) -> None:
    """What is not named stays; a first wait above the longest raises that."""
    await bus.create_durable(name, channel, settings=DurableSettings(ack_wait=60, max_leased=7))
    changes: dict[str, Any] = {
        "ack_wait": 5.0,
        "max_deliveries": 9,
        "backoff_multiplier": 3.0,
        "backoff_initial": 90.0,
        "rate": 2.5,
        "burst": 4,
        "key_concurrency": 8,
    }
    expected = (await bus.durable(name)).settings.figures()
    for field, value in changes.items():
        expected[field] = value
        if field == "backoff_initial":
            expected["backoff_maximum"] = 90.0
        now = await bus.update_durable(name, **{field: value})
        assert now.settings.figures() == expected
        assert await bus.durable(name) == now
    assert (await bus.update_durable(name, ack_wait=None, rate=0)).settings.rate == 0


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({}, "settings", None),
        ({"ack_wait": None}, "settings", None),
        ({"max_leased": -1}, "settings.max_leased", "-1"),
        ({"max_leased": 65_537}, "settings.max_leased", "65537"),
        ({"rate": 0.0001}, "settings.rate", "0.0001"),
        ({"rate": float("nan")}, "settings.rate", "nan"),
        ({"rate": -5.0}, "settings.rate", "-5"),
        ({"burst": 1_000_001}, "settings.burst", "1e+06"),
        ({"key_concurrency": 0}, "settings.key_concurrency", "0"),
        ({"key_concurrency": 1_001}, "settings.key_concurrency", "1001"),
        ({"ack_wait": 0.0}, "settings.ack_wait", "0"),
        ({"backoff_maximum": 0.5}, "settings.backoff.maximum", "0.5"),
    ],
)
async def test_a_change_that_cannot_be_is_refused(
    bus: MessageBus, channel: str, name: str, changes: dict[str, Any], field: str, value: str | None
) -> None:
    """With the field and the value, and nothing is changed; also where it is made so."""
    await bus.create_durable(name, channel)
    before = await bus.durable(name)
    with pytest.raises(InvalidMessageError) as refused:
        await bus.update_durable(name, max_deliveries=3, **changes) if value else await bus.update_durable(
            name, **changes
        )
    assert refused.value.details["field"] == field
    assert refused.value.details.get("value") == value
    assert await bus.durable(name) == before


async def test_who_makes_it_again_says_what_it_is_now(bus: MessageBus, channel: str, name: str) -> None:
    """After a change, the settings that it was made with are others; without settings it is taken as it is."""
    settings = DurableSettings(max_leased=2)
    assert await bus.create_durable(name, channel, settings=settings)
    await bus.update_durable(name, max_leased=3)
    with pytest.raises(SubscriptionExistsError, match="has max_leased 3, not 2"):
        await bus.subscribe(channel, Inbox(), durable=name, settings=settings)
    assert not await bus.create_durable(name, channel, settings=DurableSettings(max_leased=3))
    assert not await bus.create_durable(name, channel)


async def test_paused_it_keeps_its_place(bus: MessageBus, other: MessageBus, channel: str, name: str) -> None:
    """Nothing is handed out, what is leased can be settled, and it goes on where it was; who is connected is told."""
    held, told = Held(), asyncio.Queue[bool]()
    await bus.subscribe(channel, held, durable=name, on_paused=told.put_nowait)
    await store(bus, channel, numbered(0))
    await held.have(1)
    paused = await other.pause_durable(name)
    assert (paused.paused, paused.leased) == (True, 1)
    assert await asyncio.wait_for(told.get(), PATIENCE)
    await store(bus, channel, numbered(1), numbered(2))
    held.end(3)
    await leased_is(bus, name, 0)
    await asyncio.sleep(SOON)
    now = await bus.durable(name)
    assert (now.paused, now.acked, now.waiting) == (True, 1, 2)
    assert held.numbers == [0]
    assert await other.pause_durable(name) == now, "it was so already"
    late = asyncio.Queue[bool]()
    await other.subscribe(channel, held, durable=name, on_paused=late.put_nowait)
    assert await asyncio.wait_for(late.get(), PATIENCE)
    assert not (await other.resume_durable(name)).paused
    await held.have(3)
    assert sorted(held.numbers) == [0, 1, 2]
    for queue in (told, late):
        assert not await asyncio.wait_for(queue.get(), PATIENCE)
        assert queue.empty()


async def test_what_failed_waits_while_it_is_paused(bus: MessageBus, channel: str, name: str) -> None:
    """A nak counts as ever, and the next attempt comes when it goes on."""
    may_fail, began = asyncio.Event(), asyncio.Event()

    async def fail(message: DurableMessage) -> None:
        if message.attempt > 1:
            return
        began.set()
        await may_fail.wait()
        await message.nak("made to fail", delay=0)

    await bus.subscribe(channel, fail, durable=name)
    await store(bus, channel, numbered(0))
    await began.wait()
    await bus.pause_durable(name)
    may_fail.set()
    async with asyncio.timeout(PATIENCE):
        while (await bus.durable(name)).retrying != 1:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)
    await asyncio.sleep(SOON)
    assert (await bus.durable(name)).acked == 0
    await bus.resume_durable(name)
    async with asyncio.timeout(PATIENCE):
        while (await bus.durable(name)).acked != 1:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)


async def test_a_paused_one_can_be_moved_and_deleted(bus: MessageBus, channel: str, name: str) -> None:
    """It stays paused where it is moved to."""
    await store(bus, channel, numbered(0), numbered(1))
    await bus.create_durable(name, channel)
    await bus.pause_durable(name)
    await bus.seek_durable(name, "all")
    now = await bus.durable(name)
    assert (now.paused, now.waiting) == (True, 2)
    await bus.resume_durable(name)
    assert [message.payload["n"] for message in await take(bus, channel, name, 2)] == [0, 1]
    await bus.pause_durable(name)
    await bus.delete_durable(name)
    for call in (bus.pause_durable, bus.resume_durable):
        with pytest.raises(SubscriptionNotFoundError):
            await call(name)
    with pytest.raises(SubscriptionNotFoundError):
        await bus.update_durable(name, rate=1.0)


async def test_on_paused_is_of_durable_subscriptions_only(bus: MessageBus, channel: str) -> None:
    """A live subscription cannot be paused."""
    with pytest.raises(InvalidMessageError, match="on_paused"):
        await bus.subscribe(channel, Inbox(), on_paused=print)  # type: ignore[call-overload]
