"""What does not fit together by TLS fails at once, with a TlsError that says why in words; each by a real handshake."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from tests.patience import PATIENCE
from tests.programs import RunningProgram
from tests.tls.conftest import Authority
from trunkline import GrpcMessageBus, GrpcStateManager, InvalidAddressError, MessageBusError, StateError, Tls, TlsError
from trunkline.addresses import host_and_port, without_tls

MakeAuthority = Callable[[], Authority]


async def _refused(client: GrpcMessageBus | GrpcStateManager) -> TlsError:
    """The error of a client that waits for its service for as long as a test does: a refusal ends the wait."""
    with pytest.raises(TlsError) as caught:
        await client.connect()
    assert isinstance(caught.value, MessageBusError)
    assert isinstance(caught.value, StateError)
    assert caught.value.error_code == "TLS"
    return caught.value


def _client(address: str, tls: Tls | None, wait: bool) -> GrpcMessageBus:
    return GrpcMessageBus(address, tls=tls, wait_for_ready=wait, connect_timeout=PATIENCE)


@pytest.mark.parametrize("wait", [True, False])
async def test_a_client_without_a_certificate_is_refused(bus: RunningProgram, authority: Authority, wait: bool) -> None:
    """By the service; the client says what is missing."""
    error = await _refused(_client(bus.address, authority.trust, wait))
    assert error.details == {"reason": "certificate_required", "address": bus.address}
    assert "without a client certificate (TRUNKLINE_TLS_CERT)" in error.message


@pytest.mark.parametrize("wait", [True, False])
async def test_a_client_of_another_authority_is_refused(
    bus: RunningProgram, authority: Authority, make_authority: MakeAuthority, wait: bool
) -> None:
    """Its certificate says the same name, and is signed by a stranger. The service's log has the attempt."""
    stranger = make_authority().client
    error = await _refused(_client(bus.address, replace(stranger, ca=authority.ca), wait))
    assert error.details["reason"] == "certificate_refused"
    assert "does not take the client certificate" in error.message
    bus.wait_for("CERTIFICATE_VERIFY_FAILED")


@pytest.mark.parametrize("wait", [True, False])
async def test_a_service_of_another_authority_is_not_trusted(
    bus: RunningProgram, authority: Authority, make_authority: MakeAuthority, wait: bool
) -> None:
    """Nothing is sent to it."""
    client = replace(authority.client, ca=make_authority().ca)
    error = await _refused(_client(bus.address, client, wait))
    assert error.details["reason"] == "untrusted_authority"
    assert "not trusted: unable to get local issuer certificate (TRUNKLINE_TLS_CA)" in error.message


async def test_the_operating_system_trusts_no_development_authority(bus: RunningProgram, authority: Authority) -> None:
    """Which is the default where no authority is named."""
    client = authority.client
    error = await _refused(
        GrpcMessageBus(bus.address, tls=Tls(cert=client.cert, key=client.key), connect_timeout=PATIENCE)
    )
    assert error.details["reason"] == "untrusted_authority"


async def test_a_service_with_another_name_is_not_trusted(bus: RunningProgram, authority: Authority) -> None:
    """A certificate is for the names in it."""
    error = await _refused(
        GrpcMessageBus(
            bus.address, tls=replace(authority.client, server_name="elsewhere.example"), connect_timeout=PATIENCE
        )
    )
    assert error.details["reason"] == "wrong_name"
    assert "not for 'elsewhere.example'" in error.message


async def test_the_state_service_is_spoken_of_alike(state: RunningProgram, authority: Authority) -> None:
    """One error for both."""
    error = await _refused(GrpcStateManager(state.address, tls=authority.trust, connect_timeout=PATIENCE))
    assert error.details["reason"] == "certificate_required"


@pytest.mark.parametrize("wait", [True, False])
async def test_a_call_without_tls_at_a_port_with_it(bus: RunningProgram, wait: bool) -> None:
    """The error shows what to write."""
    error = await _refused(_client(without_tls(bus.address), None, wait))
    assert error.details["reason"] == "tls_required"
    assert f"write {bus.address}" in error.message


@pytest.mark.parametrize("wait", [True, False])
async def test_a_call_with_tls_at_a_port_without_it(bus_address: str, authority: Authority, wait: bool) -> None:
    """It never falls back to an open connection."""
    error = await _refused(_client(f"tls://{bus_address}", authority.client, wait))
    assert error.details["reason"] == "not_tls"
    assert "does not speak TLS" in error.message


def _expired(directory: Path, *identities: str) -> tuple[trustme.CA, tuple[str, str]]:
    """An authority and a certificate of it that ended an hour ago: its two files."""
    authority = trustme.CA()
    ended = datetime.now(UTC) - timedelta(hours=1)
    leaf = authority.issue_cert(*identities, not_before=ended - timedelta(days=1), not_after=ended)
    chain, key = directory / "expired.pem", directory / "expired.key"
    leaf.cert_chain_pems[0].write_to_path(chain)
    key.touch(0o600)
    leaf.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(directory / "expired-ca.pem")
    return authority, (str(chain), str(key))


@pytest.fixture
async def expired_service(socket_dir: Path) -> AsyncIterator[str]:
    """The address of a bare server with an expired certificate: our programs do not start with one."""
    _, (chain, key) = _expired(socket_dir, "127.0.0.1")
    server = grpc.aio.server()
    pair = (Path(key).read_bytes(), Path(chain).read_bytes())  # noqa: ASYNC240
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    yield f"tls://127.0.0.1:{port}"
    await server.stop(0)


