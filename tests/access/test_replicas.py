"""Replicas of one bus: each holds the permissions, whichever a client calls and whichever owns the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.access.conftest import Issuer
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from tests.redis.servers import RedisServer, running
from trunkline import (
    AgentMessage,
    DurableMessage,
    GrpcMessageBus,
    MessageType,
    OverloadedError,
    PermissionDeniedError,
)

POLICY = """
[[allow]]
who = ["maker"]
durable.create = ["jobs"]
durable.join = ["jobs"]
subscribe = ["jobs:>"]
inspect = ["list", "stats"]

[[allow]]
who = ["worker"]
durable.join = ["jobs", "others"]
durable.settle = ["jobs"]
publish = ["jobs:{identity}"]
subscribe = ["jobs:>"]
"""


@pytest.fixture
def redis_alone() -> Iterator[RedisServer]:
    """A Redis of this test alone."""
    with running() as server:
        yield server


@pytest.fixture
def replicas(
    redis_alone: RedisServer, issuer: Issuer, access_file: Callable[[str], Path]
) -> Iterator[list[RunningProgram]]:
    """Two replicas over one Redis: the one that owns the journal first."""
    options = ("--engine", "redis", "--redis-url", redis_alone.url, *issuer.options)
    access = ("--access-file", str(access_file(POLICY)))
    programs: list[RunningProgram] = []
    try:
        for _ in range(2):
            programs.append(RunningProgram("bus", *options, *access))
            programs[-1].start()
        yield programs
    finally:
        for program in programs:
            program.end()


async def test_what_goes_by_way_of_another_replica_is_held_to_the_callers_own_rights(
    replicas: list[RunningProgram], issuer: Issuer, access_file: Callable[[str], Path]
) -> None:
    """A worker joins what is there, and makes nothing; it publishes, stored, where it may; when its right ends, so does
    its subscription, although that is open at the other replica."""
    _, other = replicas
    maker = GrpcMessageBus(other.address, token=issuer.token("maker"))
    worker = GrpcMessageBus(other.address, token=issuer.token("worker"))
    got: asyncio.Queue[Any] = asyncio.Queue()
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def work(message: DurableMessage) -> None:
        got.put_nowait(message.payload)

    async with maker, worker, asyncio.timeout(PATIENCE):
        assert await maker.create_durable("jobs", "jobs:>")
        await worker.subscribe("jobs:>", work, durable="jobs", on_error=ended.set_result)
        with pytest.raises(PermissionDeniedError) as caught:
            await worker.subscribe("jobs:>", work, durable="others")
        assert caught.value.details == {"right": "durable.create", "object": "others", "identity": "worker"}
        with pytest.raises(PermissionDeniedError):
            await worker.pause_durable("jobs")
        with pytest.raises(PermissionDeniedError):
            await worker.publish("jobs:maker", _task(), stored=True)
        await worker.publish("jobs:worker", _task(), stored=True)
        assert await got.get() == {"work": 1}
        assert (await maker.statistics()).durable_subscriptions == 1

        access_file(POLICY.replace('durable.join = ["jobs", "others"]', ""))
        error = await ended
        assert isinstance(error, PermissionDeniedError)
        assert error.details["right"] == "durable.join"


def _task() -> AgentMessage:
    return AgentMessage(message_type=MessageType.TASK_ASSIGNMENT, sender_id="x", payload={"work": 1})


async def test_limits_count_once_where_a_call_comes_in_and_where_a_subscription_is(
    replicas: list[RunningProgram], issuer: Issuer, access_file: Callable[[str], Path]
) -> None:
    """What is handed on to the journal's owner costs nothing there; a durable subscription is counted there, whichever
    replica its client calls."""
    limit = (
        '[[limit]]\nwho = ["maker"]\nmessages_per_second = 0.0001\nmessages_burst = 5\nsubscriptions = 1\n'
        '[[allow]]\nwho = ["maker"]\npublish = ["jobs:>"]\n'
    )
    access_file(f"{POLICY}{limit}")
    for program in replicas:
        await asyncio.to_thread(program.wait_for, "the access file was read anew")
    _, other = replicas
    ended: list[Any] = []
    async with GrpcMessageBus(other.address, token=issuer.token("maker")) as bus, asyncio.timeout(PATIENCE):
        await bus.create_durable("jobs", "jobs:>")
        for _ in range(4):
            await bus.publish("jobs:1", _task(), stored=True)
        with pytest.raises(OverloadedError, match="messages_per_second"):
            await bus.publish("jobs:1", _task(), stored=True)
        await bus.subscribe("jobs:>", _ignore, durable="jobs", on_error=ended.append)
        with pytest.raises(OverloadedError, match="subscriptions is 1"):
            await bus.subscribe("jobs:>", _ignore, durable="jobs")
        await bus.unsubscribe("jobs:>")
        while True:
            try:
                await bus.subscribe("jobs:>", _ignore, durable="jobs")
                break
            except OverloadedError:
                await asyncio.sleep(0.05)
        assert ended == []


async def _ignore(_: object) -> None:
    """Does nothing."""
