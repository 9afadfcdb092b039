"""Files that change: new connections get what is new, old ones live on, and what cannot be taken changes nothing."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from tests.tls.conftest import CLIENT, Authority
from trunkline import AgentMessage, GrpcMessageBus, MessageType
from trunkline.addresses import host_and_port
from trunkline.tls.certificates import write_certificates

MakeAuthority = Callable[[], Authority]


def _message(step: int) -> AgentMessage:
    return AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="me", payload={"step": step})


@pytest.fixture
def own(make_authority: MakeAuthority) -> Authority:
    """An authority whose files the test changes."""
    return make_authority()


@pytest.fixture
def service(start_program: StartProgram, own: Authority) -> RunningProgram:
    """A bus that serves with them."""
    return start_program("bus", *own.mutual, "--metrics-address", "127.0.0.1:0", tls=own.client)


def _served(program: RunningProgram) -> str:
    """The certificate that a new connection gets."""
    return ssl.get_server_certificate(host_and_port(program.address), timeout=PATIENCE)


def _metric(program: RunningProgram, name: str) -> float:
    with urllib.request.urlopen(f"http://{program.metrics_address}/metrics", timeout=PATIENCE) as page:
        (found,) = re.findall(rf"^{name} (\S+)$", page.read().decode(), re.MULTILINE)
    return float(found)


async def test_new_connections_get_the_new_certificate_and_old_ones_live_on(
    service: RunningProgram, own: Authority
) -> None:
    """Without a restart."""
    before = await asyncio.to_thread(_served, service)
    came: asyncio.Queue[AgentMessage] = asyncio.Queue()
    lost: list[object] = []
    async with GrpcMessageBus(
        service.address, tls=own.client, on_disconnected=lost.append, connect_timeout=PATIENCE
    ) as old:
        await old.subscribe("a", came.put)
        await asyncio.to_thread(write_certificates, own.directory, clients=[CLIENT])
        after = await asyncio.to_thread(_served, service)
        assert after != before
        assert after == own.pem["server.pem"]
        async with GrpcMessageBus(service.address, tls=own.client, connect_timeout=PATIENCE) as new:
            await new.publish("a", _message(1))
            assert (await asyncio.wait_for(came.get(), PATIENCE)).payload == {"step": 1}
        assert not lost
    service.wait_for("TLS files were read anew")
    assert await asyncio.to_thread(_metric, service, "trunkline_tls_renewals_total") == 1


@pytest.mark.parametrize("bad", ["no PEM", "another's key", "readable by others", "gone"])
async def test_a_replacement_that_cannot_be_taken_changes_nothing_and_is_told(
    service: RunningProgram, own: Authority, make_authority: MakeAuthority, bad: str
) -> None:
    """Nobody has to connect for that; and what is put right is taken."""
    certificate, key = own.directory / "server.pem", own.directory / "server.key"
    before = await asyncio.to_thread(_served, service)
    good = own.pem
    if bad == "no PEM":
        certificate.write_text("nothing\n")
    elif bad == "another's key":
        _replace(key, make_authority().pem["server.key"])
    elif bad == "readable by others":
        key.chmod(0o644)
    else:
        key.unlink()
    service.wait_for("TLS files cannot be taken; those of before serve on")
    (told,) = [event for event in service.events() if event["event"].startswith("TLS files cannot")]
    assert told["level"] == "error"
    assert re.search(r"is no certificate|does not match|chmod 600|cannot be read: No such file", told["reason"])
    assert "PRIVATE KEY" not in service.output()
    assert await asyncio.to_thread(_metric, service, "trunkline_tls_files_bad") == 1
    assert await asyncio.to_thread(_served, service) == before
    async with GrpcMessageBus(service.address, tls=own.client, connect_timeout=PATIENCE) as client:
        await client.publish("a", _message(1))
        await client.flush()

    certificate.write_text(good["server.pem"])
    key.touch(0o600)
    key.chmod(0o600)
    key.write_text(good["server.key"])
    await asyncio.to_thread(service.wait_for, "TLS files were read anew")
    assert await asyncio.to_thread(_metric, service, "trunkline_tls_files_bad") == 0


async def test_other_authorities_for_clients_are_taken_too(
    service: RunningProgram, own: Authority, make_authority: MakeAuthority
) -> None:
    """A change of authorities: first both are trusted, and new clients come in."""
    new = make_authority()
    _replace(own.directory / "ca.pem", own.pem["ca.pem"] + new.pem["ca.pem"])
    async with GrpcMessageBus(service.address, tls=replace(new.client, ca=own.ca), connect_timeout=PATIENCE) as client:
        await client.publish("a", _message(1))
        await client.flush()


async def test_a_client_whose_authority_changes_comes_back_by_its_new_files(
    start_program: StartProgram, own: Authority, make_authority: MakeAuthority
) -> None:
    """The service returns with another authority's certificates; so do the client's files, and nobody restarts it."""
    service = start_program("bus", *own.mutual, tls=own.client)
    lost, back = asyncio.Event(), asyncio.Event()
    bus = GrpcMessageBus(
        service.address,
        tls=own.client,
        on_disconnected=lambda error: lost.set(),
        on_reconnected=back.set,
        connect_timeout=PATIENCE,
    )
    async with bus as client:
        came: asyncio.Queue[AgentMessage] = asyncio.Queue()
        await client.subscribe("a", came.put)
        await asyncio.to_thread(service.kill)
        await asyncio.wait_for(lost.wait(), PATIENCE)
        new = make_authority().pem
        for name in ("server.key", "server.pem", f"{CLIENT}.key", f"{CLIENT}.pem", "ca.pem"):
            _replace(own.directory / name, new[name])
        await asyncio.to_thread(service.start)
        await asyncio.wait_for(back.wait(), PATIENCE)
        await client.publish("a", _message(2))
        assert (await asyncio.wait_for(came.get(), PATIENCE)).payload == {"step": 2}


async def test_a_client_that_is_refused_when_it_comes_back_says_why(
    start_program: StartProgram, own: Authority, make_authority: MakeAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on trying: its files, or the service's, may be put right."""
    service = start_program("bus", *own.mutual, tls=own.client)
    async with GrpcMessageBus(service.address, tls=own.client, connect_timeout=PATIENCE) as client:
        await asyncio.to_thread(service.kill)
        other = make_authority()
        kept = own.pem
        for name in ("server.key", "server.pem"):
            _replace(own.directory / name, other.pem[name])
        its_clients = replace(own.client, ca=other.ca)
        start_program("bus", *own.mutual, address=service.address, tls=its_clients)
        await _until(lambda: "not restored" in caplog.text)
        assert "its certificate is not trusted" in caplog.text
        assert not client.is_connected
        for name in ("server.key", "server.pem"):
            _replace(own.directory / name, kept[name])
        await _until(lambda: client.is_connected)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.05)


def _replace(path: Path, content: str) -> None:
    """Puts a file in place of another, at once, as what hands out certificates does."""
    beside = path.with_name("new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(content)
    beside.replace(path)
