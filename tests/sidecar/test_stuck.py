"""What a sidecar holds, as somebody asks who is woken at night: by the call, by the client, and by the command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path

import grpc

from tests.bus.calls import reached, refused
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import RunningProgram, command
from tests.sidecar.outage import away, kill, stored, stub_of
from trunkline import GrpcMessageBus, Refusal
from trunkline.v1 import inspection_pb2


async def run(*arguments: str) -> str:
    """What a subcommand of `trunkline` prints."""
    done = await asyncio.to_thread(
        subprocess.run, command(arguments), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_what_is_held_is_told_while_the_bus_is_away(
    bus: RunningProgram, sidecar: RunningProgram, channel: str
) -> None:
    """How much, since when and for which channels; that the bus is away; and nothing of it when it is back."""
    began = time.time()
    async with stub_of(sidecar) as stub:
        async with away(bus, sidecar):
            for where, count in (("a", 2), ("b", 3), ("c", 1)):
                await stub.Publish(stored(f"{channel}:{where}", range(count)), timeout=5)
            told = await stub.Stuck(inspection_pb2.StuckRequest(limit=2))
            assert list(told.unheard) == [bus.address]
            held = told.sidecar
            assert (held.bus_address, held.bus_connected, held.messages) == (bus.address, False, 6)
            assert [(each.channel, each.messages) for each in held.channels] == [
                (f"{channel}:b", 3),
                (f"{channel}:a", 2),
            ]
            assert held.bytes > sum(each.bytes for each in held.channels) > 0
            oldest = held.oldest_at.ToNanoseconds() / 1e9
            assert began - 60 < oldest <= time.time()
            assert held.channels[1].oldest_at == held.oldest_at
            assert (held.max_messages, held.max_bytes) == (100_000, 256 * 2**20)
            wrong = stub.Stuck(inspection_pb2.StuckRequest(limit=0))
            assert "limit is 0" in (await refused(wrong, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE")).message

            shown = await run("--bus", sidecar.address, "stuck")
            (waiting,) = [line for line in shown.splitlines() if line.startswith("waiting")]
            assert "6 messages" in waiting
            assert "the oldest for" in waiting
            (row,) = [line for line in shown.splitlines() if line.startswith(f"{channel}:b")]
            assert row.split()[1] == "3"
            assert "the bus itself is not heard from" in shown
            printed = json.loads(await run("--bus", sidecar.address, "--format", "json", "stuck"))["sidecar"]
            assert (printed["messages"], printed["bus_connected"], len(printed["channels"])) == (6, False, 3)
        async with stub_of(bus) as direct:
            await reached(direct, lambda figures: figures.stored == 6)
        await asyncio.to_thread(sidecar.wait_for, "what was held is forwarded")
        async with GrpcMessageBus(sidecar.address) as client:
            found = await client.stuck()
        assert found.unheard == ()
        assert found.sidecar is not None
        assert (found.sidecar.bus_connected, found.sidecar.messages, found.sidecar.forwarded) == (True, 0, 6)
        assert (found.sidecar.oldest_at, found.sidecar.channels) == (None, ())
        shown = await run("--bus", sidecar.address, "stuck")
        assert "What connections hold" in shown  # what the bus says, too
    async with GrpcMessageBus(bus.address) as client:
        assert (await client.stuck()).sidecar is None


async def test_what_the_bus_refused_is_told_with_its_reason(
    start_program: StartProgram, socket_dir: Path, channel: str
) -> None:
    """For good: with its id, its channel, and what the bus said; the last one first."""
    bus = start_program("bus", "--path", f"{socket_dir}/bus.db", "--max-message-bytes", "1024")
    files = ("--socket-path", "", "--store-path", f"{socket_dir}/held.db", "--bus-address", bus.address)
    sidecar = start_program("sidecar", *files, address=f"unix:{socket_dir}/s.sock")
    async with stub_of(sidecar) as stub:
        async with away(bus, sidecar):
            for name in ("first", "second"):
                large = stored(channel, ['"' + "x" * 2000 + '"'], message_id=name)
                await stub.Publish(large, timeout=5)
        await asyncio.to_thread(sidecar.wait_for, '"message_id": "second"')
        await kill(bus, sidecar)  # it is told also without the bus
        async with GrpcMessageBus(sidecar.address) as client:
            held = (await client.stuck()).sidecar
        assert held is not None
        assert (held.refused, held.messages) == (2, 0)
        assert held.refused_bytes > 4000
        assert [each.message_id for each in held.last_refused] == ["second", "first"]
        last = held.last_refused[0]
        assert isinstance(last, Refusal)
        assert (last.channel, last.reason) == (channel, "MESSAGE_TOO_LARGE")
        assert "at most 1024 are allowed" in last.error
        shown = await run("--bus", sidecar.address, "stuck")
        (row,) = [line for line in shown.splitlines() if "second" in line]
        assert "MESSAGE_TOO_LARGE" in row
