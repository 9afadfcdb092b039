"""Live messages and requests between clients of three replicas of one bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import grpc
import pytest

from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from tests.replicas.fleet import Fleet, fleet
from trunkline import (
    AgentMessage,
    GrpcMessageBus,
    MessageCallback,
    NoRespondersError,
    Priority,
    Request,
    RequestCancelledError,
    RequestNotFoundError,
)
from trunkline.v1 import bus_pb2, bus_pb2_grpc

Three = tuple[GrpcMessageBus, GrpcMessageBus, GrpcMessageBus]


@pytest.fixture(scope="module")
def shared() -> Iterator[Fleet]:
    """Three replicas over a Redis that stands alone. Use channels of your own."""
    with fleet(3) as made:
        yield made


@pytest.fixture
async def three(shared: Fleet) -> AsyncIterator[Three]:
    """A client of each."""
    async with AsyncExitStack() as stack:
        a, b, c = [await stack.enter_async_context(bus) for bus in shared.buses()]
        yield a, b, c


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"replicas:{uuid4().hex}"


async def echo(request: Request) -> dict[str, object]:
    return {"echo": request.payload["n"]}


def held(inbox: Inbox, release: asyncio.Event) -> MessageCallback:
    """What keeps each message, and is busy with it until it is released."""

    async def wait(message: AgentMessage) -> None:
        await inbox(message)
        await release.wait()

    return wait


async def test_a_group_gets_each_message_once(three: Three, channel: str) -> None:
    """10,000 messages published at two replicas, six members at three: each message to one of them, and each member has
    its share."""
    members = [Inbox() for _ in range(6)]
    for number, member in enumerate(members):
        await three[number % 3].subscribe(channel, member, group="workers", credit=256)
    for n in range(5_000):
        await three[0].publish(channel, numbered(n))
        await three[1].publish(channel, numbered(5_000 + n))
    async with asyncio.timeout(PATIENCE):
        while sum(len(member.messages) for member in members) < 10_000:  # noqa: ASYNC110  # many inboxes, no one event
            await asyncio.sleep(0.01)
    assert sorted(n for member in members for n in member.numbers) == list(range(10_000))
    assert all(len(member.messages) > 100 for member in members), [len(member.messages) for member in members]


async def test_who_leaves_leaves_the_rest_to_members_elsewhere(three: Three, channel: str) -> None:
    """What waits for the last member of a replica goes to another replica's."""
    release, stuck, rest = asyncio.Event(), Inbox(), Inbox()
    a, b, c = three
    await b.subscribe(channel, held(stuck, release), group="workers", credit=2)
    publishing = [asyncio.ensure_future(a.publish(channel, numbered(n))) for n in range(50)]
    await stuck.have(1)
    await asyncio.gather(*publishing)
    await a.flush()
    await c.subscribe(channel, rest, group="workers")
    await rest.have(48)
    release.set()
    await b.unsubscribe(channel)


async def test_who_joins_at_another_replica_gets_what_waits(three: Three, channel: str) -> None:
    """It was published where a busy member is, before anybody else was in the group."""
    release, stuck, rest = asyncio.Event(), Inbox(), Inbox()
    _, b, c = three
    await b.subscribe(channel, held(stuck, release), group="workers", credit=2)
    for n in range(50):
        await b.publish(channel, numbered(n))
    await b.flush()
    await stuck.have(1)
    await c.subscribe(channel, rest, group="workers")
    await rest.have(48)
    release.set()
    await stuck.have(2)
    assert stuck.numbers == [0, 1]
    assert rest.numbers == list(range(2, 50))


async def test_who_joins_at_another_replica_answers_what_waits(three: Three, channel: str) -> None:
    """Requests too: whoever is free answers them, and where a busy one leaves without an answer, so does another."""
    release = asyncio.Event()
    began = asyncio.Event()

    async def wait(request: Request) -> dict[str, object]:
        began.set()
        await release.wait()
        return {"echo": -1}

    _, b, c = three
    await b.respond(channel, wait, group="workers")
    asked = [asyncio.ensure_future(b.request(channel, numbered(n), timeout=PATIENCE)) for n in range(20)]
    await began.wait()
    await b.flush()
    await c.respond(channel, echo, group="workers")
    async with asyncio.timeout(PATIENCE):
        while sum(each.done() for each in asked) < 15:  # noqa: ASYNC110  # many requests, no one event
            await asyncio.sleep(0.01)
    assert sum(each.done() for each in asked) < 20
    release.set()
    answers = [(await each).payload["echo"] for each in asked]
    assert {answer for answer in answers if answer != -1} < set(range(20))
    assert [n for n, answer in enumerate(answers) if answer not in (-1, n)] == []


