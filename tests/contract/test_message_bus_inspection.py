"""What every MessageBus says of itself: durable subscriptions, subscriptions, figures, single dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.bus.durable.calls import eventually
from tests.contract.conftest import MakeBus
from tests.contract.durables import store
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    Backoff,
    BusNotConnectedError,
    DeadLetterNotFoundError,
    DeadLetterReason,
    DurableInfo,
    DurableSettings,
    InvalidChannelError,
    InvalidMessageError,
    MessageBus,
    SubscriptionNotFoundError,
)

SOON = timedelta(minutes=1)


async def terminate(bus: MessageBus, channel: str, name: str, count: int) -> None:
    """Makes dead letters of so many messages, and returns when the bus has them."""
    stream = bus.messages(channel, durable=name)
    for _ in range(count):
        message = await asyncio.wait_for(anext(stream), PATIENCE)
        await message.terminate(f"no {message.payload['n']}")
    await stream.aclose()

    async def there() -> bool:
        return await bus.count_dead_letters(durable=name) >= count

    await eventually(there, bool)


async def test_a_durable_subscription_is_told_as_it_is(bus: MessageBus, channel: str, name: str) -> None:
    """Name, pattern, settings, when it was made, and what becomes of its messages."""
    settings = DurableSettings(ack_wait=5.5, max_deliveries=7, backoff=Backoff(0.25, 3.0, 90.0))
    await bus.create_durable(name, channel, settings=settings)
    receipts = await store(bus, channel, *map(numbered, range(3)))
    made = await bus.durable(name)
    assert (made.name, made.pattern, made.settings) == (name, channel, settings)
    assert abs(made.created_at - datetime.now(UTC)) < SOON
    assert (made.waiting, made.leased, made.retrying, made.subscribers) == (3, 0, 0, 0)
    assert made.next_sequence <= receipts[0].sequence

    stream = bus.messages(channel, durable=name, credit=2)
    first = await asyncio.wait_for(anext(stream), PATIENCE)

    async def two_are_leased() -> bool:
        return (await bus.durable(name)).leased == 2

    await eventually(two_are_leased, bool)
    held = await bus.durable(name)
    assert (held.waiting, held.subscribers, held.acked) == (1, 1, 0)
    await first.ack()
    await stream.aclose()

    async def given_back() -> bool:
        now = await bus.durable(name)
        return (now.acked, now.leased, now.waiting + now.retrying, now.subscribers) == (1, 0, 2, 0)

    await eventually(given_back, bool)


async def test_durable_subscriptions_are_listed_by_name(bus: MessageBus, channel: str, name: str) -> None:
    """More than fit on a page; each as `durable` tells it."""
    names = [f"{name}-{number:03}" for number in range(120)]
    await asyncio.gather(*(bus.create_durable(each, channel) for each in reversed(names)))
    found = [each async for each in bus.durables() if each.name.startswith(name)]
    assert [each.name for each in found] == names
    assert all(isinstance(each, DurableInfo) for each in found)
    assert found[7] == await bus.durable(names[7])
    for each in names:
        await bus.delete_durable(each)


async def test_an_unknown_durable_subscription_is_said_to_be_so(bus: MessageBus, name: str) -> None:
    """With its name."""
    with pytest.raises(SubscriptionNotFoundError) as caught:
        await bus.durable(name)
    assert caught.value.details["durable"] == name


async def test_subscriptions_are_listed_with_what_waits(bus: MessageBus, channel: str, name: str) -> None:
    """Live, in a group, and durable; all, or those of one pattern."""
    before = {each.id async for each in bus.subscriptions()}
    await bus.subscribe(channel, Inbox())
    await bus.subscribe(f"{channel}:*", Inbox(), group="workers", credit=5)
    await bus.subscribe(f"{channel}:>", Inbox(), durable=name)
    live, group, durable = [each async for each in bus.subscriptions() if each.id not in before]
    assert [each.pattern for each in (live, group, durable)] == [channel, f"{channel}:*", f"{channel}:>"]
    assert [each.group for each in (live, group, durable)] == ["", "workers", ""]
    assert [each.durable for each in (live, group, durable)] == ["", "", name]
    assert group.credit == 5
    assert abs(live.started_at - datetime.now(UTC)) < SOON
    assert (live.queued_messages, live.queued_bytes, live.dropped, live.delivered) == (0, 0, 0, 0)
    await bus.publish(channel, numbered(1))

    async def delivered() -> bool:
        return [each.delivered async for each in bus.subscriptions(channel)] == [1]

    await eventually(delivered, bool)
    assert [each async for each in bus.subscriptions(f"{channel}:nobody")] == []


async def test_a_subscription_that_waits_for_credit_tells_what_is_queued(bus: MessageBus, channel: str) -> None:
    """With credit 1, the second message is sent when the callback has returned."""
    go_on, inbox = asyncio.Event(), Inbox()

    async def slow(message: AgentMessage) -> None:
        await inbox(message)
        await go_on.wait()

    await bus.subscribe(channel, slow, credit=1)
    publishing = [asyncio.ensure_future(bus.publish(channel, numbered(number))) for number in range(3)]
    await inbox.have(1)

    async def two_wait() -> bool:
        return [each.queued_messages async for each in bus.subscriptions(channel)] == [2]

    await eventually(two_wait, bool)
    assert [each.credit async for each in bus.subscriptions(channel)] == [0]
    go_on.set()
    await inbox.have(3)
    await asyncio.gather(*publishing)


async def test_a_malformed_pattern_is_refused(bus: MessageBus) -> None:
    """Before anything is listed."""
    with pytest.raises(InvalidChannelError):
        await anext(bus.subscriptions("a:>:b"))


async def test_statistics_count_what_passes(bus: MessageBus, channel: str, name: str) -> None:
    """Each figure rises by what was done; what is held now is told as it is."""
    before = await bus.statistics()
    inbox = Inbox()
    await bus.subscribe(channel, inbox)
    await bus.create_durable(name, channel)
    await store(bus, channel, numbered(1), numbered(2))
    await bus.publish(channel, numbered(3))
    await inbox.have(3)
    await terminate(bus, channel, name, 2)
    # In memory a dead letter can be found a moment before it counts.
    after = await eventually(bus.statistics, lambda now: now.dead_lettered - before.dead_lettered >= 2)
    assert after.started_at == before.started_at
    assert (after.engine, after.version) == (before.engine, before.version)
    assert after.engine in ("memory", "sqlite")
    assert after.published - before.published >= 3
    assert after.delivered - before.delivered >= 5
    assert after.stored - before.stored >= 2
    assert after.dead_lettered - before.dead_lettered >= 2
    assert after.dead_letters - before.dead_letters >= 2
    assert after.durable_subscriptions - before.durable_subscriptions == 1
    assert after.connections >= 0  # a bus in memory has none
    assert set(after.dropped) == {"evicted", "expired", "lagged", "vanished"}
    assert after.journal_messages >= 2


async def test_one_dead_letter_is_found_by_its_id(bus: MessageBus, channel: str, name: str) -> None:
    """As it is listed."""
    await bus.create_durable(name, channel)
    await store(bus, channel, numbered(1), numbered(2))
    await terminate(bus, channel, name, 2)
    second, first = [letter async for letter in bus.dead_letters(durable=name)]
    assert await bus.dead_letter(first.id) == first
    assert await bus.dead_letter(second.id) == second
    assert (first.error, second.error) == ("no 1", "no 2")


@pytest.mark.parametrize("id", [2**62, 1_000_000_000])
async def test_an_unknown_dead_letter_is_said_to_be_so(bus: MessageBus, id: int) -> None:
    """By its id."""
    with pytest.raises(DeadLetterNotFoundError):
        await bus.dead_letter(id)


async def test_dead_letters_are_counted_and_listed_up_to_a_limit(bus: MessageBus, channel: str, name: str) -> None:
    """By the filters of `dead_letters`; brief ones have neither payload nor attempts."""
    await bus.create_durable(name, channel)
    await store(bus, channel, *map(numbered, range(5)))
    await terminate(bus, channel, name, 5)
    assert await bus.count_dead_letters(durable=name) == 5
    assert await bus.count_dead_letters(durable=name, reason=DeadLetterReason.TERMINATED) == 5
    assert await bus.count_dead_letters(durable=name, reason=DeadLetterReason.EXPIRED) == 0
    assert await bus.count_dead_letters(durable=name, error_contains="no 3") == 1
    newest = [letter async for letter in bus.dead_letters(durable=name, limit=2)]
    assert [letter.message.payload["n"] for letter in newest] == [4, 3]
    assert all(letter.attempts for letter in newest)
    brief = [letter async for letter in bus.dead_letters(durable=name, brief=True)]
    assert [letter.error for letter in brief] == [f"no {number}" for number in (4, 3, 2, 1, 0)]
    assert {(letter.attempts, "payload" in letter.message.model_dump()) for letter in brief} == {((), False)}


@pytest.mark.parametrize(
    ("chosen", "error"),
    [({"channel": "a:>:b"}, InvalidChannelError), ({"durable": "a b"}, InvalidChannelError)],
)
async def test_a_filter_that_cannot_be_is_refused(
    bus: MessageBus, chosen: dict[str, Any], error: type[Exception]
) -> None:
    """Counting as listing; nothing is asked."""
    with pytest.raises(error):
        await bus.count_dead_letters(**chosen)
    with pytest.raises(InvalidMessageError):
        bus.dead_letters(limit=0)


CALLS: dict[str, Callable[[MessageBus], Awaitable[Any]]] = {
    "durable": lambda bus: bus.durable("a"),
    "durables": lambda bus: anext(bus.durables()),
    "subscriptions": lambda bus: anext(bus.subscriptions()),
    "statistics": lambda bus: bus.statistics(),
    "dead_letter": lambda bus: bus.dead_letter(1),
    "dead_letters": lambda bus: anext(bus.dead_letters()),
    "count_dead_letters": lambda bus: bus.count_dead_letters(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_without_a_connection_nothing_is_told(new_bus: MakeBus, call: str) -> None:
    """Each call says that it is not connected."""
    with pytest.raises(BusNotConnectedError):
        await CALLS[call](new_bus())
