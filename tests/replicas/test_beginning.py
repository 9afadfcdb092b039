"""How a subscription begins where there are several replicas."""

from __future__ import annotations

import asyncio

from tests.contract.inbox import Inbox
from tests.patience import PATIENCE
from tests.redis import servers
from tests.redis.replicas import Replicas
from tests.replicas.by_hand import ByHand, taking_part
from trunkline import GrpcMessageBus
from trunklined.bus.replicas import items


async def _answer(late: ByHand, behind: items.Item) -> None:
    """Answers all, for ever; before its first answer it brings what waited for the other."""
    waiting = [behind]
    while True:
        for heard in await late.hear():
            answer: items.Item
            match heard:
                case items.Flush(call):
                    answer = items.Flushed(call)
                case items.Interest(version):
                    answer = items.Known(version)
                case _:
                    continue
            await late.say(*waiting, answer)
            waiting.clear()


async def test_what_was_published_before_it_began_goes_past_a_subscription() -> None:
    """Another replica is late with a message. Who was here gets it. Who subscribes now, since he goes on from a third
    replica, has had it there."""
    with servers.running() as redis, Replicas(redis, 1) as made:
        async with GrpcMessageBus(made.addresses[0]) as bus, asyncio.timeout(PATIENCE):
            before, new = Inbox(), Inbox()
            await bus.subscribe("live:news", before)
            async with taking_part(redis, "late") as late:
                await late.say(items.Hello("late", [], 0, welcome=False))
                while not any(isinstance(item, items.Hello) for item in await late.hear()):
                    pass
                answering = asyncio.create_task(_answer(late, late.message("live:news", 1)))
                await bus.subscribe("live:*", new)
                answering.cancel()
                await late.say(late.message("live:news", 2))
                await new.have(1)
                await before.have(2)
                assert (before.numbers, new.numbers) == ([1, 2], [2])
