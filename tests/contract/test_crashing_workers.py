"""A message that kills the process of its worker: over a service and a sidecar, with real processes that die."""

from __future__ import annotations

import asyncio
import sys
from uuid import uuid4

import pytest

from tests.bus.durable.calls import eventually
from tests.contract.conftest import ADDRESS_OF
from tests.contract.durables import AT_ONCE, store
from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from trunkline import DurableSettings, GrpcMessageBus

WORKER = """
import asyncio, os, sys
from trunkline import GrpcMessageBus

async def work(message):
    if message.payload["n"] == int(sys.argv[4]):
        os._exit(9)

async def main():
    async with GrpcMessageBus(sys.argv[1]) as bus:
        await bus.subscribe(sys.argv[2], work, durable=sys.argv[3], credit=4)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["grpc", "sidecar"])
@pytest.mark.parametrize("killer", [0, 2])
async def test_what_kills_its_worker_uses_up_no_attempt_of_its_neighbours(
    request: pytest.FixtureRequest, kind: str, killer: int
) -> None:
    """durable: four messages, one of which kills its worker's process each time: one dead letter, that one."""
    address: str = request.getfixturevalue(ADDRESS_OF[kind])
    channel, name = f"contract:{uuid4().hex}", f"contract-{uuid4().hex}"
    settings = DurableSettings(ack_wait=1, max_deliveries=3, backoff=AT_ONCE.backoff)
    async with GrpcMessageBus(address) as bus:
        await bus.create_durable(name, channel, settings=settings)
        await store(bus, channel, *map(numbered, range(4)))
        exits = []
        for _ in range(3):
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-c", WORKER, address, channel, name, str(killer)
            )
            exits.append(await asyncio.wait_for(worker.wait(), 30))
        assert exits == [9, 9, 9]
        worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, address, channel, name, "-1")
        try:
            await eventually(lambda: bus.durable(name), lambda now: now.acked + now.dead_lettered == 4)
        finally:
            worker.kill()
            await worker.wait()
        await eventually(lambda: bus.count_dead_letters(durable=name), bool)  # counted before it is stored
        letters = [each async for each in bus.dead_letters(durable=name)]
        assert [letter.message.payload["n"] for letter in letters] == [killer]
        assert [attempt.error for attempt in letters[0].attempts] == ["lease expired"] * 3
        assert (await bus.durable(name)).acked == 3


@pytest.mark.parametrize("kind", ["grpc", "sidecar"])
async def test_what_was_done_stays_done_whatever_comes_after_it(request: pytest.FixtureRequest, kind: str) -> None:
    """durable: a worker that has done a message, and dies of the next one at once, has acked it; but for a first
    attempt, which goes with many others."""
    address: str = request.getfixturevalue(ADDRESS_OF[kind])
    channel, name = f"contract:{uuid4().hex}", f"contract-{uuid4().hex}"
    settings = DurableSettings(ack_wait=1, max_deliveries=3, backoff=AT_ONCE.backoff)
    async with GrpcMessageBus(address) as bus:
        await bus.create_durable(name, channel, settings=settings)
        await store(bus, channel, numbered(0))
        for killer in (0, 1):  # what is tried again comes before what is new
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-c", WORKER, address, channel, name, str(killer)
            )
            assert await asyncio.wait_for(worker.wait(), PATIENCE) == 9
            await eventually(lambda: bus.durable(name), lambda now: not now.leased)
            await store(bus, channel, numbered(1))
        assert (await bus.durable(name)).acked == 1
