"""What every MessageBus tells of a message beside its fields: channel, sequence, ordering key."""

from __future__ import annotations

import asyncio
import copy

from tests.bus.durable.calls import eventually
from tests.contract.durables import store, take
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from trunkline import AgentMessage, MessageBus


async def test_a_live_message_tells_its_channel_and_sequence(bus: MessageBus, channel: str) -> None:
    """Also where a pattern matches many channels; sequences rise in order of publication."""
    exact, pattern = Inbox(), Inbox()
    await bus.subscribe(f"{channel}:a", exact)
    await bus.subscribe(f"{channel}:*", pattern)
    for name in ("a", "b", "a"):
        await bus.publish(f"{channel}:{name}", numbered(name))
    first, second = await exact.have(2)
    messages = await pattern.have(3)
    assert [message.channel for message in messages] == [f"{channel}:{name}" for name in ("a", "b", "a")]
    assert {message.channel for message in (first, second)} == {f"{channel}:a"}
    sequences = [message.sequence for message in messages]
    assert sequences == sorted(set(sequences))
    assert sequences[0] >= 1
    assert [first.sequence, second.sequence] == [sequences[0], sequences[2]]


async def test_an_iterator_tells_them_too(bus: MessageBus, channel: str) -> None:
    """The same as a callback gets."""
    stream = bus.messages(f"{channel}:>")
    step = asyncio.ensure_future(anext(stream))

    async def subscribed() -> bool:
        return [each.pattern async for each in bus.subscriptions(f"{channel}:>")] != []

    await eventually(subscribed, bool)
    await bus.publish(f"{channel}:a:b", numbered(1))
    message = await asyncio.wait_for(step, PATIENCE)
    await stream.aclose()
    assert (message.channel, message.sequence >= 1, message.ordering_key) == (f"{channel}:a:b", True, None)


async def test_a_stored_message_has_the_sequence_of_its_receipt(bus: MessageBus, channel: str, name: str) -> None:
    """Live and durable, with its ordering key."""
    inbox = Inbox()
    await bus.subscribe(channel, inbox)
    await bus.create_durable(name, channel)
    (receipt,) = await store(bus, channel, numbered(1), ordering_key="k")
    (live,) = await inbox.have(1)
    (durable,) = await take(bus, channel, name, 1)
    for message in (live, durable):
        assert (message.channel, message.sequence, message.ordering_key) == (channel, receipt.sequence, "k")


async def test_a_reply_tells_its_channel(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """The one that it was published on."""

    async def answer(message: AgentMessage) -> None:
        await other.publish(f"{channel}:reply", message.create_response("agent", "task_result", {}))

    await other.subscribe(channel, answer)
    assert (await bus.request(channel, numbered(1), PATIENCE)).channel == f"{channel}:reply"


async def test_they_take_no_part_in_equality_and_dumps(bus: MessageBus, channel: str) -> None:
    """What arrives equals what was published, which tells none of them; a copy tells what its original did."""
    inbox = Inbox()
    await bus.subscribe(channel, inbox)
    sent = numbered(1)
    await bus.publish(channel, sent)
    (came,) = await inbox.have(1)
    assert came == sent
    assert came.model_dump() == sent.model_dump()
    assert (sent.channel, sent.sequence, sent.ordering_key) == ("", 0, None)
    for copied in (came.model_copy(), copy.deepcopy(came)):
        assert copied == sent
        assert (copied.channel, copied.sequence) == (channel, came.sequence)


async def test_a_dead_letter_tells_where_its_message_was_published(bus: MessageBus, channel: str, name: str) -> None:
    """Channel, sequence and ordering key of its message."""
    await bus.create_durable(name, f"{channel}:*")
    (receipt,) = await store(bus, f"{channel}:a", numbered(1), ordering_key="k")
    stream = bus.messages(f"{channel}:*", durable=name)
    await (await asyncio.wait_for(anext(stream), PATIENCE)).terminate("never")
    await stream.aclose()

    async def died() -> bool:
        return await bus.count_dead_letters(durable=name) == 1

    await eventually(died, bool)
    (message,) = [letter.message async for letter in bus.dead_letters(durable=name)]
    assert (message.channel, message.sequence, message.ordering_key) == (f"{channel}:a", receipt.sequence, "k")
