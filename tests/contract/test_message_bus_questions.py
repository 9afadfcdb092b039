"""What every MessageBus answers to who looks for a fault: who would get a message, what became of one, what stands."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from uuid import uuid4

import pytest

from tests.bus.durable.calls import eventually
from tests.contract.durables import store
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    DurableSettings,
    InvalidChannelError,
    InvalidMessageError,
    LeftOut,
    MessageBus,
    RequestTimeoutError,
    Trace,
)

UNHELD = DurableSettings(ack_wait=600)


async def traced(bus: MessageBus, message_id: str, *kinds: str) -> Trace:
    """What is known of a message, as soon as it ends with such events."""

    async def known() -> Trace:
        return await bus.trace(message_id)

    return await eventually(known, lambda trace: [each.kind for each in trace.events][-len(kinds) :] == list(kinds))


async def test_who_would_get_a_message_is_told_with_the_reason(bus: MessageBus, channel: str, name: str) -> None:
    """Live, in a group, looking on, without credit; and the one whose pattern differs, and where."""
    await bus.subscribe(f"{channel}:>", Inbox())
    await bus.subscribe(f"{channel}:*", Inbox(), group="workers")
    await bus.subscribe(f"{channel}:a", Inbox(), observer=True)
    await bus.subscribe(f"{channel}:b", Inbox())
    found = await bus.explain(f"{channel}:a")
    by_pattern = {each.subscription.pattern: each for each in found.recipients}
    assert by_pattern.keys() == {f"{channel}:>", f"{channel}:*", f"{channel}:a"}
    assert by_pattern[f"{channel}:>"].verdict == "gets"
    assert (by_pattern[f"{channel}:*"].verdict, by_pattern[f"{channel}:*"].subscription.group) == ("shares", "workers")
    looks_on = by_pattern[f"{channel}:a"]
    assert (looks_on.verdict, looks_on.subscription.observer) == ("gets", True)
    assert "answers no request" in looks_on.why
    assert found.answered
    other = next(each for each in found.others if each.subscription.pattern == f"{channel}:b")
    assert other.verdict == "other_pattern"
    assert other.why == f"token {channel.count(':') + 2} of its pattern is 'b', of the channel 'a'"
    assert found.others[0] == other, "the closest first"
    assert (await bus.explain(f"{channel}:a", max_others=0)).others == ()
    assert not (await bus.explain(f"{name}:nobody")).answered


async def test_who_would_keep_a_message_is_told_with_the_reason(bus: MessageBus, channel: str, name: str) -> None:
    """Only where it is stored; nobody takes from it; it is paused."""
    await bus.create_durable(name, f"{channel}:>")
    (keeper,) = (await bus.explain(f"{channel}:a")).keepers
    assert (keeper.subscription.name, keeper.verdict) == (name, "if_stored")
    assert "no rule does" in keeper.why
    assert "nobody is connected" in keeper.why
    await bus.pause_durable(name)
    (keeper,) = (await bus.explain(f"{channel}:a")).keepers
    assert "it is paused" in keeper.why
    assert (await bus.explain(f"{name}:other")).keepers == ()


async def test_a_bad_question_is_refused(bus: MessageBus, channel: str) -> None:
    """With the field and the value."""
    with pytest.raises(InvalidChannelError):
        await bus.explain("a:*")
    with pytest.raises(InvalidMessageError) as caught:
        await bus.explain(channel, max_others=101)
    assert caught.value.details == {"field": "max_others", "value": "101"}
    with pytest.raises(InvalidMessageError) as caught:
        await bus.trace()
    assert caught.value.details["field"] == "id"
    for wrong in ({"older_than": -1.0}, {"limit": 0}):
        with pytest.raises(InvalidMessageError) as caught:
            await bus.stuck(**wrong)
        assert caught.value.details["field"] in wrong
    bad = {"max_rate": bus.tail(channel, max_rate=0), "max_bytes": bus.tail(channel, max_bytes=-1)}
    for field, tail in bad.items():
        with pytest.raises(InvalidMessageError) as caught:
            await anext(tail)
        assert caught.value.details["field"] == field


async def test_a_live_message_is_traced(bus: MessageBus, channel: str) -> None:
    """Published by whom, delivered to whom, and nowhere now; an id that nobody knows has nothing."""
    inbox = Inbox()
    await bus.subscribe(channel, inbox)
    message = numbered(1)
    await bus.publish(channel, message)
    trace = await traced(bus, message.message_id, "published", "delivered")
    published, delivered = trace.events
    assert (published.by, published.channel, published.message_id) == (message.sender_id, channel, message.message_id)
    assert delivered.sequence == published.sequence
    assert trace.states == ()
    assert trace.remembered_since <= published.time
    unknown = await bus.trace(uuid4().hex)
    assert (unknown.events, unknown.states) == ((), ())


async def test_a_stored_message_is_traced_through_its_life(bus: MessageBus, channel: str, name: str) -> None:
    """Stored, handed out, nakked with its error, handed out again, acked; where it is in between."""
    await bus.create_durable(name, channel, settings=UNHELD)
    message = numbered(1)
    (receipt,) = await store(bus, channel, message)
    trace = await traced(bus, message.message_id, "stored")
    (state,) = trace.states
    assert (state.state, state.durable, state.sequence) == ("waiting", name, receipt.sequence)

    stream = bus.messages(channel, durable=name)
    async with aclosing(stream):
        held = await asyncio.wait_for(anext(stream), PATIENCE)
        trace = await traced(bus, message.message_id, "stored", "handed_out")
        (state,) = trace.states
        assert (state.state, state.attempt) == ("leased", 1)
        assert state.holder == trace.events[-1].by
        assert state.due_at == trace.events[-1].due_at
        await held.nak("disk full", delay=0.01)
        again = await asyncio.wait_for(anext(stream), PATIENCE)
        trace = await traced(bus, message.message_id, "handed_out", "nakked", "handed_out")
        nakked = trace.events[-2]
        assert (nakked.error, nakked.attempt, nakked.durable) == ("disk full", 1, name)
        assert trace.states[0].error == "disk full"
        await again.ack()
        trace = await traced(bus, message.message_id, "handed_out", "acked")
        assert trace.states == ()


async def test_a_dead_letter_is_traced_with_its_attempts(bus: MessageBus, channel: str, name: str) -> None:
    """Why it died, and as which dead letter it is kept; redriven, it waits again."""
    await bus.create_durable(name, channel, settings=UNHELD)
    message = numbered(1)
    await store(bus, channel, message)
    stream = bus.messages(channel, durable=name)
    async with aclosing(stream):
        await (await asyncio.wait_for(anext(stream), PATIENCE)).terminate("no such file")
        trace = await traced(bus, message.message_id, "stored", "handed_out", "nakked", "dead")
    assert trace.events[-1].error == "terminated: no such file"
    (state,) = trace.states
    assert (state.state, state.durable) == ("dead", name)
    await bus.flush()  # the subscriber has left: it would be given what is redriven, and give it back to be tried again
    await bus.redrive([state.dead_letter_id])

    async def known() -> Trace:
        return await bus.trace(message.message_id)

    trace = await eventually(known, lambda trace: [each.state for each in trace.states] == ["waiting"])
    kinds = [each.kind for each in trace.events]
    assert kinds[kinds.index("dead") + 1] == "redriven"


async def test_a_request_is_traced_to_its_end(bus: MessageBus, channel: str) -> None:
    """By its correlation id: while it waits, and why it had no answer."""
    inbox = Inbox()
    await bus.subscribe(channel, inbox)
    message = numbered(1)
    asking = asyncio.create_task(bus.request(channel, message, timeout=3))
    await inbox.have(1)
    correlation = inbox.messages[0].correlation_id
    assert correlation
    trace = await bus.trace(correlation_id=correlation)
    (state,) = trace.states
    assert (state.state, state.channel, state.message_id) == ("pending", channel, message.message_id)
    assert "published" in {each.kind for each in trace.events}
    with pytest.raises(RequestTimeoutError):
        await asking

    async def known() -> Trace:
        return await bus.trace(correlation_id=correlation)

    # Who asks may notice first that its time is over.
    ended = (await eventually(known, lambda trace: trace.events[-1].kind == "ended")).events[-1]
    assert ended.error.startswith("REQUEST_TIMEOUT: ")


async def test_what_does_not_move_is_told(bus: MessageBus, channel: str, name: str) -> None:
    """A subscription that nobody takes from; a message that is held; a key that holds others up; who holds what."""
    await bus.create_durable(f"{name}-idle", f"{channel}:idle")
    await store(bus, f"{channel}:idle", numbered(1))
    await bus.create_durable(name, f"{channel}:work", settings=UNHELD)
    receipts = await store(bus, f"{channel}:work", *(numbered(n) for n in range(3)), ordering_key="k")
    stream = bus.messages(f"{channel}:work", durable=name)
    async with aclosing(stream):
        await asyncio.wait_for(anext(stream), PATIENCE)
        found = await bus.stuck(older_than=0, limit=1_000)
        by_name = {each.subscription.name: each for each in found.durables}
        assert by_name[f"{name}-idle"].why == "nobody is connected who takes from it"
        (held,) = [each for each in found.in_flight if each.durable == name]
        assert (held.sequence, held.messages, held.attempt) == (receipts[0].sequence, 1, 1)
        assert (held.connected, held.ordering_key) == (True, "k")
        assert held.handed_out_at < held.lease_ends_at
        (key,) = [each for each in found.keys if each.durable == name]
        assert (key.ordering_key, key.sequence, key.state) == ("k", receipts[0].sequence, "leased")
        holder = next(each for each in found.connections if each.peer == held.holder)
        assert holder.leased >= 1
        assert [each for each in (await bus.stuck()).durables if each.subscription.name.startswith(name)] == []


async def test_requests_without_an_answer_are_told(bus: MessageBus, channel: str) -> None:
    """With who has them."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_: object) -> dict[str, bool]:
        started.set()
        await go_on.wait()
        return {"done": True}

    await bus.respond(channel, answer)
    asking = asyncio.create_task(bus.request(channel, numbered(1), timeout=PATIENCE))
    await started.wait()

    async def accepted() -> bool:
        found = await bus.stuck(older_than=0, limit=1_000)
        return [each.accepted for each in found.requests if each.channel == channel] == [True]

    await eventually(accepted, bool)
    go_on.set()
    await asking
    assert [each for each in (await bus.stuck(older_than=0)).requests if each.channel == channel] == []


