"""Replicas: what messages cost Redis, and how much more two replicas take than one."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from redis import Redis

from scripts.bench.contender import of_peer
from scripts.bench.peer import Service
from scripts.bench.peers.our_redis import TrunklineOverRedis
from scripts.bench.peers.our_replicas import TrunklineReplicas
from scripts.bench.promise import Figure, Promise
from scripts.bench.resources import CpuClock
from scripts.bench.stage import RUN_SECONDS, Stage, stage
from scripts.bench.works import durable, state, stored

MESSAGES: Final = 200_000
BATCH: Final = 10_000
"""Published and taken by the service before the next, so that none is dropped."""
KEPT: Final = 30_000
MOST_COMMANDS: Final = 20.0
MOST_KEPT: Final = 100.0
MOST_SAVED: Final = 4_000.0
"""Commands of scripts count: each save has three of its own, to write a record, its head and the log."""
MOST_KEPT_CPU: Final = 10.0
MOST_SAVE_CPU: Final = 70.0
"""Microseconds."""
LEAST_LOAD: Final = 1.6


class _Costs(NamedTuple):
    """Of one run: microseconds of CPU for each message of a bus alone, of a replica whose client subscribes there, and
    of both where the subscriber is a client of the other; and commands to Redis for 1,000 messages."""

    alone: float
    here: float
    there: float
    commands: float


async def measure(runs: int) -> Sequence[Figure]:
    """The medians of so many runs.

    On a machine with few cores, two replicas, publishers and subscribers have them in turn, so the rate says nothing
    of what two machines take. The CPU that a replica uses for a message does: it takes as many as its core has time
    for. Half of the messages have a subscriber at the publisher's replica, half at the other.
    """
    found = [await _run() for _ in range(runs)]
    load = statistics.median(2 * each.alone / ((each.here + each.there) / 2) for each in found)
    commands = statistics.median(each.commands for each in found)
    return [
        Figure("publish load of two replicas, of one's, by CPU", "times", load, LEAST_LOAD, more_is_better=True),
        Figure("commands to Redis for 1,000 messages that cross", "commands", commands, MOST_COMMANDS),
        *await _of_redis(),
    ]


async def _of_redis() -> Sequence[Figure]:
    figures: list[Figure] = []
    for what, spent in (await _kept()).items():
        commands, cpu = (MOST_SAVED, MOST_SAVE_CPU) if what.startswith("saves") else (MOST_KEPT, MOST_KEPT_CPU)
        figures.append(Figure(f"commands to Redis for 1,000 {what}", "commands", 1_000 * spent.commands, commands))
        figures.append(Figure(f"CPU of Redis for each of {what}", "µs", spent.cpu, cpu))
    return figures


async def _run() -> _Costs:
    async with stage(of_peer("trunkline-bytes"), "bus") as place:
        alone = await _cost(place, place.pids, {})
    async with stage(of_peer("trunkline-replicas"), "bus") as place:
        peer = place.peer
        assert isinstance(peer, TrunklineReplicas)
        _, *replicas = place.pids
        here = await _cost(place, replicas, {})
        with Redis(port=peer.redis_port) as client:
            before = _commands(client)
            there = await _cost(place, replicas, {"port": peer.second})
            commands = (_commands(client) - before) / MESSAGES * 1_000
    return _Costs(alone, here, there, commands)


async def _cost(place: Stage, pids: Sequence[int], where: dict[str, int]) -> float:
    """Microseconds of CPU of the brokers for each message."""
    subscriber = await place.role("subscriber", count=MESSAGES, **where)
    publisher = await place.role("publisher", count=MESSAGES, batch=BATCH)
    brokers = CpuClock(*pids)
    subscriber.go()
    publisher.go()
    await publisher.result(RUN_SECONDS)
    await subscriber.result(RUN_SECONDS)
    return brokers.used() / MESSAGES * 1e6


class _Spent(NamedTuple):
    """What Redis did for one of many: commands, and microseconds of CPU."""

    commands: float
    cpu: float


class _Meter:
    """Measures what a Redis does from now on."""

    def __init__(self, client: Redis, pid: int) -> None:
        self._client = client
        self._clock = CpuClock(pid)
        self._before = _commands(client)

    def each(self) -> _Spent:
        return _Spent((_commands(self._client) - self._before) / KEPT, self._clock.used() / KEPT * 1e6)


async def _kept() -> Mapping[str, _Spent]:
    """What Redis does for each of what is kept there, by what that is."""
    async with _over_redis("bus") as (place, client):
        meter = _Meter(client, place.pids[0])
        await stored.store(place, KEPT, stored.IN_FLIGHT, warm_up=0)
        storing = meter.each()
        meter = _Meter(client, place.pids[0])
        await durable.rate(place, KEPT)
        consuming = meter.each()
    async with _over_redis("state") as (place, client):
        saver = await place.role("saver", count=KEPT, in_flight=state.IN_FLIGHT, warm_up=0)
        meter = _Meter(client, place.pids[0])
        saver.go()
        await saver.result(RUN_SECONDS)
        saving = meter.each()
    return {
        "stored messages, 512 in flight": storing,
        "consumed messages": consuming,
        "saves, 64 in flight": saving,
    }


@asynccontextmanager
async def _over_redis(service: Service) -> AsyncIterator[tuple[Stage, Redis]]:
    """A service of ours that keeps all in Redis, and a client of that Redis."""
    async with stage(of_peer("trunkline-redis"), service) as place:
        peer = place.peer
        assert isinstance(peer, TrunklineOverRedis)
        with Redis(port=peer.redis_port) as client:
            yield place, client


def _commands(client: Redis) -> int:
    """Commands that Redis did, but those that ask it for that."""
    found = client.info("commandstats")
    assert isinstance(found, dict)
    return sum(each["calls"] for name, each in found.items() if name != "cmdstat_info")


REPLICAS = Promise("replicas", measure)