async def test_the_only_member_of_a_replica_leaves_and_comes_back(three: Three, channel: str) -> None:
    """It gets its share again, as if it had never been there."""
    a, b, c = three
    gate = asyncio.Event()
    gate.set()

    async def hold(_: AgentMessage) -> None:
        await gate.wait()

    await c.subscribe(channel, hold, group="workers")
    inbox = Inbox()
    for _ in range(3):
        gate.set()
        await b.subscribe(channel, inbox, group="workers")
        have = len(inbox.messages)
        gate.clear()  # the other one is full soon, and all that comes then is this one's
        async with asyncio.timeout(PATIENCE):
            while len(inbox.messages) < have + 8:
                await a.publish(channel, numbered(0))
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # nothing is under way when it leaves: what it had credit for, it has again
        await b.unsubscribe(channel)
        await b.flush()
    gate.set()


async def test_what_waits_for_a_member_that_is_torn_off_goes_to_members_elsewhere(
    shared: Fleet, three: Three, channel: str
) -> None:
    """It has no credit and does not read, so much waits at its replica, which goes on when the member is gone."""
    _, b, c = three
    rest, large = Inbox(), "x" * 65_536
    async with grpc.aio.insecure_channel(shared.replicas[1].address) as line:
        stub: Any = bus_pb2_grpc.BusServiceStub(line)
        member = stub.Subscribe()
        start = bus_pb2.SubscribeRequest.Start(pattern=channel, group="workers")
        await member.write(bus_pb2.SubscribeRequest(start=start))
        assert (await member.read()).WhichOneof("frame") == "started"
        await c.subscribe(channel, rest, group="workers")
        for n in range(1_000):
            await b.publish(channel, AgentMessage(message_type="x", sender_id="me", payload={"n": n, "text": large}))
        await b.flush()
        taken = len(rest.messages)
        member.cancel()
    async with asyncio.timeout(PATIENCE):
        await b.flush()
        await b.publish(channel, numbered("last"))
        await rest.until(lambda: "last" in rest.numbers and len(rest.messages) > taken + 1, "what waited")


async def test_each_subscriber_gets_each_message_once_whatever_matches(three: Three, channel: str) -> None:
    """Several patterns of one replica that match, and a group: one copy for each subscription."""
    a, b, _ = three
    inboxes = [Inbox() for _ in range(4)]
    base = channel.rpartition(":")[0]
    await b.subscribe(channel, inboxes[0])
    await b.subscribe(f"{base}:*", inboxes[1])
    await b.subscribe(f"{base}:>", inboxes[2])
    await b.subscribe(channel, inboxes[3], group="workers")
    for n in range(20):
        await a.publish(channel, numbered(n))
    for inbox in inboxes:
        await inbox.have(20)
    await a.flush()
    mine = [[n for n in inbox.numbers if isinstance(n, int)] for inbox in inboxes]
    assert mine == [list(range(20))] * 4
    sequences = [message.sequence for message in inboxes[0].messages]
    assert sequences == sorted(set(sequences))
    assert [message.sequence for message in inboxes[3].messages] == sequences


async def test_sequences_of_two_replicas_differ(three: Three, channel: str) -> None:
    """A sequence names one message in the whole fleet."""
    inbox = Inbox()
    await three[2].subscribe(channel, inbox)
    for bus in three:
        for n in range(10):
            await bus.publish(channel, numbered(n))
    await inbox.have(30)
    assert len({message.sequence for message in inbox.messages}) == 30


async def test_higher_priorities_go_first(three: Three, channel: str) -> None:
    """Of what waits for a subscriber of another replica."""
    a, b, _ = three
    go_on, inbox = asyncio.Event(), Inbox()

    async def slow(message: AgentMessage) -> None:
        await inbox(message)
        await go_on.wait()

    await b.subscribe(channel, slow, credit=1)
    await a.publish(channel, numbered("first"))
    await inbox.have(1)
    for priority in (Priority.LOW, Priority.MEDIUM, Priority.HIGH, Priority.CRITICAL):
        await a.publish(channel, numbered(priority.name, priority=priority))
    await a.flush()

    async def waiting() -> int:
        return sum([each.queued_messages async for each in b.subscriptions(channel)])

    async with asyncio.timeout(PATIENCE):
        while await waiting() < 4:  # noqa: ASYNC110  # the other replica tells nobody
            await asyncio.sleep(0.01)
    go_on.set()
    await inbox.have(5)
    assert inbox.numbers == ["first", "CRITICAL", "HIGH", "MEDIUM", "LOW"]


async def test_a_reply_may_be_published_at_any_replica(three: Three, channel: str) -> None:
    """Asked at one, heard at another, answered at the third; its channel's subscribers get it too."""
    a, b, c = three
    seen = Inbox()

    async def reply(message: AgentMessage) -> None:
        await c.publish(f"{channel}:r", message.create_response("x", "y", {"n": message.payload["n"]}))

    await a.subscribe(f"{channel}:r", seen)
    await b.subscribe(channel, reply)
    for n in range(20):
        assert (await a.request(channel, numbered(n), PATIENCE)).payload == {"n": n}
    await seen.have(20)
    assert seen.numbers == list(range(20))