async def test_a_tail_shows_what_its_rate_allows_and_counts_the_rest(bus: MessageBus, channel: str) -> None:
    """It is no responder, and no message of others is lost by it; it ends with its budget."""
    inbox, started = Inbox(), asyncio.Event()
    await bus.subscribe(f"{channel}:*", inbox)
    seen: list[AgentMessage] = []
    left_out: list[LeftOut] = []

    async def look() -> None:
        async for each in bus.tail(f"{channel}:>", max_rate=5, max_messages=7, on_started=started.set):
            if isinstance(each, LeftOut):
                left_out.append(each)
            else:
                seen.append(each)

    looking = asyncio.create_task(look())
    await started.wait()
    for n in range(100):
        await bus.publish(f"{channel}:a", numbered(n))
    await inbox.have(100)
    while not looking.done():  # the rate allows two more later
        await bus.publish(f"{channel}:a", numbered(100))
        await asyncio.wait([looking], timeout=0.05)
    await looking
    assert [each.payload["n"] for each in seen[:5]] == [0, 1, 2, 3, 4]
    assert len(seen) == 7
    assert left_out[-1].total >= 95
    assert seen[0].channel == f"{channel}:a"


async def test_a_tail_is_no_responder(bus: MessageBus, channel: str) -> None:
    """A request that nobody else would get has none."""
    started = asyncio.Event()

    async def look() -> None:
        async for _ in bus.tail(channel, on_started=started.set):
            pass

    looking = asyncio.create_task(look())
    await started.wait()
    assert not (await bus.explain(channel)).answered
    looking.cancel()
    await asyncio.wait([looking])
    assert looking.cancelled()
