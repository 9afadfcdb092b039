"""What every MessageBus promises of dead letters: kept with the reason, announced, given back, removed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.contract.durables import AT_ONCE, numbers, store, take
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    Backoff,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterNotFoundError,
    DeadLetterReason,
    DurableSettings,
    MessageBus,
    SubscriptionNotFoundError,
)
from trunkline.limits import MAX_REDRIVES

TWICE = DurableSettings(max_deliveries=2, backoff=Backoff(initial=0))


async def letters(bus: MessageBus, count: int, **chosen: Any) -> list[DeadLetter]:
    """The dead letters that match, the oldest first, once there are so many."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = [letter async for letter in bus.dead_letters(**chosen)]
            if len(found) >= count:
                return found[::-1]
            await asyncio.sleep(0.01)


async def bury(bus: MessageBus, channel: str, name: str, *words: str) -> list[DeadLetter]:
    """Makes a dead letter of each word, by terminate; the error is "no" and the word."""
    await bus.create_durable(name, channel, settings=AT_ONCE)
    before = len([letter async for letter in bus.dead_letters(durable=name)])
    await store(bus, channel, *(numbered(word) for word in words))
    await terminate(bus, channel, name, len(words))
    return (await letters(bus, before + len(words), durable=name))[before:]


async def terminate(bus: MessageBus, channel: str, name: str, count: int) -> None:
    """Takes so many messages, and says of each that it can never be done."""
    stream = bus.messages(channel, durable=name)
    for _ in range(count):
        message = await asyncio.wait_for(anext(stream), PATIENCE)
        await message.terminate(f"no {message.payload['n']}")
    await stream.aclose()


async def test_after_max_deliveries_it_is_kept_with_every_attempt(bus: MessageBus, channel: str, name: str) -> None:
    """The message, the subscription, each attempt with its time and error, and the reason."""

    async def fail(message: AgentMessage) -> None:
        raise ValueError("it cannot be")

    await bus.subscribe(channel, fail, durable=name, settings=TWICE)
    message = numbered("hard")
    receipt = await bus.publish(channel, message, stored=True)
    (letter,) = await letters(bus, 1, durable=name)
    assert letter.reason is DeadLetterReason.MAX_DELIVERIES
    assert (letter.durable, letter.pattern, letter.channel) == (name, channel, channel)
    assert letter.sequence == receipt.sequence
    assert abs(letter.published_at - receipt.time) < timedelta(milliseconds=1)
    assert letter.error == "ValueError: it cannot be"
    assert [(each.number, each.error) for each in letter.attempts] == [(n, letter.error) for n in (1, 2)]
    times = [time for each in letter.attempts for time in (each.delivered_at, each.ended_at)]
    assert times == sorted(times)
    assert times[-1] <= letter.dead_at
    assert letter.redrives == 0
    assert letter.message.model_dump() == message.model_dump()


async def test_each_is_announced(bus: MessageBus, other: MessageBus, channel: str, name: str) -> None:
    """On conductor:dlq, with what it is and how many there are."""
    inbox = Inbox()
    await other.subscribe("conductor:dlq", inbox)
    (letter,) = await bury(bus, channel, name, "hard")

    def entries() -> list[Any]:
        return [each.payload["entry"] for each in inbox.messages if each.payload["entry"]["durable"] == name]  # type: ignore[index, call-overload]

    await inbox.until(lambda: bool(entries()), "the announcement")
    (entry,) = entries()
    assert entry["dead_letter_id"] == letter.id
    assert (entry["channel"], entry["reason"], entry["error"]) == (channel, "TERMINATED", "no hard")
    assert entry["message_id"] == letter.message.message_id
    assert [each["number"] for each in entry["attempts"]] == [1]


async def test_expired_while_it_waits_it_is_dead(
    bus: MessageBus, channel: str, name: str, nearly_expired: AgentMessage
) -> None:
    """A TTL that ends before somebody takes the message: a dead letter, and never handed out."""
    await bus.create_durable(name, channel)
    await store(bus, channel, nearly_expired, numbered("end"))
    (letter,) = await letters(bus, 1, durable=name)
    assert (letter.reason, letter.attempts) == (DeadLetterReason.EXPIRED, ())
    assert numbers(await take(bus, channel, name, 1)) == ["end"]


async def test_the_newest_come_first_up_to_a_limit(bus: MessageBus, channel: str, name: str) -> None:
    """Across pages; no limit means all."""
    buried = await bury(bus, channel, name, *(f"w{n}" for n in range(120)))
    listed = [letter.id async for letter in bus.dead_letters(durable=name)]
    assert listed == [letter.id for letter in reversed(buried)]
    assert [letter.id async for letter in bus.dead_letters(durable=name, limit=110)] == listed[:110]


async def test_filters_choose_what_matches_all_of_them(bus: MessageBus, channel: str, name: str) -> None:
    """Each filter finds what it says; together they narrow; what matches nothing finds nothing."""
    first, second = await bury(bus, channel, name, "one", "two")
    for chosen, expected in (
        ({"durable": name}, [first, second]),
        ({"channel": channel}, [first, second]),
        ({"channel": channel.rpartition(":")[0] + ":*"}, [first, second]),
        ({"message_id": second.message.message_id}, [second]),
        ({"durable": name, "error_contains": "two"}, [second]),
        ({"durable": name, "reason": DeadLetterReason.TERMINATED}, [first, second]),
        ({"durable": name, "reason": DeadLetterReason.EXPIRED}, []),
        ({"durable": name, "message_type": "status_update", "sender_id": "tests"}, [first, second]),
        ({"durable": name, "sender_id": "nobody"}, []),
        ({"durable": name, "since": first.dead_at}, [first, second]),
        ({"durable": name, "before": first.dead_at}, []),
        ({"durable": f"{name}-unknown"}, []),
    ):
        found = [letter.id async for letter in bus.dead_letters(**chosen)]
        assert found[::-1] == [letter.id for letter in expected], chosen


