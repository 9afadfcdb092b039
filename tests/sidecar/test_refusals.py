"""What the sidecar does not hold, and what the bus does not take of what it held: each is said, and blocks nothing."""

from __future__ import annotations

import asyncio
import platform
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.bus.calls import refused
from tests.conftest import StartProgram
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from tests.programs import RunningProgram, run_program
from tests.sidecar.outage import away, consuming, kill, metrics_of, store, stored, stub_of, until_health
from trunkline import GrpcMessageBus, OverloadedError
from trunkline.v1 import bus_pb2, bus_pb2_grpc


async def test_what_need_not_be_stored_fails_as_without_a_store(bus: RunningProgram, sidecar: RunningProgram) -> None:
    """A publish in memory, or by the bus's own rule, which the sidecar does not know."""
    unavailable = grpc.StatusCode.UNAVAILABLE
    async with stub_of(sidecar) as stub, away(bus, sidecar):
        for durability in (bus_pb2.DURABILITY_UNSPECIFIED, bus_pb2.DURABILITY_MEMORY):
            publish = stored("a", [1])
            publish.durability = durability
            await refused(stub.Publish(publish), unavailable, "BUS_DISCONNECTED")
        await refused(stub.GetStats(bus_pb2.GetStatsRequest()), unavailable, "BUS_DISCONNECTED")


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"channel": "a::b"}, "INVALID_CHANNEL", "a::b"),
        ({"messages": []}, "INVALID_MESSAGE", "messages is empty"),
        ({"messages": [{"json": "x" * 5_000_000}]}, "MESSAGE_TOO_LARGE", "4194304"),
        ({"messages": [{"json": "{}", "priority": 9}]}, "INVALID_MESSAGE", "priority 9"),
        ({"messages": [{"json": "{}"}, {"json": "{}", "ttl_seconds": 0}]}, "INVALID_MESSAGE", "ttl_seconds is 0"),
        ({"messages": [{"json": "{}", "deliver_after": {"seconds": -1}}]}, "INVALID_MESSAGE", "deliver_after is -1"),
        ({"messages": [{"json": "{}", "timestamp": {"seconds": 2**63 - 1}}]}, "INVALID_MESSAGE", "timestamp is 9223"),
        ({"messages": [{"json": "{}", "timestamp": {"nanos": -1}}]}, "INVALID_MESSAGE", "timestamp has -1"),
        ({"messages": [{"json": "{}", "deliver_at": {"nanos": 10**9}}]}, "INVALID_MESSAGE", "deliver_at has 10"),
        ({"messages": [{"json": "{}", "deliver_after": {"nanos": -(10**9)}}]}, "INVALID_MESSAGE", "deliver_after has"),
        ({"messages": [{"json": "{}", "ordering_key": "k" * 256}]}, "INVALID_MESSAGE", "256 bytes"),
        ({"durability": 9}, "INVALID_MESSAGE", "durability 9"),
    ],
)
async def test_what_the_bus_would_refuse_is_refused_at_once(
    sidecar_program: RunningProgram,
    start_program: StartProgram,
    socket_dir: Path,
    change: dict[str, Any],
    reason: str,
    says: str,
) -> None:
    """With the bus's own words: the same request to a bus says the same."""
    lonely = start_program("sidecar", *_lonely(socket_dir), address=f"unix:{socket_dir}/lonely.sock")
    await until_health(lonely, "NOT_SERVING")
    words: dict[str, Any] = {"channel": "a", "messages": [{"json": "{}"}], "durability": bus_pb2.DURABILITY_STORED}
    request = bus_pb2.PublishRequest(**(words | change))
    said = []
    options = [("grpc.max_send_message_length", 2**26)]
    for program in (lonely, sidecar_program):
        async with aio.insecure_channel(program.address, options=options) as line:
            call = bus_pb2_grpc.BusServiceStub(line).Publish(request, timeout=5)
            error = await refused(call, grpc.StatusCode.INVALID_ARGUMENT, reason)
            assert says in error.message
            said.append(error.to_dict())
    assert said[0] == said[1]


def _lonely(directory: Path) -> tuple[str, ...]:
    """Options of a sidecar whose upstreams are not there."""
    nobody = ("--bus-address", f"unix:{directory}/nobody.sock", "--state-address", f"unix:{directory}/nobody.sock")
    return (*nobody, "--socket-path", "", "--store-path", f"{directory}/lonely.db")


async def test_the_bounds_are_said(
    bus: RunningProgram, start_program: StartProgram, socket_dir: Path, channel: str
) -> None:
    """Beyond max_stored_messages or max_stored_bytes OVERLOADED, with the figures; what was held is still forwarded."""
    limits = ("--max-stored-messages", "10", "--max-stored-bytes", "2000")
    files = ("--socket-path", "", "--store-path", f"{socket_dir}/small.db", "--bus-address", bus.address)
    small = start_program("sidecar", *files, *limits, address=f"unix:{socket_dir}/small.sock")
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    async with stub_of(small) as stub, GrpcMessageBus(small.address) as client:
        async with away(bus, small):
            await stub.Publish(stored(channel, range(9)), timeout=5)
            error = await refused(stub.Publish(stored(channel, range(2))), exhausted, "OVERLOADED")
            assert error.details == {"limit": "max_stored_messages", "maximum": 10, "held": "9"}
            error = await refused(stub.Publish(stored(channel, ['"' + "x" * 2000 + '"'])), exhausted, "OVERLOADED")
            assert (error.details["limit"], error.details["maximum"]) == ("max_stored_bytes", 2000)
            await store(client, channel, 9)
            with pytest.raises(OverloadedError, match="max_stored_messages is 10"):
                await store(client, channel, 10)
        async with consuming(bus, channel) as consumer:
            await consumer.have(10)
            assert (await store(client, channel, 10)).sequence == 11
            await consumer.have(11)
            assert consumer.numbers(channel) == list(range(11))


