"""The bus stores what a sidecar gave it, and its answer is lost: the sidecar holds it, and it is stored once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.bus.calls import reached
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from tests.redis.traffic import Way, by_client, numbered
from tests.replicas.balancer import balanced
from tests.sidecar.outage import consuming, store, stub_of
from tests.sidecar.ways import by_calls, by_stream
from trunkline import BusDisconnectedError, GrpcMessageBus, TrunklineError


@pytest.mark.parametrize("way", [by_client, by_calls, by_stream])
async def test_what_was_stored_and_not_answered_is_stored_once(
    bus: RunningProgram, start_program: StartProgram, socket_dir: Path, channel: str, way: Way
) -> None:
    """Also where its publisher gave it no id; and what is published behind it stays behind it."""
    async with balanced([bus.address]) as between, stub_of(bus) as direct:
        files = ("--socket-path", "", "--store-path", f"{socket_dir}/held.db", "--bus-address", between.address)
        sidecar = await asyncio.to_thread(start_program, "sidecar", *files, address=f"unix:{socket_dir}/s.sock")
        async with way(sidecar.address) as store:
            assert (await store(channel, numbered(0))).sequence == 1
            between.is_mute = True
            publishing = asyncio.create_task(store(channel, numbered(1)))
            await reached(direct, lambda figures: figures.stored == 2)
            await between.tear()
            receipt = await asyncio.wait_for(publishing, PATIENCE)
            assert (receipt.held_by_sidecar, receipt.sequence) == (True, 0)
            await store(channel, numbered(2))
            figures = await reached(direct, lambda figures: figures.stored == 3)
            assert figures.duplicates == 1
        async with consuming(bus, channel) as consumer:
            await consumer.have(3)
            assert consumer.numbers(channel) == [0, 1, 2]


async def test_a_client_waits_for_its_sidecar(bus: RunningProgram, sidecar: RunningProgram, channel: str) -> None:
    """What it stores while that is gone is stored when it is back; who disconnects before is told at once."""
    lost: asyncio.Queue[TrunklineError] = asyncio.Queue()
    stays, leaves = (GrpcMessageBus(sidecar.address, on_disconnected=lost.put_nowait) for _ in range(2))
    async with stays:
        await leaves.connect()
        await asyncio.to_thread(sidecar.kill)
        for _ in range(2):
            await asyncio.wait_for(lost.get(), PATIENCE)
        stored = asyncio.create_task(store(stays, channel, 0))
        left = asyncio.create_task(leaves.publish(channel, numbered(1), stored=True))
        await asyncio.sleep(0)  # they begin
        await leaves.disconnect()
        with pytest.raises(BusDisconnectedError):
            await left
        assert not stored.done()
        await asyncio.to_thread(sidecar.start)
        assert (await asyncio.wait_for(stored, PATIENCE)).durability
    async with consuming(bus, channel) as consumer:
        await consumer.have(1)
        assert consumer.numbers(channel) == [0]
