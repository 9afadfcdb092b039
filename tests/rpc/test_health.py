"""grpc.health.v1 says the truth about each service and about the whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trunklined.rpc.health import MAX_WHY, STARTING, STOPPING, WHY, Health

Status = health_pb2.HealthCheckResponse
Request = health_pb2.HealthCheckRequest


@pytest.fixture
async def state() -> Health:
    return Health(["a.Service"])


@pytest.fixture
async def stub(state: Health, socket_dir: Path) -> AsyncIterator[Any]:
    server = aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    address = f"unix:{socket_dir}/health.sock"
    server.add_insecure_port(address)
    await server.start()
    async with aio.insecure_channel(address) as channel:
        yield health_pb2_grpc.HealthStub(channel)
    await server.stop(0)


@pytest.mark.parametrize("service", ["", "a.Service"])
async def test_a_service_serves_between_start_and_end(stub: Any, state: Health, service: str) -> None:
    """NOT_SERVING until told, SERVING, and NOT_SERVING again at the end."""
    assert (await stub.Check(Request(service=service))).status == Status.NOT_SERVING
    state.serve()
    assert (await stub.Check(Request(service=service))).status == Status.SERVING
    state.end()
    assert (await stub.Check(Request(service=service))).status == Status.NOT_SERVING


async def why(stub: Any, service: str = "") -> str:
    """What the metadata of an answer says beside it; empty: nothing."""
    call = stub.Check(Request(service=service))
    await call
    return str((await call.trailing_metadata()).get(WHY, ""))


async def test_what_does_not_serve_says_why(stub: Any, state: Health) -> None:
    """As long as it does not, whatever text it is."""
    assert await why(stub) == await why(stub, "a.Service") == STARTING
    state.serve()
    assert await why(stub) == await why(stub, "a.Service") == ""
    state.turn("a.Service", "no disk:\n\tü \ud800")
    assert await why(stub, "a.Service") == r"no disk:\n\t\xfc \ud800"
    assert await why(stub) == ""
    state.turn("a.Service", "x" * 1000)
    assert await why(stub, "a.Service") == "x" * MAX_WHY
    state.turn("a.Service", "")
    assert await why(stub, "a.Service") == ""
    state.end()
    assert await why(stub) == await why(stub, "a.Service") == STOPPING


async def test_an_unknown_service_is_not_found(stub: Any) -> None:
    """Check refuses; Watch says SERVICE_UNKNOWN and goes on, as the protocol wants."""
    with pytest.raises(aio.AioRpcError) as caught:
        await stub.Check(Request(service="nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(Request(service="nobody"))
    assert (await watch.read()).status == Status.SERVICE_UNKNOWN
    watch.cancel()


async def test_each_watcher_sees_each_change_until_the_end(stub: Any, state: Health) -> None:
    """A watcher that leaves takes nothing from the others; at the end all calls end by themselves."""
    first, second = stub.Watch(Request()), stub.Watch(Request())
    assert (await first.read()).status == (await second.read()).status == Status.NOT_SERVING
    first.cancel()
    state.serve()
    assert (await second.read()).status == Status.SERVING
    state.end()
    assert (await second.read()).status == Status.NOT_SERVING
    assert await second.read() is aio.EOF
