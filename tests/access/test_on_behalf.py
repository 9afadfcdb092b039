"""Who is believed when it says that a call is somebody else's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.access.conftest import Issuer, Serve
from trunkline.errors import PermissionDeniedError
from trunkline.v1 import bus_pb2
from trunkline.wire.status import error_from_rpc
from trunklined.rpc.identity import ON_BEHALF_OF, PEER, REPLICA_KEY

POLICY = """
[[allow]]
who = ["gateway"]
on_behalf_of = true

[[allow]]
who = ["agent-7"]
publish = ["c:{identity}"]
inspect = ["stats"]
"""


async def _publish(address: str, channel: str, *metadata: tuple[str, str]) -> Exception | None:
    request = bus_pb2.PublishRequest(channel=channel, messages=[{"json": "{}"}])
    async with grpc.aio.insecure_channel(address) as line:
        call: Any = line.unary_unary("/trunkline.v1.BusService/Publish")
        try:
            await call(request.SerializeToString(), metadata=metadata)
        except grpc.aio.AioRpcError as status:
            return error_from_rpc(status)
    return None


async def test_who_is_trusted_speaks_for_others_and_gets_their_rights(
    serve: Serve, issuer: Issuer, access_file: Callable[[str], Path]
) -> None:
    """And no more than theirs; its own rights are its own."""
    options = {**issuer.settings, "access_file": str(access_file(POLICY))}
    gateway = ("authorization", f"Bearer {issuer.token('gateway')}")
    async with serve("bus", **options) as bus:
        assert await _publish(bus, "c:agent-7", gateway, (ON_BEHALF_OF, "agent-7")) is None
        for behalf in ("agent-8", "gateway", "uid:0", "anonymous"):
            error = await _publish(bus, "c:agent-7", gateway, (ON_BEHALF_OF, behalf))
            assert isinstance(error, PermissionDeniedError)
            assert error.details["identity"] == behalf
        assert isinstance(await _publish(bus, "c:agent-7", gateway), PermissionDeniedError)


async def test_who_is_not_trusted_is_refused(serve: Serve, issuer: Issuer, access_file: Callable[[str], Path]) -> None:
    """Also without an access file, and with a key that no replica has."""
    own = ("authorization", f"Bearer {issuer.token('agent-7')}")
    async with serve("bus", **issuer.settings, access_file=str(access_file(POLICY))) as bus:
        assert await _publish(bus, "c:agent-7", own) is None
        for more in ([(ON_BEHALF_OF, "gateway")], [(ON_BEHALF_OF, "agent-7"), (REPLICA_KEY, "")]):
            error = await _publish(bus, "c:agent-7", own, *more)
            assert isinstance(error, PermissionDeniedError)
            assert "may not speak for others" in str(error)
    async with serve("bus") as bus:
        error = await _publish(bus, "c", (ON_BEHALF_OF, "agent-7"), (REPLICA_KEY, "x"))
        assert isinstance(error, PermissionDeniedError)


@pytest.mark.parametrize("place", ["tcp", "unix"])
async def test_where_a_call_came_from_is_believed_of_the_own_user_alone(
    place: str, serve: Serve, tmp_path: Path
) -> None:
    """As people see it: in the list of subscriptions."""
    address = f"unix:{tmp_path}/bus.sock" if place == "unix" else "127.0.0.1:0"
    async with serve("bus", address=address) as bus, grpc.aio.insecure_channel(bus) as line:
        subscribe: Any = line.stream_stream("/trunkline.v1.BusService/Subscribe")
        stream = subscribe(
            metadata=((PEER, "ipv4:203.0.113.9:1"), (ON_BEHALF_OF, "agent-7"))
            if place == "unix"
            else ((PEER, "ipv4:203.0.113.9:1"),)
        )
        await stream.write(bus_pb2.SubscribeRequest(start={"pattern": "c"}).SerializeToString())
        await stream.read()
        ask: Any = line.unary_unary("/trunkline.v1.BusService/ListSubscriptions")
        (own,) = bus_pb2.ListSubscriptionsResponse.FromString(await ask(b"")).subscriptions
        if place == "unix":
            assert own.peer == "agent-7 (ipv4:203.0.113.9:1)"
        else:
            assert own.peer.startswith("ipv4:127.0.0.1:")
        stream.cancel()
