"""Replicas that are killed without warning, of the bus and of the state, while agents in Python and Go work: what
was answered is kept, and what fails does so with an error of ours, until clients are connected again. Run with `-s`, it
says for how long."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import pytest

from tests.programs import RunningProgram
from tests.redis import servers
from tests.redis.replicas import Replicas
from tests.redis.traffic import longest_pause, until
from tests.replicas.balancer import balanced
from tests.replicas.parts import Part, number_of, numbered, parts
from trunkline import TrunklineError

BUSES, STATES = 3, 2
SECONDS = 3.0
"""Of work before each kill."""

LANGUAGES: Final = ("python", "go")
BUS_PARTS: Final = ("subscriber", "worker", "responder", "publisher", "storer", "asker")
STATE_PARTS: Final = ("writer", "reader")
AGENTS: Final = 10
LAST: Final = 0
"""The number of the last live message; those before begin at 1."""


class Calls:
    """Calls that are made again and again: when each kind was answered, and how it failed."""

    def __init__(self) -> None:
        self.answered: defaultdict[str, list[float]] = defaultdict(list)
        self.failed: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.goes_on = True

    async def repeat(self, kind: str, call: Callable[[int], Awaitable[object]]) -> None:
        """Makes calls of a kind one after the other, each with its number; one that fails is not made again."""
        loop = asyncio.get_running_loop()
        answered, number = self.answered[kind], 0
        while self.goes_on:
            number += 1
            try:
                await call(number)
            except TrunklineError as error:
                self.failed[kind][type(error).__name__] += 1
            else:
                answered.append(loop.time())
            await asyncio.sleep(0.01)

    def gap(self, kind: str, since: float) -> float:
        """The longest time between two answers, in seconds; the last one goes on until now."""
        answered = (each for each in self.answered[kind] if each > since)
        return longest_pause([since, *answered, asyncio.get_running_loop().time()])

    async def until_all_go_on(self, since: float) -> None:
        """Waits until each kind was answered some times more."""
        await until(
            lambda: all(sum(each > since for each in times) > 20 for times in self.answered.values()),
            f"calls of each kind to be answered; failed: {dict(self.failed)}",
        )


class Agents:
    """At work of every kind, in one language; each client connects again by itself.

    Args:
        calls: what they make.
        language: that they are written in.
    """

    def __init__(self, calls: Calls, language: str) -> None:
        self._calls = calls
        self._language = language
        self._parts: dict[str, Part] = {}
        self.receipted: list[int] = []
        self.saved: dict[str, int] = {}
        self.published: set[int] = set()
        """Live, and taken by a bus."""

    async def work(self, stack: AsyncExitStack, tasks: asyncio.TaskGroup, bus: str, state: str) -> None:
        """Begins."""
        for address, of, names in ((bus, "bus", BUS_PARTS), (state, "state", STATE_PARTS)):
            self._parts |= await stack.enter_async_context(parts(self._language, address, of, *names))
        of_bus = {"pattern": f"{self._language}:live", "name": "live"}
        await self._parts["subscriber"].do("subscribe", **of_bus)
        some_are_held = {"concurrency": 16, "takes": 0.1}  # when a replica is killed
        of_journal = {"pattern": f"{self._language}:work", "name": "stored", "durable": f"{self._language}-workers"}
        await self._parts["worker"].do("subscribe", **of_journal, **some_are_held)
        await self._parts["responder"].do("respond", pattern=f"{self._language}:ask")
        for number in range(1, AGENTS + 1):
            await self._save(number)
        for kind, call in (
            ("live publish", self._publish),
            ("stored publish", self._store),
            ("request", self._ask),
            ("save", self._save),
            ("get", self._get),
        ):
            tasks.create_task(self._calls.repeat(f"{self._language}, {kind}", call))

    async def _publish(self, number: int) -> None:
        channel = f"{self._language}:live"
        await self._parts["publisher"].do("publish", channel=channel, messages=[numbered(number)])
        self.published.add(number)

    async def _store(self, number: int) -> None:
        channel = f"{self._language}:work"
        await self._parts["storer"].do("publish", channel=channel, messages=[numbered(number)], stored=True)
        self.receipted.append(number)

    async def _ask(self, number: int) -> None:
        channel = f"{self._language}:ask"
        reply = await self._parts["asker"].do("request", channel=channel, message=numbered(number), timeout=5)
        assert number_of(reply) == number

    async def _save(self, number: int) -> None:
        agent = f"{self._language}-{number % AGENTS}"
        await self._parts["writer"].do("save", record={"id": agent, "type": "t", "errors": str(number)})
        self.saved[agent] = number

    async def _get(self, number: int) -> None:
        await self._parts["reader"].do("get", id=f"{self._language}-{number % AGENTS}")

    async def check(self) -> None:
        """All that was answered is kept; what came again says so."""
        receipted = set(self.receipted)
        deliveries: defaultdict[int, list[int]] = defaultdict(list)
        while not deliveries.keys() >= receipted:
            (came,) = (await self._parts["worker"].do("expect", **{"from": "stored"}))["messages"]
            deliveries[number_of(came)].append(came["attempt"])
        assert all(attempts == sorted(set(attempts)) for attempts in deliveries.values()), "each with its number"
        for agent, number in self.saved.items():
            kept = (await self._parts["reader"].do("get", id=agent))["record"]
            assert int(kept["errors"]) >= number

    async def live_lost(self) -> int:
        """Of live messages that a bus took, how many did not come."""
        last = {"channel": f"{self._language}:live", "messages": [numbered(LAST)]}
        await self._parts["publisher"].do("publish", **last)
        heard: set[int] = set()
        while LAST not in heard:
            heard.add(number_of((await self._parts["subscriber"].do("expect", **{"from": "live"}))["messages"][0]))
        return len(self.published - heard)


@pytest.mark.timeout(900)
async def test_replicas_that_are_killed_lose_nothing_that_was_answered() -> None:
    """The owner of the journal, of its other replicas the one with most clients, and a state service; each is started
    again."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(servers.running(appendonly="yes", appendfsync="always"))
        buses = await asyncio.to_thread(stack.enter_context, Replicas(redis, BUSES))
        states = [RunningProgram("state", "--engine", "redis", "--redis-url", redis.url) for _ in range(STATES)]
        for state in states:
            stack.callback(state.end)
            await asyncio.to_thread(state.start)
        at_bus = await stack.enter_async_context(balanced(buses.addresses))
        at_state = await stack.enter_async_context(balanced([state.address for state in states]))
        calls = Calls()
        agents = {language: Agents(calls, language) for language in LANGUAGES}
        async with asyncio.TaskGroup() as tasks:
            for each in agents.values():
                await each.work(stack, tasks, at_bus.address, at_state.address)
            await _kill("the owner", await asyncio.to_thread(buses.settle), calls)
            others = await asyncio.to_thread(lambda: buses.others)
            await _kill("another bus", max(others, key=lambda each: at_bus.open.get(each.address, 0)), calls)
            await _kill("a state service", states[0], calls)
            calls.goes_on = False
        for language, each in agents.items():
            await each.check()
            live = f"live lost {await each.live_lost()} of {len(each.published)}"
            print(f"{language}: receipted {len(each.receipted)}, lost 0; {live}")  # noqa: T201


async def _kill(what: str, victim: RunningProgram, calls: Calls) -> None:
    """Lets all work for some time, kills a program, starts it again, and waits until all go on."""
    await asyncio.sleep(SECONDS)
    began = asyncio.get_running_loop().time()
    before = {kind: failed.copy() for kind, failed in calls.failed.items()}
    await asyncio.to_thread(victim.kill)
    await asyncio.to_thread(victim.start)
    await calls.until_all_go_on(asyncio.get_running_loop().time())
    for kind in calls.answered:
        failed = calls.failed[kind] - before.get(kind, Counter())
        gap = calls.gap(kind, began)
        print(f"{what} is killed: {kind}: none for {gap:.1f} s, failed {dict(failed)}")  # noqa: T201