async def test_anybody_cancels_a_request_at_any_replica(three: Three, channel: str) -> None:
    """Who asked and who works on it hear of it; an id that nobody knows is refused."""
    a, b, c = three
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work(_: Request) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await b.respond(channel, work)
    message = numbered(1)
    asked = asyncio.ensure_future(a.request(channel, message, PATIENCE))
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        await c.cancel(message.message_id, by="operator", reason="too dear")
        with pytest.raises(RequestCancelledError) as caught:
            await asked
        await ended.wait()
    assert (caught.value.details["by"], caught.value.details["reason"]) == ("operator", "too dear")
    for bus in three:
        with pytest.raises(RequestNotFoundError):
            await bus.cancel("never-heard-of")


async def test_nobody_answers_is_said_of_the_whole_fleet(three: Three, channel: str) -> None:
    """At once where nobody is there, and where only observers are; not any more when somebody came."""
    a, b, c = three
    with pytest.raises(NoRespondersError):
        await a.request(channel, numbered(1), PATIENCE)
    observing = asyncio.ensure_future(anext(b.messages(channel, observer=True)))
    async with asyncio.timeout(PATIENCE):
        while not observing.done():  # interest is registered at the first step: publish until it is heard
            await a.publish(channel, numbered("seen"))
            await asyncio.wait({observing}, timeout=0.01)
    with pytest.raises(NoRespondersError):
        await a.request(channel, numbered(1), PATIENCE)
    await c.respond(channel, echo)
    assert (await a.request(channel, numbered(2), PATIENCE)).payload == {"echo": 2}
    assert (await b.request(channel, numbered(3), PATIENCE)).payload == {"echo": 3}
    await c.unsubscribe(channel)
    await c.flush()
    with pytest.raises(NoRespondersError):
        await b.request(channel, numbered(4), PATIENCE)


async def test_two_askers_with_one_correlation_id(three: Three, channel: str) -> None:
    """The second is refused, though it asks at another replica."""
    a, b, c = three
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Request) -> dict[str, int]:
        begun.set()
        await go_on.wait()
        return {"n": 1}

    await c.respond(channel, slow)
    first = asyncio.ensure_future(a.request(channel, numbered(1, correlation_id="the-same"), PATIENCE))
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        with pytest.raises(Exception, match="in use by another pending request") as caught:
            await b.request(channel, numbered(2, correlation_id="the-same"), PATIENCE)
        assert caught.value.details["field"] == "correlation_id"  # type: ignore[attr-defined]
        go_on.set()
        assert (await first).payload == {"n": 1}


async def test_a_subscriber_that_does_not_read_delays_no_publisher_elsewhere(three: Three, channel: str) -> None:
    """What waits for it is bounded, there; others get everything."""
    a, b, _ = three
    stuck, good = asyncio.Event(), Inbox()

    async def wait(_: AgentMessage) -> None:
        await stuck.wait()

    await b.subscribe(channel, wait, credit=1)
    await b.subscribe(channel, good)
    async with asyncio.timeout(PATIENCE):
        for n in range(20_000):
            await a.publish(channel, numbered(n))
        await a.flush()
        await good.have(20_000)
    assert good.numbers == list(range(20_000))
    stuck.set()


async def test_subscriptions_of_the_whole_fleet_are_listed(three: Three, channel: str) -> None:
    """Asked of any replica, in pages, with the name of the replica that has each; so do the figures."""
    for number, bus in enumerate(three):
        for _ in range(60):
            await bus.subscribe(channel, Inbox(), credit=number + 1)
    names = {(await bus.statistics()).replica for bus in three}
    assert len(names) == 3
    for bus in three:
        figures = await bus.statistics()
        assert {figures.replica, *figures.other_replicas} == names
        found = [each async for each in bus.subscriptions(channel)]
        assert len({(each.replica, each.id) for each in found}) == len(found) == 180
        assert {each.replica for each in found} == names
        assert {len({each.credit for each in found if each.replica == name}) for name in names} == {1}


async def test_replicas_of_other_prefixes_are_other_buses(shared: Fleet, three: Three, channel: str) -> None:
    """One Redis may carry several installations."""
    with fleet(1, "--redis-prefix", "another", url=shared.url) as alone:
        async with alone.buses()[0] as bus:
            inbox = Inbox()
            await three[0].subscribe(channel, inbox)
            with pytest.raises(NoRespondersError):
                await bus.request(channel, numbered(1), PATIENCE)
            await bus.publish(channel, numbered(1))
            await bus.flush()
            await three[1].publish(channel, numbered(2))
            await inbox.have(1)
            assert inbox.numbers == [2]
