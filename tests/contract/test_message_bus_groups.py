"""What every MessageBus promises of groups: subscribers that share one subscription's messages."""

from __future__ import annotations

import asyncio

from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from trunkline import AgentMessage, MessageBus


async def test_each_message_goes_to_one_member(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """Each message to one of them: none twice, none missing; who has no group gets every one."""
    members = [Inbox() for _ in range(4)]
    for n, member in enumerate(members):
        await (bus, other)[n % 2].subscribe(channel, member, group="workers")
    everything = Inbox()
    await other.subscribe(channel, everything)
    for n in range(400):
        await bus.publish(channel, numbered(n))
    await everything.have(400)
    all_taken = Inbox()
    await _all_of(members, 400)
    assert sorted(n for member in members for n in member.numbers) == list(range(400))
    assert all(len(member.messages) > 0 for member in members), "each member had its share"
    assert all_taken.messages == []


async def _all_of(members: list[Inbox], count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while sum(len(member.messages) for member in members) < count:  # noqa: ASYNC110  # many inboxes, no one event
            await asyncio.sleep(0.005)


async def test_groups_of_different_names_or_patterns_are_apart(bus: MessageBus, channel: str) -> None:
    """A group is its pattern and its name: two groups each get every message."""
    first, second, wider = Inbox(), Inbox(), Inbox()
    await bus.subscribe(channel, first, group="one")
    await bus.subscribe(channel, second, group="two")
    await bus.subscribe(f"{channel.rpartition(':')[0]}:*", wider, group="one")
    for n in range(10):
        await bus.publish(channel, numbered(n))
    for inbox in (first, second, wider):
        await inbox.have(10)
        assert inbox.numbers == list(range(10))


async def test_work_goes_to_who_is_free(bus: MessageBus, other: MessageBus, channel: str) -> None:
    """A member that is busy is not given what another could do at once, beyond what it was sent ahead."""
    release, busy, free = asyncio.Event(), Inbox(), Inbox()

    async def stuck(message: AgentMessage) -> None:
        await busy(message)
        await release.wait()

    await bus.subscribe(channel, stuck, group="workers")
    await other.subscribe(channel, free, group="workers")
    publishing = [asyncio.ensure_future(bus.publish(channel, numbered(n))) for n in range(200)]
    await busy.have(1)
    await free.have(196)
    release.set()
    await asyncio.gather(*publishing)
    await _all_of([busy, free], 200)
    assert sorted([*busy.numbers, *free.numbers]) == list(range(200))


async def test_a_member_that_leaves_leaves_the_rest_to_the_others(bus: MessageBus, channel: str) -> None:
    """When a member unsubscribes, the others get what is published from then on."""
    base = channel.rpartition(":")[0]
    leaving, staying = Inbox(), Inbox()
    stream = bus.messages(channel, group="workers")
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await bus.subscribe(f"{base}:ready", leaving)
    await bus.publish(channel, numbered("first"))
    assert (await asyncio.wait_for(first, PATIENCE)).payload == {"n": "first"}
    await bus.subscribe(channel, staying, group="workers")
    await stream.aclose()
    for n in range(20):
        await bus.publish(channel, numbered(n))
    await staying.have(20)
    assert staying.numbers == list(range(20))