async def test_redriven_it_comes_again_to_its_subscription_only(bus: MessageBus, channel: str, name: str) -> None:
    """As a new message behind what waits; the attempts go on counting; it is a dead letter no more."""
    await bus.create_durable(f"{name}-2", channel)
    first, second = await bury(bus, channel, name, "one", "two")
    await store(bus, channel, numbered("waits"))
    redriven = await bus.redrive([second.id])
    assert (redriven.redriven, redriven.ids) == (1, (second.id,))
    taken = await take(bus, channel, name, 2)
    assert [(message.payload["n"], message.attempt) for message in taken] == [("waits", 1), ("two", 2)]
    assert [letter.id async for letter in bus.dead_letters(durable=name)] == [first.id]
    await store(bus, channel, numbered("end"))
    assert numbers(await take(bus, channel, f"{name}-2", 4)) == ["one", "two", "waits", "end"]


async def test_a_dry_run_says_and_does_nothing(bus: MessageBus, channel: str, name: str) -> None:
    """Of redrive and of purge; a limit takes the oldest, and says how many remain."""
    ids = tuple(letter.id for letter in await bury(bus, channel, name, "a", "b", "c"))
    mine = DeadLetterFilter(durable=name)
    said = await bus.redrive(mine, dry_run=True, limit=2)
    assert (said.redriven, said.remaining, said.ids) == (2, 1, ids[:2])
    assert await bus.purge(mine, dry_run=True) == 3
    assert await bus.purge([ids[0]], dry_run=True) == 1
    assert len([letter async for letter in bus.dead_letters(durable=name)]) == 3
    assert await bus.redrive(mine, limit=2) == said
    assert numbers(await take(bus, channel, name, 2)) == ["a", "b"]


async def test_purged_they_are_gone(bus: MessageBus, channel: str, name: str) -> None:
    """By ids or by filter; another subscription's stay."""
    first, second, third = await bury(bus, channel, name, "a", "b", "c")
    (kept,) = await bury(bus, f"{channel}:2", f"{name}-2", "kept")
    assert await bus.purge([first.id, first.id]) == 1
    assert await bus.purge(DeadLetterFilter(durable=name, error_contains="no c")) == 1
    assert [letter.id async for letter in bus.dead_letters(durable=name)] == [second.id]
    assert third.id != second.id
    assert [letter.id async for letter in bus.dead_letters(durable=f"{name}-2")] == [kept.id]


async def test_a_filter_that_matches_nothing_says_so(bus: MessageBus, name: str) -> None:
    """No error: the figures say 0."""
    redriven = await bus.redrive(DeadLetterFilter(durable=name))
    assert (redriven.redriven, redriven.guarded, redriven.orphaned, redriven.remaining) == (0, 0, 0, 0)
    assert await bus.purge(DeadLetterFilter(durable=name)) == 0


async def test_what_was_redriven_too_often_stays_unless_forced(bus: MessageBus, channel: str, name: str) -> None:
    """The guard against loops: after three redrives it stays, which is said; force gives it back all the same."""
    (letter,) = await bury(bus, channel, name, "loops")
    for _ in range(MAX_REDRIVES):
        assert (await bus.redrive([letter.id])).redriven == 1
        await terminate(bus, channel, name, 1)
        (letter,) = await letters(bus, 1, durable=name)
    guarded = await bus.redrive(DeadLetterFilter(durable=name))
    assert (guarded.redriven, guarded.guarded) == (0, 1)
    assert (await bus.redrive(DeadLetterFilter(durable=name), force=True)).redriven == 1
    assert [message.attempt for message in await take(bus, channel, name, 1)] == [MAX_REDRIVES + 2]


async def test_those_of_a_deleted_subscription_stay(bus: MessageBus, channel: str, name: str) -> None:
    """By a filter they are counted as orphaned; by id that is refused."""
    (letter,) = await bury(bus, channel, name, "left")
    await bus.delete_durable(name)
    assert (await bus.redrive(DeadLetterFilter(durable=name))).orphaned == 1
    with pytest.raises(SubscriptionNotFoundError) as caught:
        await bus.redrive([letter.id])
    assert caught.value.details["durable"] == name
    assert await bus.purge([letter.id]) == 1


async def test_an_unknown_id_is_refused_and_nothing_is_done(bus: MessageBus, channel: str, name: str) -> None:
    """One unknown among known ones: refused by its id, and the known ones stay."""
    (letter,) = await bury(bus, channel, name, "known")
    unknown = letter.id + 1_000_000
    for attempt in (bus.redrive([letter.id, unknown]), bus.purge([letter.id, unknown])):
        with pytest.raises(DeadLetterNotFoundError) as caught:
            await attempt
        assert caught.value.details["dead_letter_id"] == unknown
    assert [each.id async for each in bus.dead_letters(durable=name)] == [letter.id]