async def test_a_refused_message_does_not_block_the_others(
    start_program: StartProgram, socket_dir: Path, channel: str
) -> None:
    """A bus with a smaller limit refuses one of what the sidecar held: it is set aside, counted and logged."""
    bus = start_program("bus", "--path", f"{socket_dir}/bus.db", "--max-message-bytes", "1024")
    path = Path(socket_dir, "sidecar.db")
    files = ("--socket-path", "", "--store-path", str(path), "--metrics-address", "127.0.0.1:0")
    sidecar = start_program("sidecar", *files, "--bus-address", bus.address, address=f"unix:{socket_dir}/sidecar.sock")
    async with stub_of(sidecar) as stub:
        async with away(bus, sidecar):
            await stub.Publish(stored(channel, [0, 1]), timeout=5)
            large = stored(channel, ['"' + "x" * 2000 + '"'], message_id="too-large")
            await stub.Publish(large, timeout=5)
            await stub.Publish(stored(channel, [2, 3]), timeout=5)
        async with consuming(bus, channel) as consumer:
            await consumer.have(4)
            assert consumer.numbers(channel) == [0, 1, 2, 3]
    await asyncio.to_thread(sidecar.wait_for, "what was held is forwarded")
    logged = [event for event in sidecar.events() if event.get("message_id") == "too-large"]
    assert [(event["level"], event["reason"], event["channel"]) for event in logged] == [
        ("error", "MESSAGE_TOO_LARGE", channel)
    ]
    metrics = await asyncio.to_thread(metrics_of, sidecar)
    for name, figure in (("refused_total", 1), ("forwarded_total", 4), ("kept_total", 5), ("held_messages", 0)):
        assert f"trunkline_sidecar_{name} {figure}.0" in metrics
    assert sidecar.stop() == 0
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT channel, message_id, reason, length(message) > 2000 FROM refused").fetchall()
    connection.close()
    assert rows == [(channel, "too-large", "MESSAGE_TOO_LARGE", 1)]


async def test_a_bus_that_takes_no_more_blocks_nothing_else(
    start_program: StartProgram, socket_dir: Path, channel: str
) -> None:
    """The bus is back, but its journal is full: what is held stays held, and everything else passes, also on streams
    that were opened in the outage."""
    full = ("--path", f"{socket_dir}/bus.db", "--max-journal-bytes", str(2**20))
    bus = start_program("bus", *full)
    files = ("--socket-path", "", "--store-path", f"{socket_dir}/sidecar.db")
    sidecar = start_program("sidecar", *files, "--bus-address", bus.address, address=f"unix:{socket_dir}/sidecar.sock")
    async with stub_of(sidecar) as stub:
        with suppress(aio.AioRpcError):
            while True:
                await stub.Publish(stored(f"{channel}:fill", ['"' + "x" * 50_000 + '"']), timeout=5)
        await kill(bus, sidecar)
        async with GrpcMessageBus(sidecar.address) as client:
            assert (await store(client, f"{channel}:held", '"' + "y" * 200_000 + '"')).held_by_sidecar
            inbox = Inbox()
            subscribing = asyncio.create_task(client.subscribe(f"{channel}:live", inbox))
            await asyncio.to_thread(bus.start)
            await asyncio.wait_for(subscribing, PATIENCE)
            await asyncio.to_thread(sidecar.wait_for, "what is held could not be forwarded")
            await client.publish(f"{channel}:live", numbered(1))
            await inbox.have(1)
            assert (await store(client, f"{channel}:held", 2)).held_by_sidecar
            await stub.GetStats(bus_pb2.GetStatsRequest(), timeout=5)


async def test_without_a_store_nothing_is_held(
    bus: RunningProgram, start_program: StartProgram, socket_dir: Path
) -> None:
    """An empty store_path: stored publishes fail while the bus is away, like all others."""
    files = ("--socket-path", "", "--store-path", "", "--bus-address", bus.address)
    plain = start_program("sidecar", *files, address=f"unix:{socket_dir}/plain.sock")
    async with stub_of(plain) as stub, away(bus, plain):
        await refused(stub.Publish(stored("a", [1])), grpc.StatusCode.UNAVAILABLE, "BUS_DISCONNECTED")


def test_one_file_serves_one_sidecar(sidecar: RunningProgram, socket_dir: Path) -> None:
    """A second one does not start, and says which process has it."""
    address = f"unix:{socket_dir}/second.sock"
    second = run_program(
        "sidecar", "--address", address, "--socket-path", "", "--store-path", f"{socket_dir}/sidecar.db"
    )
    assert second.returncode == 1
    assert f"(pid {sidecar.pid} on {platform.node()}); one file serves one sidecar" in second.stderr
