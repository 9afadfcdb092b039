"""A real aio server around the greeter, on a temporary UNIX socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import aio

from tests.rpc.greeter import Greeter
from trunkline.v1 import bus_pb2_grpc
from trunklined.rpc.errors import ErrorInterceptor
from trunklined.rpc.metrics import RpcMetrics


@pytest.fixture
def metrics() -> RpcMetrics:
    return RpcMetrics()


@pytest.fixture
def greeter() -> Greeter:
    return Greeter()


@pytest.fixture
async def channel(greeter: Greeter, metrics: RpcMetrics, socket_dir: Path) -> AsyncIterator[aio.Channel]:
    server = aio.server(interceptors=[ErrorInterceptor(metrics)])
    bus_pb2_grpc.add_BusServiceServicer_to_server(greeter, server)
    address = f"unix:{socket_dir}/greeter.sock"
    server.add_insecure_port(address)
    await server.start()
    async with aio.insecure_channel(address) as channel:
        yield channel
    await server.stop(0)


@pytest.fixture
def stub(channel: aio.Channel) -> bus_pb2_grpc.BusServiceStub:
    return bus_pb2_grpc.BusServiceStub(channel)
