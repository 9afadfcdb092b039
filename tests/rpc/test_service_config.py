"""The service config for bare stubs: gRPC itself waits for a service that is away, and repeats what only reads."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from grpc import aio

from tests.conftest import StartProgram
from tests.patience import PATIENCE
from trunkline.v1 import bus_pb2, bus_pb2_grpc, state_pb2

CONFIG: Final = (Path(__file__).parents[2] / "protos" / "service_config.json").read_text()
OPTIONS: Final = (("grpc.service_config", CONFIG), ("grpc.enable_retries", 1))
SERVICES: Final = [
    bus_pb2.DESCRIPTOR.services_by_name["BusService"],
    state_pb2.DESCRIPTOR.services_by_name["StateService"],
]


def _repeated() -> set[str]:
    named = json.loads(CONFIG)["methodConfig"][1]["name"]
    return {f"{each['service']}/{each['method']}" for each in named}


def test_what_is_repeated_are_the_calls_that_read() -> None:
    """Each by its name: a call that is new, and reads, is listed too."""
    reads = {
        f"{service.full_name}/{method.name}"
        for service in SERVICES
        for method in service.methods
        if method.name.startswith(("Get", "List")) or method.name in ("Explain", "Trace", "Stuck")
    }
    assert _repeated() == reads


async def test_a_service_that_is_away_is_waited_for(start_program: StartProgram) -> None:
    """By what writes, too."""
    bus = start_program("bus")
    bus.kill()
    async with aio.insecure_channel(bus.address, options=OPTIONS) as line:
        stub: Any = bus_pb2_grpc.BusServiceStub(line)
        publish = bus_pb2.PublishRequest(channel="c", messages=[{"message_type": "T", "sender_id": "s"}])
        asked = asyncio.ensure_future(stub.Publish(publish, timeout=PATIENCE))
        await asyncio.wait({asked}, timeout=0.2)
        assert not asked.done()
        await asyncio.to_thread(bus.start)
        assert (await asked).receipts[0].sequence


class _Faltering(bus_pb2_grpc.BusServiceServicer):
    """Answers each call for the third time that it is tried."""

    def __init__(self) -> None:
        self.tries = 0

    async def _try(self, context: Any) -> None:
        self.tries += 1
        if self.tries < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    async def GetStats(self, request: Any, context: Any) -> bus_pb2.GetStatsResponse:  # noqa: N802
        await self._try(context)
        return bus_pb2.GetStatsResponse()

    async def Publish(self, request: Any, context: Any) -> bus_pb2.PublishResponse:  # noqa: N802
        await self._try(context)
        return bus_pb2.PublishResponse()


async def test_what_reads_is_repeated_and_what_writes_is_not() -> None:
    """Where the service says that it is not there now."""
    server, faltering = aio.server(), _Faltering()
    bus_pb2_grpc.add_BusServiceServicer_to_server(faltering, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as line:
            stub: Any = bus_pb2_grpc.BusServiceStub(line)
            await stub.GetStats(bus_pb2.GetStatsRequest(), timeout=PATIENCE)
            assert faltering.tries == 3
            faltering.tries = 0
            with pytest.raises(aio.AioRpcError) as refused:
                await stub.Publish(bus_pb2.PublishRequest(), timeout=PATIENCE)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert faltering.tries == 1
    finally:
        await server.stop(None)
