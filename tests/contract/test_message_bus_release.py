"""What every MessageBus promises of messages that are given back, and of what goes wrong beside the messages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.bus.durable.calls import eventually
from tests.contract.durables import store
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    Backoff,
    DurableMessage,
    DurableSettings,
    InvalidMessageError,
    MessageBus,
    StaleAckError,
    SubscriptionNotFoundError,
    TrunklineError,
)

ONCE = DurableSettings(max_deliveries=1, backoff=Backoff(initial=3_600, maximum=3_600))


async def test_a_released_message_goes_to_the_next_at_once(
    bus: MessageBus, other: MessageBus, channel: str, name: str
) -> None:
    """No attempt is counted, so that also the only one that is allowed is still to come; no backoff is waited for."""
    await bus.create_durable(name, channel, settings=ONCE)
    await store(bus, channel, numbered(1))
    first = bus.messages(channel, durable=name, credit=1)
    held = await asyncio.wait_for(anext(first), PATIENCE)
    second = other.messages(channel, durable=name)
    waiting = asyncio.ensure_future(anext(second))
    await held.release()
    assert held.settled
    await first.aclose()
    again = await asyncio.wait_for(waiting, PATIENCE)
    assert (again.message_id, again.attempt, again.sequence) == (held.message_id, 1, held.sequence)
    await again.ack()
    await second.aclose()
    await bus.flush()
    now = await bus.durable(name)
    assert (now.dead_lettered, now.redelivered) == (0, 0)


async def test_a_callback_that_releases_acks_nothing(bus: MessageBus, channel: str, name: str) -> None:
    """What is settled stays as it was settled: returning afterwards changes nothing."""
    inbox = Inbox()

    async def give_back_once(message: DurableMessage) -> None:
        await inbox(message)
        if len(inbox.messages) == 1:
            await message.release()
            await message.ack()
            await message.nak("too late")

    await bus.subscribe(channel, give_back_once, durable=name, settings=ONCE)
    await store(bus, channel, numbered(1))
    messages: list[Any] = await inbox.have(2)
    assert [message.attempt for message in messages] == [1, 1]


async def test_only_what_was_handed_out_can_be_released() -> None:
    """A message that was made here is refused as with ack."""
    message = DurableMessage(message_type="x", sender_id="y")
    with pytest.raises(InvalidMessageError):
        await message.release()


async def test_an_ordering_key_goes_on_with_the_released_message(bus: MessageBus, channel: str, name: str) -> None:
    """Not with the one behind it."""
    await bus.create_durable(name, channel)
    await store(bus, channel, numbered(1), numbered(2), ordering_key="k")
    stream = bus.messages(channel, durable=name)
    await (await asyncio.wait_for(anext(stream), PATIENCE)).release()
    assert [(await asyncio.wait_for(anext(stream), PATIENCE)).payload["n"] for _ in range(2)] == [1, 2]
    await stream.aclose()


async def test_the_end_of_a_durable_subscription_is_told(
    bus: MessageBus, other: MessageBus, channel: str, name: str
) -> None:
    """To `on_error`, once, where callbacks take from it."""
    errors: asyncio.Queue[TrunklineError] = asyncio.Queue()
    await bus.subscribe(channel, Inbox(), durable=name, on_error=errors.put_nowait)
    await other.delete_durable(name)
    error = await asyncio.wait_for(errors.get(), PATIENCE)
    assert isinstance(error, SubscriptionNotFoundError)
    await bus.flush()
    assert errors.empty()


async def test_a_subscription_that_is_refused_is_raised_alone(
    bus: MessageBus, channel: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By `subscribe`: neither `on_error` nor the log says it a second time."""
    await bus.create_durable(name, channel)
    errors: list[TrunklineError] = []
    with pytest.raises(TrunklineError):
        await bus.subscribe(f"{channel}:other", Inbox(), durable=name, on_error=errors.append)
    await bus.flush()
    assert errors == []
    assert "ended the subscription" not in caplog.text


async def test_messages_that_were_handed_on_are_told(
    bus: MessageBus, other: MessageBus, channel: str, name: str
) -> None:
    """A seek gives up what is leased: the ack that follows is refused, with the sequences that it was for."""
    errors: asyncio.Queue[TrunklineError] = asyncio.Queue()
    came, go_on = Inbox(), asyncio.Event()

    async def slow(message: AgentMessage) -> None:
        await came(message)
        await go_on.wait()

    await bus.create_durable(name, channel)
    (receipt,) = await store(bus, channel, numbered(1))
    await bus.subscribe(channel, slow, durable=name, on_error=errors.put_nowait)
    await came.have(1)
    await other.seek_durable(name, "new")
    go_on.set()
    error = await asyncio.wait_for(errors.get(), PATIENCE)
    assert isinstance(error, StaleAckError)
    assert error.details["sequences"] == [receipt.sequence]


async def test_with_a_credit_of_one_a_member_that_stops_took_no_more(
    bus: MessageBus, other: MessageBus, channel: str
) -> None:
    """The next message is sent when it is asked for: the others of the group get all the rest."""
    rest, go_on = Inbox(), asyncio.Event()

    async def slow(message: AgentMessage) -> None:
        await rest(message)
        await go_on.wait()

    await other.subscribe(channel, slow, group="g", credit=1)
    stream = bus.messages(channel, group="g", credit=1)
    step = asyncio.ensure_future(anext(stream))

    async def both_take_part() -> bool:
        return len([each async for each in bus.subscriptions(channel)]) == 2

    await eventually(both_take_part, bool)
    await bus.flush()  # other replicas know of it
    publishing = [asyncio.ensure_future(other.publish(channel, numbered(number))) for number in range(6)]
    taken = [(await asyncio.wait_for(each, PATIENCE)).payload["n"] for each in (step, anext(stream))]
    await bus.flush()  # what it takes beyond that, it has taken now
    await stream.aclose()
    go_on.set()
    await rest.have(4)
    await asyncio.gather(*publishing)
    assert sorted([*taken, *rest.numbers]) == [0, 1, 2, 3, 4, 5]
