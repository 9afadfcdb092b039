"""Every client, and every program that is one, comes in by mutual TLS: bus, state, sidecar, outbox, command line."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest

import trunkline
from scripts.tools import find
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import RunningProgram, command, health, run_program
from tests.tls.conftest import CLIENT, Authority
from trunkline import AgentMessage, AgentState, GrpcMessageBus, GrpcStateManager, MessageType, TlsError

SERVED = {"CERT": "server.pem", "KEY": "server.key", "CLIENT_CA": "ca.pem"}
CALLED = {"CERT": f"{CLIENT}.pem", "KEY": f"{CLIENT}.key", "CA": "ca.pem"}


def _message(step: int) -> AgentMessage:
    return AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="me", payload={"step": step})


async def _next(messages: asyncio.Queue[AgentMessage]) -> AgentMessage:
    return await asyncio.wait_for(messages.get(), PATIENCE)


async def test_messages_and_requests_pass(bus: RunningProgram, authority: Authority) -> None:
    """The address says TLS, also the one that a program tells when it is ready."""
    assert bus.address.startswith("tls://127.0.0.1:")
    came: asyncio.Queue[AgentMessage] = asyncio.Queue()
    async with GrpcMessageBus(bus.address, tls=authority.client, connect_timeout=PATIENCE) as client:
        await client.subscribe("a:b", came.put)
        await client.publish("a:b", _message(1))
        assert (await _next(came)).payload == {"step": 1}
        await client.respond("ask", _answer)
        assert (await client.request("ask", _message(4), timeout=PATIENCE)).payload == {"step": 4}


async def test_a_client_goes_by_the_name_in_its_certificate(bus: RunningProgram, authority: Authority) -> None:
    """Where subscribers are listed."""
    async with GrpcMessageBus(bus.address, tls=authority.client, connect_timeout=PATIENCE) as client:
        await client.subscribe("named", asyncio.Queue[AgentMessage]().put)
        (found,) = [each async for each in client.subscriptions() if each.pattern == "named"]
        assert re.fullmatch(rf"{CLIENT} \(ipv4:127\.0\.0\.1:\d+ \[{re.escape(client.client_name)}\]\)", found.peer)


async def _answer(request: trunkline.Request) -> dict[str, object]:
    return dict(request.payload)


async def test_records_and_their_messages_pass(
    bus: RunningProgram, state: RunningProgram, authority: Authority
) -> None:
    """The relay of the state service is a client of the bus, too."""
    came: asyncio.Queue[AgentMessage] = asyncio.Queue()
    async with (
        GrpcMessageBus(bus.address, tls=authority.client, connect_timeout=PATIENCE) as client,
        GrpcStateManager(state.address, tls=authority.client, connect_timeout=PATIENCE) as manager,
    ):
        await client.subscribe("news", came.put)
        kept = AgentState(agent_id="a", agent_type=trunkline.AgentType.CODING)
        await manager.save_agent_state(kept, publish=[("news", _message(2))])
        assert (await _next(came)).payload == {"step": 2}
        found = await manager.get_agent_state("a")
        assert found is not None
        assert found.agent_id == "a"


async def test_agents_reach_both_by_a_sidecar_that_is_a_client(
    bus: RunningProgram, state: RunningProgram, start_program: StartProgram, authority: Authority, socket_dir: Path
) -> None:
    """The UNIX socket is without TLS; the sidecar's way to the services is not."""
    upstreams = ("--bus-address", bus.address, "--state-address", state.address)
    files = ("--socket-path", f"{socket_dir}/l.sock", "--store-path", f"{socket_dir}/s.db")
    where = f"unix:{socket_dir}/sidecar.sock"
    sidecar = start_program("sidecar", *upstreams, *files, address=where, env=authority.environment)
    came: asyncio.Queue[AgentMessage] = asyncio.Queue()
    async with (
        GrpcMessageBus(sidecar.address, connect_timeout=PATIENCE) as client,
        GrpcStateManager(sidecar.address, connect_timeout=PATIENCE) as manager,
    ):
        await client.subscribe("a", came.put)
        await client.publish("a", _message(3))
        assert (await _next(came)).payload == {"step": 3}
        assert await manager.get_agent_state("nobody") is None


async def test_a_sidecar_on_the_network_serves_tls_itself(
    bus: RunningProgram, state: RunningProgram, start_program: StartProgram, authority: Authority, socket_dir: Path
) -> None:
    """On its TCP address it is a service as the others are."""
    upstreams = ("--bus-address", bus.address, "--state-address", state.address)
    files = ("--socket-path", "", "--store-path", f"{socket_dir}/s.db")
    identity = {"tls": authority.client, "env": authority.environment}
    sidecar = start_program("sidecar", *upstreams, *files, *authority.mutual, **identity)
    async with GrpcMessageBus(sidecar.address, tls=authority.client, connect_timeout=PATIENCE) as client:
        await client.publish("a", _message(1))
        await client.flush()
    with pytest.raises(TlsError):
        await GrpcMessageBus(sidecar.address, tls=authority.trust, connect_timeout=PATIENCE).connect()


