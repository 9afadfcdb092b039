"""Histories of a state service, while its programs are killed and stand still: one order explains each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from tests.conftest import StartProgram
from tests.linearizability.history import Call, History, Verb, explain
from tests.linearizability.workload import Workload
from tests.programs import RunningProgram
from tests.redis.servers import RedisServer, running

Fault = Callable[[], Awaitable[None]]

BETWEEN = 150
"""Calls that are answered between two faults."""


@pytest.fixture
def synced_redis() -> Iterator[RedisServer]:
    """A Redis that syncs each write before it answers."""
    with running(appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
def replicas(start_program: StartProgram, synced_redis: RedisServer) -> list[RunningProgram]:
    """Two state services over one Redis."""
    environment = {"TRUNKLINE_STATE_REDIS_URL": synced_redis.url}
    return [start_program("state", "--engine", "redis", env=environment) for _ in range(2)]


def kill(workload: Workload, program: RunningProgram) -> Fault:
    """Kills a program amid calls, and starts it again."""

    async def do() -> None:
        program.kill()
        await asyncio.to_thread(program.restart)

    return do


def pause(workload: Workload, program: RunningProgram) -> Fault:
    """Holds a replica until some callers have given up, so that it goes on with what nobody waits for."""

    async def do() -> None:
        program.pause()
        try:
            await workload.given_up(3)
        finally:
            program.resume()

    return do


def kill_redis(server: RedisServer) -> Fault:
    """Kills Redis and starts it on its data."""

    async def do() -> None:
        server.kill()
        await asyncio.to_thread(server.start)

    return do


async def among(workload: Workload, faults: Sequence[Fault]) -> None:
    """Lets faults happen, one after the other, amid calls."""
    for fault in faults:
        await workload.answered(BETWEEN)
        await fault()
    await workload.answered(BETWEEN)


def judge(history: History) -> None:
    """Asserts that one order explains what each record's callers heard; and that a stale read would have been found."""
    orders = {key: explain(history.of(key)) for key in history.keys}
    assert not [history.of(key) for key, order in orders.items() if order is None]
    planted = [calls for key in history.keys if (calls := with_stale_read(history.of(key)))]
    assert planted
    assert all(explain(calls) is None for calls in planted)


def with_stale_read(calls: Sequence[Call]) -> list[Call]:
    """Returns the calls as if the last get had answered what another save had replaced before the get began; []: there
    is no such get."""
    for index in reversed(range(len(calls))):
        call = calls[index]
        if call.verb is not Verb.GET:
            continue
        before = [each for each in calls if each.verb is Verb.SAVE and each.revision and each.ended < call.began]
        if len(before) < 2:
            return []
        # One with a lower revision: it was replaced before the later one was answered.
        stale = min(before, key=lambda each: each.revision or 0)
        return [*calls[:index], replace(call, value=stale.value, revision=stale.revision), *calls[index + 1 :]]
    return []


async def test_two_replicas_over_one_redis(replicas: list[RunningProgram], synced_redis: RedisServer) -> None:
    """8 clients; each replica is killed and stands still, and so does Redis."""
    first, second = replicas
    async with Workload([program.address for program in replicas]) as workload:
        faults = [
            kill(workload, first),
            pause(workload, second),
            kill_redis(synced_redis),
            kill(workload, second),
            pause(workload, first),
            kill(workload, first),
        ]
        await among(workload, faults)
    tell(workload)
    judge(workload.history)


async def test_one_service_over_a_file(killable_state: RunningProgram) -> None:
    """The same promise, by SQLite."""
    async with Workload([killable_state.address]) as workload:
        await among(workload, [fault(workload, killable_state) for fault in (kill, pause, kill, pause, kill)])
    tell(workload)
    judge(workload.history)


def tell(workload: Workload) -> None:
    calls = workload.history.calls
    refused = sum(call.refused is not None for call in calls)
    print(f"{len(calls)} calls, {refused} refused, {workload.lost} lost, errors {workload.errors}")  # noqa: T201
