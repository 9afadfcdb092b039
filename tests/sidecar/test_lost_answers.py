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
from tests.sidecar.outage import consuming, stub_of
from tests.sidecar.ways import by_calls, by_stream


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
