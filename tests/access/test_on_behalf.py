"""Who is believed when it says that a call is somebody else's."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.access.conftest import Issuer, Serve, TokenFile
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import RunningProgram, run_program
from trunkline import (
    AgentMessage,
    AgentState,
    AgentStatus,
    GrpcMessageBus,
    GrpcStateManager,
    MessageType,
    OverloadedError,
)
from trunkline.errors import PermissionDeniedError, UnauthenticatedError
from trunkline.v1 import bus_pb2
from trunkline.wire.status import error_from_rpc
from trunkline.wire.token import ON_BEHALF_OF
from trunklined.rpc.identity import PEER, REPLICA_KEY

Write = Callable[[str], Path]
NEWS = AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="x", payload={})
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


async def test_what_is_open_ends_when_who_speaks_is_trusted_no_more(
    start_program: StartProgram, issuer: Issuer, access_file: Write
) -> None:
    """What is open on one's own behalf goes on. Both refusals are in the audit log."""
    policy = """
[[allow]]
who = ["gateway", "other"]
on_behalf_of = {trusted}
subscribe = ["c"]
[[allow]]
who = ["agent-7"]
subscribe = ["c"]
"""
    file = access_file(policy.replace("{trusted}", "true"))
    program = start_program("bus", "--engine", "memory", *issuer.options, "--access-file", str(file))
    token = issuer.token("gateway")
    ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    async with (
        asyncio.timeout(PATIENCE),
        GrpcMessageBus(program.address, token=token) as own,
        GrpcMessageBus(program.address, token=token, on_behalf_of="agent-7") as spoken,
    ):
        await own.subscribe("c", _ignore)
        await spoken.subscribe("c", _ignore, on_error=ended.set_result)
        access_file(policy.replace("{trusted}", "false"))
        error = await ended
        assert isinstance(error, PermissionDeniedError)
        assert "gateway may not speak for others" in str(error)
        await own.publish("c", NEWS)
        with pytest.raises(PermissionDeniedError, match="gateway may not: publish c"):
            await own.flush()
    await _publish(program.address, "c", ("authorization", f"Bearer {token}"), (ON_BEHALF_OF, "agent-7"))
    await asyncio.to_thread(program.wait_for, '"call": "Publish"')
    denied = [each for each in program.events() if each.get("object") == "on_behalf_of"]
    assert [(each["call"], each["identity"], each["outcome"]) for each in denied] == [
        ("OpenStream", "gateway", "denied"),
        ("Publish", "gateway", "denied"),
    ]


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


SIDECAR = """
[[allow]]
who = ["sidecar"]
on_behalf_of = {trusted}
publish = ["own"]
[[allow]]
who = ["coding-01", "uid:*"]
publish = ["c:{identity}"]
request = ["conductor:agent:worker"]
subscribe = [">"]
records.write = ["agent_state/{identity}"]
records.read = ["agent_state/{identity}"]
[[limit]]
who = ["coding-01"]
subscriptions = 1
"""


def _sidecar(
    start: StartProgram, bus: str, state: str, issuer: Issuer, directory: Path, *options: str
) -> RunningProgram:
    """One that says whose the calls are, and knows them by its own token file."""
    return start(
        "sidecar",
        *("--bus-address", bus, "--state-address", state, "--store-path", "", "--on-behalf-of"),
        *("--socket-path", str(directory / "lines.sock"), *options),
        env={"TRUNKLINE_TOKEN": issuer.token("sidecar")},
    )


async def test_a_sidecar_passes_on_who_its_agents_are(
    start_program: StartProgram, issuer: Issuer, token_file: TokenFile, access_file: Write, tmp_path: Path
) -> None:
    """By their tokens on its port and by their users on its line socket: permissions and limits are theirs, and not the
    sidecar's; the audit log names both."""
    file = access_file(SIDECAR.replace("{trusted}", "true"))
    options = ("--engine", "memory", *issuer.options, "--access-file", str(file))
    bus, state = start_program("bus", *options), start_program("state", *options)
    sidecar = _sidecar(
        start_program, bus.address, state.address, issuer, tmp_path, "--token-file", str(token_file.path)
    )
    token = token_file.tokens["coding-01"]
    async with (
        asyncio.timeout(PATIENCE),
        GrpcMessageBus(sidecar.address, token=token) as client,
        GrpcStateManager(sidecar.address, token=token) as records,
    ):
        await client.publish("c:coding-01", NEWS)
        await client.flush()
        await client.publish("own", NEWS)
        with pytest.raises(PermissionDeniedError) as refused:
            await client.flush()
        assert refused.value.details["identity"] == "coding-01"
        await client.subscribe("x", _ignore)
        with pytest.raises(OverloadedError, match="coding-01 has reached its limit: subscriptions"):
            await client.subscribe("y", _ignore)
        for id, is_allowed in (("coding-01", True), ("coding-02", False)):
            record = AgentState(agent_id=id, agent_type="x", status=AgentStatus.IDLE)
            if is_allowed:
                await records.save_agent_state(record)
            else:
                with pytest.raises(PermissionDeniedError):
                    await records.save_agent_state(record)
        kept = await records.get_agent_state("coding-01")
        assert kept is not None
        assert kept.written_by == "coding-01"
        await asyncio.to_thread(bus.wait_for, "publish own")
        (found,) = (event for event in bus.events() if event.get("object") == "publish own")
        assert (found["identity"], found["speaker"]) == ("coding-01", "sidecar")

        # A user of this machine, on the socket for lines.
        assert b"NO_RESPONDERS" in await _command(tmp_path / "lines.sock", "worker")
        denied = await _command(tmp_path / "lines.sock", "other")
        assert f"PERMISSION_DENIED: uid:{os.geteuid()} may not: request conductor:agent:other".encode() in denied
    with pytest.raises(UnauthenticatedError):
        await GrpcMessageBus(sidecar.address, token="tlk.coding-01.x").connect()


async def test_a_sidecar_that_is_not_trusted_gets_nothing_through(
    start_program: StartProgram, issuer: Issuer, token_file: TokenFile, access_file: Write, tmp_path: Path
) -> None:
    """Neither as its agents nor as itself, and each caller is told so."""
    file = access_file(SIDECAR.replace("{trusted}", "false"))
    bus = start_program("bus", "--engine", "memory", *issuer.options, "--access-file", str(file))
    sidecar = _sidecar(
        start_program, bus.address, "127.0.0.1:1", issuer, tmp_path, "--token-file", str(token_file.path)
    )
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(PermissionDeniedError, match="sidecar may not speak for others"):
            async with GrpcMessageBus(sidecar.address, token=token_file.tokens["coding-01"]) as client:
                await client.flush()
        assert b"BUS_NOT_CONNECTED" in await _command(tmp_path / "lines.sock", "worker")
        await asyncio.to_thread(sidecar.wait_for, "the bus does not take the lines of the socket")


def test_a_sidecar_that_says_whose_calls_are_keeps_none(tmp_path: Path) -> None:
    """What it kept would be handed on as its own."""
    done = run_program("sidecar", "--on-behalf-of", "--socket-path", "", "--store-path", str(tmp_path / "kept.db"))
    assert done.returncode == 2
    assert "TRUNKLINE_SIDECAR_STORE_PATH" in done.stderr


async def _command(path: Path, target: str) -> bytes:
    """Sends a COMMAND by the line socket; returns the answer."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    line = {"sender": "agent", "type": "COMMAND", "target": target, "payload": {}}
    writer.write(json.dumps(line).encode() + b"\n")
    answer = await reader.readline()
    writer.close()
    return answer


async def _ignore(_: object) -> None:
    """Does nothing."""