def test_a_sidecar_says_which_service_refuses_it(
    bus: RunningProgram, start_program: StartProgram, authority: Authority, socket_dir: Path
) -> None:
    """It goes on, and says that it does not serve: the service's side may be put right."""
    files = ("--socket-path", f"{socket_dir}/l.sock", "--store-path", "")
    where = {"address": f"unix:{socket_dir}/sidecar.sock", "env": {"TRUNKLINE_TLS_CA": authority.ca}}
    sidecar = start_program("sidecar", "--bus-address", bus.address, *files, **where)
    sidecar.wait_for("upstream refused")
    (refused, *_) = [event for event in sidecar.events() if event["event"] == "upstream refused"]
    assert refused["service"] == "trunkline.v1.BusService"
    assert "without a client certificate" in refused["reason"]
    assert health(sidecar.address, "trunkline.v1.BusService") == "NOT_SERVING"


def test_a_sidecar_whose_own_files_are_missing_does_not_start(socket_dir: Path) -> None:
    """As a service whose certificate is missing."""
    where = ("--address", f"unix:{socket_dir}/s", "--bus-address", "tls://127.0.0.1:1", "--socket-path", "")
    files = {"TRUNKLINE_TLS_CA": f"{socket_dir}/none.pem"}
    done = run_program("sidecar", *where, "--store-path", "", **files)
    assert done.returncode == 1
    assert f"TRUNKLINE_TLS_CA {socket_dir}/none.pem cannot be read: No such file" in done.stderr


def test_code_without_an_event_loop_comes_in(bus: RunningProgram, authority: Authority) -> None:
    """The synchronous face hands its options on."""
    with trunkline.sync.MessageBus(bus.address, tls=authority.client) as client:
        client.publish("a", _message(1))
        client.flush()
        assert client.published_count == 1


def test_the_command_line_comes_in_by_the_environment(bus: RunningProgram, authority: Authority) -> None:
    """The same variables as for programs. Without them it says why not, with the exit code of what is not reached."""
    words = ("--bus", bus.address, "publish", "a", '{"step": 1}')
    done = run_program(*words, module="trunkline.cli", **authority.environment)
    assert done.returncode == 0, done.stderr
    refused = run_program(*words, module="trunkline.cli")
    assert refused.returncode == 5
    assert "its certificate is not trusted" in refused.stderr
    assert "TRUNKLINE_TLS_CA" in refused.stderr
    assert "(TLS)" in refused.stderr
    assert "ssl_transport" not in refused.stderr


async def test_pem_in_the_environment_is_as_good_as_files(
    start_program: StartProgram, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a service and for a client: where secrets come as variables."""
    pem = authority.pem
    served = {f"TRUNKLINE_BUS_TLS_{name}": pem[file] for name, file in SERVED.items()}
    bus = start_program("bus", tls=authority.client, env=served)
    for name, file in CALLED.items():
        monkeypatch.setenv(f"TRUNKLINE_TLS_{name}", pem[file])
    async with GrpcMessageBus(bus.address, connect_timeout=PATIENCE) as client:
        await client.publish("a", _message(1))
        await client.flush()


async def test_a_name_can_be_given_beside_the_address(bus: RunningProgram, authority: Authority) -> None:
    """For a service that is called at another place than its certificate says."""
    client = authority.client
    named = trunkline.Tls(ca=client.ca, cert=client.cert, key=client.key, server_name="localhost")
    async with GrpcMessageBus(bus.address, tls=named, connect_timeout=PATIENCE) as connected:
        assert connected.is_connected


def test_grpcurl_is_a_client_too(bus: RunningProgram, authority: Authority) -> None:
    """Any gRPC client with the same files."""
    grpcurl = find("grpcurl")
    assert grpcurl, "grpcurl is missing: `make test` installs it, or `python scripts/tools.py grpcurl`"
    client = authority.client
    files = ("-cacert", client.ca, "-cert", str(client.cert), "-key", str(client.key))
    where = (bus.address.removeprefix("tls://"), "trunkline.v1.BusService/GetStats")
    done = subprocess.run([grpcurl, *files, *where], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert "{" in done.stdout


def test_all_in_one_terminal_by_tls(authority: Authority, socket_dir: Path) -> None:
    """`trunkline up` hands the environment on: bus and state serve TLS, state and sidecar call by it."""
    served = {
        f"TRUNKLINE_{program}_TLS_{name}": f"{authority.directory}/{file}"
        for program in ("BUS", "STATE")
        for name, file in SERVED.items()
    }
    where = ("--bus", "127.0.0.1:0", "--state", "127.0.0.1:0", "--format", "json")
    arguments = command(["up", "--data", "d", *where])
    environment = {**os.environ, **authority.environment, **served}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=socket_dir, env=environment) as running:
        try:
            assert running.stdout is not None
            connected = set()
            for line in running.stdout:
                assert '"level": "error"' not in line, line
                if "upstream connected" in line:
                    connected.add(line.partition('"service": "')[2].partition('"')[0])
                if len(connected) == 3:
                    break
            assert connected == {"bus", "trunkline.v1.BusService", "trunkline.v1.StateService"}
        finally:
            running.terminate()
            running.wait(PATIENCE)
