"""Replicas that are killed without warning, of the bus and of the state, while agents work: what was answered is kept,
and what fails does so with an error of ours, until clients are connected again. Run with `-s`, it says for how long."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from tests.patience import PATIENCE
from tests.programs import RunningProgram
from tests.redis import servers
from tests.redis.replicas import Replicas
from tests.redis.traffic import longest_pause, until
from tests.replicas.balancer import balanced
from tests.replicas.test_moving import number_of, numbered
from trunkline import (
    AgentMessage,
    AgentState,
    DurableMessage,
    GrpcMessageBus,
    GrpcStateManager,
    Request,
    TrunklineError,
)

BUSES, STATES = 3, 2
SECONDS = 3.0
"""Of work before each kill."""


class Calls:
    """Calls that are made again and again: when each kind was answered, and how it failed."""

    def __init__(self) -> None:
        self.answered: defaultdict[str, list[float]] = defaultdict(list)
        self.failed: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.goes_on = True

    async def repeat(self, kind: str, call: Callable[[int], Awaitable[object]]) -> None:
        """Makes calls of a kind one after the other, each with its number; one that fails is not made again."""
        loop = asyncio.get_running_loop()
        number = 0
        while self.goes_on:
            number += 1
            try:
                await call(number)
            except TrunklineError as error:
                self.failed[kind][type(error).__name__] += 1
            else:
                self.answered[kind].append(loop.time())
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
    """At work of every kind; each client connects again by itself."""

    def __init__(self, calls: Calls, bus: str, state: str) -> None:
        self._calls = calls
        self._bus, self._state = bus, state
        self.receipted: list[int] = []
        self.saved: dict[str, int] = {}
        self.deliveries: defaultdict[int, list[int]] = defaultdict(list)
        """Of each stored message the attempts in which it came."""
        self.live_published = 0
        self.live_heard: set[int] = set()

    async def work(self, stack: AsyncExitStack, tasks: asyncio.TaskGroup) -> None:
        """Begins."""
        subscriber, worker, responder, publisher, storer, asker = [
            await stack.enter_async_context(GrpcMessageBus(self._bus, connect_timeout=PATIENCE)) for _ in range(6)
        ]
        writer, reader = [
            await stack.enter_async_context(GrpcStateManager(self._state, connect_timeout=PATIENCE)) for _ in range(2)
        ]

        async def on_live(message: AgentMessage) -> None:
            self.live_heard.add(number_of(message))

        async def on_stored(message: DurableMessage) -> None:
            self.deliveries[number_of(message)].append(message.attempt)
            await asyncio.sleep(0.1)  # some are held when a replica is killed

        async def answer(request: Request) -> dict[str, Any]:
            return {"n": request.payload["n"]}

        await subscriber.subscribe("live:>", on_live)
        await worker.subscribe("stored:>", on_stored, durable="workers", concurrency=16)
        await responder.respond("ask:>", answer, concurrency=4)

        async def publish(number: int) -> None:
            await publisher.publish("live:news", numbered(number))
            self.live_published = number

        async def store(number: int) -> None:
            await storer.publish("stored:work", numbered(number), stored=True)
            self.receipted.append(number)

        async def ask(number: int) -> None:
            assert number_of(await asker.request("ask:me", numbered(number), timeout=5)) == number

        async def save(number: int) -> None:
            await writer.save_agent_state(AgentState(agent_id=f"a{number % 10}", agent_type="t", error_count=number))
            self.saved[f"a{number % 10}"] = number

        async def get(number: int) -> None:
            await reader.get_agent_state(f"a{number % 10}")

        for kind, call in (
            ("live publish", publish),
            ("stored publish", store),
            ("request", ask),
            ("save", save),
            ("get", get),
        ):
            tasks.create_task(self._calls.repeat(kind, call))

    async def check(self) -> None:
        """All that was answered is kept; what came again says so."""
        await until(lambda: self.deliveries.keys() >= set(self.receipted), "all that has a receipt")
        assert all(attempts == sorted(set(attempts)) for attempts in self.deliveries.values()), "each with its number"
        async with GrpcStateManager(self._state, connect_timeout=PATIENCE) as state:
            for agent, number in self.saved.items():
                kept = await state.get_agent_state(agent)
                assert kept is not None
                assert kept.error_count >= number


async def test_replicas_that_are_killed_lose_nothing_that_was_answered() -> None:
    """The owner of the journal, another replica of the bus, and one of the state service, each started again."""
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
        agents = Agents(calls, at_bus.address, at_state.address)
        async with asyncio.TaskGroup() as tasks:
            await agents.work(stack, tasks)
            await _kill("the owner", await asyncio.to_thread(buses.settle), calls)
            await _kill("another bus", (await asyncio.to_thread(lambda: buses.others))[0], calls)
            await _kill("a state service", states[0], calls)
            calls.goes_on = False
        await agents.check()
        gone = agents.live_published - len(agents.live_heard)
        print(f"receipted {len(agents.receipted)}, lost 0; live lost {gone} of {agents.live_published}")  # noqa: T201


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