async def test_a_service_whose_certificate_is_over_is_not_trusted(expired_service: str, socket_dir: Path) -> None:
    """Whoever signed it."""
    error = await _refused(
        GrpcMessageBus(expired_service, tls=Tls(ca=f"{socket_dir}/expired-ca.pem"), connect_timeout=PATIENCE)
    )
    assert error.details["reason"] == "expired"
    assert "not valid now: certificate has expired" in error.message


async def test_a_client_does_not_call_with_a_certificate_that_is_over(bus: RunningProgram, socket_dir: Path) -> None:
    """It is told before anything is sent, and when it ended."""
    _, (chain, key) = _expired(socket_dir, "coding-01")
    error = await _refused(GrpcMessageBus(bus.address, tls=Tls(cert=chain, key=key), connect_timeout=PATIENCE))
    assert error.details["reason"] == "expired"
    assert f"TRUNKLINE_TLS_CERT {chain} expired on 20" in error.message


@pytest.mark.parametrize(("begins", "ends"), [(-48, -1), (1, 48)], ids=["expired", "not yet valid"])
def test_a_service_takes_no_client_certificate_that_is_not_valid_now(
    begins: int, ends: int, bus: RunningProgram, authority: Authority, tmp_path: Path
) -> None:
    """Of its own authority, from a client that does not look at it itself. The handshake ends, and the log has it."""
    hours = timedelta(hours=1)
    now = datetime.now(UTC)
    signer = trustme.CA.from_pem(*((authority.directory / name).read_bytes() for name in ("ca.pem", "ca.key")))
    leaf = signer.issue_cert("coding-01", not_before=now + begins * hours, not_after=now + ends * hours)
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    before = bus.output().count("CERTIFICATE_VERIFY_FAILED")
    assert _greeting(bus, authority, tmp_path / "both.pem") == b""
    deadline = time.monotonic() + PATIENCE
    while bus.output().count("CERTIFICATE_VERIFY_FAILED") == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert _greeting(bus, authority, authority.client.cert, authority.client.key) != b""


def _greeting(bus: RunningProgram, authority: Authority, *own: Any) -> bytes:
    """What the service says first to who shows a certificate: HTTP/2's settings, or nothing, and the connection ends.
    With TLS 1.3 a refusal comes behind the client's own part of the handshake."""
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(*own)
    context.set_alpn_protocols(["h2"])
    host, port = host_and_port(bus.address)
    with (
        suppress(ssl.SSLError, ConnectionResetError),
        socket.create_connection((host, port), PATIENCE) as raw,
        context.wrap_socket(raw, server_hostname=host) as connection,
    ):
        return connection.recv(4_096)
    return b""


def test_tls_is_not_given_for_an_address_without_it(authority: Authority) -> None:
    """Who forgets `tls://` is not called open."""
    for kind in (GrpcMessageBus, GrpcStateManager):
        with pytest.raises(TlsError, match=r"127\.0\.0\.1:7431 is called without TLS: write tls://host:port"):
            kind("127.0.0.1:7431", tls=authority.client)


@pytest.mark.parametrize("address", ["tls://", "tls://host", "tls://tls://host:1", "tls:///x.sock:1", "https://host:1"])
def test_an_address_is_checked_behind_its_form_too(address: str) -> None:
    """As every other."""
    with pytest.raises(InvalidAddressError, match="is no address: want host:port"):
        GrpcMessageBus(address)


async def test_who_waits_for_a_service_that_is_not_there_is_not_told_of_tls(authority: Authority) -> None:
    """Nobody listens: that is no matter of TLS."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"tls://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(MessageBusError, match=r"Connection refused|did not answer") as caught:
            await GrpcMessageBus(
                address, tls=authority.client, wait_for_ready=False, connect_timeout=PATIENCE
            ).connect()
    assert caught.value.error_code == "BUS_DISCONNECTED"


def _speaks(context: ssl.SSLContext, address: tuple[str, int]) -> str | None:
    with socket.create_connection(address, PATIENCE) as raw, context.wrap_socket(raw) as connection:
        return connection.version()


def _only(version: ssl.TLSVersion, authority: Authority) -> ssl.SSLContext:
    """A client of one version, which may use what its library calls too weak."""
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(authority.client.cert, authority.client.key)
    context.minimum_version = context.maximum_version = version
    found: ssl.SSLContext = context
    return found


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_nothing_below_tls_1_2_is_spoken(bus: RunningProgram, authority: Authority) -> None:
    """A client of 1.1 is refused; the same client gets 1.1 from a server that speaks it, so it is the bus that
    refuses."""
    where = host_and_port(bus.address)
    assert _speaks(_only(ssl.TLSVersion.TLSv1_2, authority), where) == "TLSv1.2"
    assert _speaks(_only(ssl.TLSVersion.TLSv1_3, authority), where) == "TLSv1.3"
    old = _only(ssl.TLSVersion.TLSv1_1, authority)
    with pytest.raises(ssl.SSLError):
        _speaks(old, where)
    bus.wait_for("UNSUPPORTED_PROTOCOL")
    weak: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    weak.minimum_version = ssl.TLSVersion.TLSv1_1
    weak.set_ciphers("ALL:@SECLEVEL=0")
    weak.load_cert_chain(f"{authority.directory}/server.pem", f"{authority.directory}/server.key")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert _answered_by(weak, listening, old) == "TLSv1.1"


def _answered_by(weak: ssl.SSLContext, listening: socket.socket, client: ssl.SSLContext) -> str | None:
    def serve() -> None:
        raw, _ = listening.accept()
        with raw, weak.wrap_socket(raw, server_side=True) as connection:
            connection.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        return _speaks(client, listening.getsockname())
    finally:
        thread.join(PATIENCE)
