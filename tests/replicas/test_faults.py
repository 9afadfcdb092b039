"""What becomes of live messages and requests when a replica of the bus, or Redis, dies or stands still."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import count

import pytest

from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from tests.redis.servers import pause, resume
from tests.replicas.fleet import Fleet, fleet, raises, until_heard
from trunkline import (
    Accepted,
    GrpcMessageBus,
    NoRespondersError,
    Request,
    RequestTimeoutError,
    ResponderLostError,
)


@pytest.fixture
def two(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Two replicas, with leases of so many seconds; three times while one lasts it is seen who is gone."""
    with fleet(2, ttl=getattr(request, "param", 24.0)) as made:
        yield made


lease_ends = pytest.mark.parametrize("two", [8.0], indirect=True)
"""The test waits for that."""


@pytest.fixture
async def buses(two: Fleet) -> AsyncIterator[list[GrpcMessageBus]]:
    """A client of each."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(bus) for bus in two.buses()]


async def told(replica: RunningProgram, words: str) -> None:
    """Returns when its log has them."""
    await asyncio.to_thread(replica.wait_for, words)


def metrics(program: RunningProgram) -> str:
    """What it tells Prometheus now."""
    with urllib.request.urlopen(f"http://{program.metrics_address}/metrics", timeout=PATIENCE) as answer:
        return str(answer.read(), "utf-8")


class Stuck:
    """Works for ever."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.called_off = asyncio.Event()

    async def __call__(self, request: Request) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.called_off.set()


async def test_what_a_killed_replica_held_is_lost_at_once(two: Fleet, buses: list[GrpcMessageBus]) -> None:
    """Who asked hears RESPONDER_LOST with the responder's name; who asks then hears NO_RESPONDERS. Its lease need not
    end: Redis says that nobody listens any more."""
    a, b = buses
    stuck = Stuck()
    await b.respond("work", stuck, name="b's worker")
    events = a.request_stream("work", numbered(1), PATIENCE)
    async with asyncio.timeout(PATIENCE):
        assert isinstance(await anext(events), Accepted)
    two.replicas[1].kill()
    with pytest.raises(ResponderLostError) as caught:
        await anext(events)
    assert caught.value.details["responder"] == "b's worker"
    await raises(NoRespondersError, lambda: a.request("work", numbered(2), PATIENCE))


async def test_a_repeatable_request_goes_to_another_replica(two: Fleet, buses: list[GrpcMessageBus]) -> None:
    """It is begun again by who is left; the events say the second attempt."""
    a, b = buses
    stuck = Stuck()
    await b.respond("work", stuck, group="workers", name="first")
    events = a.request_stream("work", numbered(1), PATIENCE, repeatable=True)
    async with asyncio.timeout(PATIENCE):
        first = await anext(events)
        assert isinstance(first, Accepted)
        assert (first.responder, first.attempt) == ("first", 1)

        async def answer(_: Request) -> dict[str, int]:
            return {"done": 1}

        await a.respond("work", answer, group="workers", name="second")
        two.replicas[1].kill()
        second = await anext(events)
        assert isinstance(second, Accepted)
        assert (second.responder, second.attempt) == ("second", 2)
        assert [type(event).__name__ for event in [each async for each in events]] == ["Result"]


async def test_the_asker_s_replica_is_killed(two: Fleet, buses: list[GrpcMessageBus]) -> None:
    """Who works on it is called off: nobody waits for the answer any more."""
    a, b = buses
    stuck = Stuck()
    await b.respond("work", stuck)
    asked = asyncio.ensure_future(a.request("work", numbered(1), PATIENCE))
    async with asyncio.timeout(PATIENCE):
        await stuck.begun.wait()
        two.replicas[0].kill()
        await stuck.called_off.wait()
    asked.cancel()
    await asyncio.wait([asked])


@lease_ends
async def test_a_replica_that_stood_still_is_out_after_its_lease_and_comes_back(
    two: Fleet, buses: list[GrpcMessageBus]
) -> None:
    """While it stands still, requests that it holds wait for its lease, no longer; so does who subscribes. When it goes
    on, all of its subscribers are there again."""
    a, b = buses
    stuck, heard, mine = Stuck(), Inbox(), Inbox()
    await b.respond("work", stuck, name="frozen")
    await b.subscribe("news:*", heard)
    asked = asyncio.ensure_future(a.request("work", numbered(1), PATIENCE))
    async with asyncio.timeout(PATIENCE):
        await stuck.begun.wait()
        two.replicas[1].pause()
        with pytest.raises(ResponderLostError):
            await asked
        with pytest.raises(NoRespondersError):
            await a.request("work", numbered(2), PATIENCE)
        await a.subscribe("mine", mine)
        await a.publish("mine", numbered(1))
        await mine.have(1)
    two.replicas[1].resume()
    await until_heard(a, "news:today", heard)
    await until_heard(b, "mine", mine)


@lease_ends
async def test_subscribing_waits_for_a_replica_that_stands_still_until_its_lease_ends(
    two: Fleet, buses: list[GrpcMessageBus]
) -> None:
    """It may publish until then: who subscribes must not miss that."""
    a, b = buses
    inbox = Inbox()
    two.replicas[1].pause()
    async with asyncio.timeout(PATIENCE):
        await a.subscribe("late", inbox)
        await a.publish("late", numbered(1))
        await inbox.have(1)
    two.replicas[1].resume()
    await until_heard(b, "late", inbox)


