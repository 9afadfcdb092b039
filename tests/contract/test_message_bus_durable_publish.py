"""What every MessageBus promises of a stored publish: a receipt that says what was reached, and each message once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from tests.contract.durables import numbers, store, take
from tests.contract.inbox import Inbox, numbered
from trunkline import AgentMessage, Durability, MessageBus, Receipt


async def test_a_receipt_says_sequence_time_and_what_was_reached(bus: MessageBus, bus_kind: str, channel: str) -> None:
    """The receipt states what was reached and no more: in memory only, or in the journal."""
    before = datetime.now(UTC) - timedelta(seconds=1)
    first, second = await store(bus, channel, numbered(1), numbered(2))
    assert second.sequence > first.sequence >= 1
    assert before <= first.time <= second.time <= datetime.now(UTC) + timedelta(seconds=1)
    assert first.durability is (Durability.MEMORY if bus_kind == "memory" else Durability.STORED)
    assert not first.duplicate
    assert not second.duplicate
    assert bus.published_count == 2


async def test_the_same_message_id_is_stored_once(bus: MessageBus, other: MessageBus, channel: str, name: str) -> None:
    """Publishing the same message id again stores nothing and says so, with the first one's sequence and time; also
    from another client."""
    await bus.create_durable(name, channel)
    message = numbered("once")
    first = await bus.publish(channel, message, stored=True)
    for publisher in (bus, other, bus):
        again = await publisher.publish(channel, message, stored=True)
        assert again.duplicate
        assert (again.sequence, again.durability) == (first.sequence, first.durability)
        assert abs(again.time - first.time) < timedelta(milliseconds=1)
    await bus.publish(channel, numbered("end"), stored=True)
    assert numbers(await take(bus, channel, name, 2)) == ["once", "end"]


async def test_a_receipt_tells_how_many_it_was_for(
    bus: MessageBus, other: MessageBus, channel: str, name: str, expired: AgentMessage
) -> None:
    """Live subscriptions, a group once, and durable ones. What was not published was for nobody."""
    [nobody] = await store(bus, channel, numbered(0))
    assert nobody.matched == 0
    await other.subscribe(channel, Inbox())
    for member in (bus, other):
        await member.subscribe(f"{channel.rpartition(':')[0]}:>", Inbox(), group="g")
    await bus.create_durable(name, channel)
    message = numbered(1)
    receipts = await store(bus, channel, message, message, expired)
    assert [receipt.matched for receipt in receipts] == [3, 0, 0]
    assert receipts[1].duplicate
    later = await bus.publish(channel, numbered(2), stored=True, deliver_after=600)
    assert later.matched == 0


async def test_live_subscribers_get_what_is_stored_too(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """A stored message also goes to who listens now, once, in the order of publication."""
    inbox = Inbox()
    await other.subscribe(channel, inbox)
    messages = [numbered(n) for n in range(10)]
    await store(bus, channel, *messages)
    await bus.publish(channel, messages[3], stored=True)
    await bus.publish(channel, numbered("live"))
    await inbox.have(11)
    assert inbox.numbers == [*range(10), "live"]


async def test_a_stored_reply_answers_its_request(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """A reply is any message with the request's correlation id, stored or not."""

    async def answer(message: AgentMessage) -> None:
        await other.publish(f"{channel}:r", message.create_response("tests", "x", {"n": "yes"}), stored=True)

    await other.subscribe(channel, answer)
    assert (await bus.request(channel, numbered(1), timeout=10)).payload == {"n": "yes"}


async def test_an_expired_message_is_dropped_and_its_receipt_says_so(
    bus: MessageBus, channel: str, name: str, expired: AgentMessage
) -> None:
    """Past its TTL: sequence 0, nothing stored, nothing counted."""
    await bus.create_durable(name, channel)
    receipt = await bus.publish(channel, expired, stored=True)
    assert receipt.sequence == 0
    assert bus.published_count == 0
    await bus.publish(channel, numbered("end"), stored=True)
    assert numbers(await take(bus, channel, name, 1)) == ["end"]


async def test_many_at_once_are_stored_in_order(bus: MessageBus, channel: str, name: str) -> None:
    """Many in flight: each has its own receipt, the order of publication is the order of sequences."""
    await bus.create_durable(name, channel)
    publishing = [bus.publish(channel, numbered(n), stored=True) for n in range(600)]
    receipts: list[Receipt] = await asyncio.gather(*publishing)
    sequences = [receipt.sequence for receipt in receipts]
    assert sequences == sorted(set(sequences))
    taken = await take(bus, channel, name, 600, credit=100)
    assert numbers(taken) == list(range(600))
    assert [message.sequence for message in taken] == sequences
