"""What every MessageBus promises of a message that was handed out: acked, failed, ended, held back, in order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.durables import AT_ONCE, numbers, store, take
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from trunkline import AgentMessage, Backoff, DurableMessage, DurableSettings, MessageBus


class Trials(Inbox):
    """A durable callback that keeps (number, attempt), and fails where it is told."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self._failures = failures
        self.tried: list[tuple[Any, int]] = []
        self.times: list[float] = []

    async def __call__(self, message: AgentMessage) -> None:
        assert isinstance(message, DurableMessage)
        self.tried.append((message.payload["n"], message.attempt))
        self.times.append(asyncio.get_running_loop().time())
        await super().__call__(message)
        if message.attempt <= self._failures:
            raise ValueError(f"attempt {message.attempt} failed")


async def test_a_callback_that_raises_gets_it_again(bus: MessageBus, channel: str, name: str) -> None:
    """Raising naks: it comes again with the next attempt's number; returning acks: it is gone."""
    trials = Trials(failures=2)
    await bus.subscribe(channel, trials, durable=name, settings=AT_ONCE)
    await store(bus, channel, numbered("hard"))
    await trials.have(3)
    await store(bus, channel, numbered("end"))
    await trials.until(lambda: ("end", 3) in trials.tried, "the end")
    assert trials.tried == [("hard", 1), ("hard", 2), ("hard", 3), ("end", 1), ("end", 2), ("end", 3)]


async def test_a_failed_message_waits_as_the_backoff_says(bus: MessageBus, channel: str, name: str) -> None:
    """Each attempt waits its time, never less; what is behind it goes on meanwhile."""
    trials = Trials(failures=2)
    settings = DurableSettings(backoff=Backoff(initial=0.2, multiplier=2, maximum=60))
    await bus.subscribe(channel, trials, durable=name, settings=settings)
    await store(bus, channel, numbered(1), numbered(2))
    await trials.have(6)
    assert trials.tried[:2] == [(1, 1), (2, 1)]
    times = [time for (n, _), time in zip(trials.tried, trials.times, strict=True) if n == 1]
    assert times[1] - times[0] >= 0.19
    assert times[2] - times[1] >= 0.39


async def test_a_nak_may_say_when(bus: MessageBus, channel: str, name: str) -> None:
    """A delay of 0 is at once, whatever the backoff says; another delay is waited for."""
    await bus.create_durable(name, channel, settings=DurableSettings(backoff=Backoff(initial=60, maximum=60)))
    await store(bus, channel, numbered(1))
    stream = bus.messages(channel, durable=name)
    loop = asyncio.get_running_loop()
    for attempt, delay in ((1, 0.0), (2, 0.3)):
        message = await asyncio.wait_for(anext(stream), PATIENCE)
        assert message.attempt == attempt
        await message.nak("not now", delay=delay)
    nakked = loop.time()
    assert (await asyncio.wait_for(anext(stream), PATIENCE)).attempt == 3
    assert loop.time() - nakked >= 0.29
    await stream.aclose()


async def test_each_step_of_an_iterator_acks_the_one_before(bus: MessageBus, channel: str, name: str) -> None:
    """The next step acks; an iterator that is closed gives the last one back as failed."""
    await bus.create_durable(name, channel, settings=AT_ONCE)
    await store(bus, channel, *(numbered(n) for n in range(3)))
    stream = bus.messages(channel, durable=name)
    for n in range(2):
        assert (await asyncio.wait_for(anext(stream), PATIENCE)).payload == {"n": n}
    await stream.aclose()
    taken = await take(bus, channel, name, 2)
    assert [(message.payload["n"], message.attempt) for message in taken] == [(1, 2), (2, 1)]


async def test_what_was_settled_is_left_as_it_is(bus: MessageBus, channel: str, name: str) -> None:
    """The first word counts: a second ack, nak or terminate changes nothing."""
    await bus.create_durable(name, channel, settings=AT_ONCE)
    await store(bus, channel, numbered(1), numbered("end"))
    stream = bus.messages(channel, durable=name)
    message = await asyncio.wait_for(anext(stream), PATIENCE)
    assert not message.settled
    await message.ack()
    assert message.settled
    await message.ack()
    await message.nak("too late")
    await message.terminate("too late")
    await message.extend(1)
    assert (await asyncio.wait_for(anext(stream), PATIENCE)).payload == {"n": "end"}
    await stream.aclose()
    assert [letter async for letter in bus.dead_letters(durable=name)] == []


async def test_an_ordering_key_is_worked_off_one_at_a_time(
    bus: MessageBus, other: MessageBus, channel: str, name: str
) -> None:
    """In order within a key, also past a failure and by two subscribers; other keys run beside it."""
    running: dict[str, int] = {"a": 0, "b": 0}
    came: dict[str, list[tuple[Any, int]]] = {"a": [], "b": []}
    both, done = asyncio.Event(), asyncio.Event()

    async def work(message: DurableMessage) -> None:
        key, n = str(message.payload["n"])[0], message.payload["n"]
        running[key] += 1
        assert running[key] == 1, "one of its key at a time"
        came[key].append((n, message.attempt))
        if all(came.values()):
            both.set()
        try:
            await asyncio.wait_for(both.wait(), PATIENCE)  # each key has one under way at the same time
        finally:
            running[key] -= 1
        if n == "a1" and message.attempt == 1:
            raise ValueError("again")
        if sum(map(len, came.values())) == 11:
            done.set()

    await bus.create_durable(name, channel, settings=AT_ONCE)
    for n in range(5):
        for key in "ab":
            await store(bus, channel, numbered(f"{key}{n}"), ordering_key=key)
    for taker in (bus, other):
        await taker.subscribe(channel, work, durable=name, concurrency=4)
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert came["a"] == [("a0", 1), ("a1", 1), ("a1", 2), ("a2", 1), ("a3", 1), ("a4", 1)]
    assert came["b"] == [(f"b{n}", 1) for n in range(5)]


@pytest.mark.parametrize("option", ["deliver_after", "deliver_at"])
async def test_held_back_until_it_is_due(bus: MessageBus, channel: str, name: str, option: str) -> None:
    """It is not handed out before its time, and takes its place when it is due."""
    await bus.create_durable(name, channel)
    began = datetime.now(UTC)
    value = 0.5 if option == "deliver_after" else began + timedelta(seconds=0.5)
    await store(bus, channel, numbered("later"), **{option: value})
    await store(bus, channel, numbered("now"))
    assert numbers(await take(bus, channel, name, 2)) == ["now", "later"]
    assert datetime.now(UTC) - began >= timedelta(seconds=0.49)


async def test_a_time_that_is_past_means_now(bus: MessageBus, channel: str, name: str) -> None:
    """deliver_at in the past, and deliver_after 0, hold nothing back."""
    await bus.create_durable(name, channel)
    await store(bus, channel, numbered(1), deliver_at=datetime.now(UTC) - timedelta(days=1))
    await store(bus, channel, numbered(2), deliver_after=0)
    assert numbers(await take(bus, channel, name, 2)) == [1, 2]