async def test_without_redis_each_replica_goes_on_alone(two: Fleet, buses: list[GrpcMessageBus]) -> None:
    """Messages and requests of clients of one replica pass, also of those who subscribe meanwhile; those to the others
    come back by themselves with Redis, whose data are gone."""
    a, b = buses
    here, there = Inbox(), Inbox()

    async def answer(_: Request) -> dict[str, bool]:
        return {"done": True}

    await a.subscribe("news:*", here)
    await b.subscribe("news:*", there)
    await a.respond("work", answer)
    await a.publish("news:1", numbered(1))
    await here.have(1)
    await there.have(1)
    two.redis.kill()
    await told(two.replicas[0], "apart from the other replicas")
    late = Inbox()
    async with asyncio.timeout(PATIENCE):
        await a.subscribe("news:late", late)
        for n in range(10):
            await a.publish("news:late", numbered(n))
        await late.have(10)
        await here.have(11)
        assert (await a.request("work", numbered(1), PATIENCE)).payload == {"done": True}
        await raises(NoRespondersError, lambda: b.request("work", numbered(1), PATIENCE))
    assert len(there.messages) == 1
    two.redis.start()
    await until_heard(a, "news:2", there)
    await until_heard(b, "news:late", late)

    async def ask() -> None:
        await b.request("work", numbered(1), PATIENCE)
        raise LookupError

    await raises(LookupError, lambda: _but(NoRespondersError, ask))


async def _but(kind: type[Exception], ask: object) -> None:
    try:
        await ask()  # type: ignore[operator]
    except kind:
        return


@lease_ends
async def test_a_redis_that_stands_still_delays_nobody_here(two: Fleet, buses: list[GrpcMessageBus]) -> None:
    """Publishers and subscribers of one replica do not wait for it; after the lease the replicas are apart, and find
    each other when it goes on."""
    a, b = buses
    here, there = Inbox(), Inbox()
    await a.subscribe("news", here)
    await b.subscribe("news", there)
    pause(two.redis)
    try:
        async with asyncio.timeout(PATIENCE):
            for n in range(1_000):
                await a.publish("news", numbered(n))
            await here.have(1_000)
            await a.subscribe("other", Inbox())
        for replica in two.replicas:
            await told(replica, "apart from the other replicas")
    finally:
        resume(two.redis)
    await until_heard(a, "news", there)


async def test_its_metrics_say_whether_a_replica_takes_part() -> None:
    """How many others it knows, and, while Redis is away, that it is apart."""
    with fleet(2, "--metrics-address", "127.0.0.1:0") as made:
        first = made.replicas[0]

        async def says(*lines: str) -> None:
            async with asyncio.timeout(PATIENCE):
                while not set(lines) <= set((await asyncio.to_thread(metrics, first)).splitlines()):  # noqa: ASYNC110  # another process
                    await asyncio.sleep(0.05)

        await says("trunkline_bus_replicas_reached 1.0", "trunkline_bus_other_replicas 1.0")
        made.redis.kill()
        await says("trunkline_bus_replicas_reached 0.0", "trunkline_bus_other_replicas 0.0")
        made.redis.start()
        await says("trunkline_bus_replicas_reached 1.0", "trunkline_bus_replicas_joined_total 2.0")


async def test_a_replica_that_comes_later_knows_all(two: Fleet, buses: list[GrpcMessageBus]) -> None:
    """Who subscribed before it was started, and who asks through it."""
    a, b = buses
    inbox = Inbox()

    async def answer(_: Request) -> dict[str, bool]:
        return {"done": True}

    await a.subscribe("news", inbox)
    await b.respond("work", answer, group="workers")
    third = two.start(1)[2]
    async with GrpcMessageBus(third.address) as c:
        await c.publish("news", numbered(1))
        await inbox.have(1)
        assert (await c.request("work", numbered(1), PATIENCE)).payload == {"done": True}


@lease_ends
async def test_a_replica_that_is_stopped_takes_leave(two: Fleet, buses: list[GrpcMessageBus]) -> None:
    """Nobody waits for its lease: who subscribes is told at once."""
    a, _ = buses
    await asyncio.to_thread(two.replicas[1].stop)
    await told(two.replicas[0], "a replica is gone")
    async with asyncio.timeout(PATIENCE):
        await a.subscribe("news", Inbox())
    with pytest.raises(NoRespondersError):
        await a.request("work", numbered(1), PATIENCE)


async def test_a_request_ends_with_its_deadline_whatever_the_others_do(two: Fleet, buses: list[GrpcMessageBus]) -> None:
    """The responder at the other replica is called off."""
    a, b = buses
    stuck = Stuck()
    await b.respond("work", stuck)
    async with asyncio.timeout(PATIENCE):
        for n in count(1):
            with pytest.raises(RequestTimeoutError):
                await a.request("work", numbered(n), 0.3 * n)
            if stuck.begun.is_set():
                break
        await stuck.called_off.wait()
