"""Nothing is open by accident: who listens beyond this machine serves TLS, or was told to do without and says so."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError

from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import run_program
from tests.tls.conftest import Authority
from trunkline.addresses import is_local
from trunklined.bus.config import Settings
from trunklined.command import PROGRAMS
from trunklined.rpc.health import INSECURE


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/run/x.sock", "unix:x"],
)
def test_only_this_machine_reaches_loopback_and_unix_sockets(address: str) -> None:
    """They are exempt, whatever they are written like."""
    assert is_local(address)
    assert not Settings(address=address).is_exposed


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "10.1.2.3:1", "192.0.2.7:1", "[2001:db8::1]:1", "0:1"])
def test_other_machines_reach_all_else(address: str) -> None:
    """Each is refused, and served with TLS, or on demand without."""
    assert not is_local(address)
    with pytest.raises(ValidationError, match=r"other machines reach, without TLS"):
        Settings(address=address)
    assert Settings(address=address, insecure=True).is_exposed
    with pytest.raises(ValidationError, match=r"other machines reach, and nobody is asked who they are: set .*TOKEN"):
        Settings(address=address, tls_cert="c", tls_key="k")
    assert Settings(address=address, tls_cert="c", tls_key="k", insecure=True).is_exposed
    proofs: tuple[dict[str, Any], ...] = (
        {"tls_client_ca": "ca"},
        {"token_file": "t"},
        {"jwt_keys": "k", "jwt_issuer": "i", "jwt_audience": "a"},
    )
    for proof in proofs:
        assert not Settings(address=address, tls_cert="c", tls_key="k", **proof).is_exposed
        with pytest.raises(ValidationError, match=r"other machines reach, without TLS|is set without --tls-cert"):
            Settings(address=address, **proof)


def test_a_name_that_is_not_found_counts_as_reached_by_others() -> None:
    """What it will be one day is not known."""
    assert not is_local("no-such-host.invalid:1")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_is_open_to_others_does_not_start(program: str) -> None:
    """Each of the three: exit code 2, one line that names the setting and what to do."""
    done = run_program(program, "--address", "0.0.0.0:0")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    prefix = f"TRUNKLINE_{program.upper()}_"
    assert f"--address ({prefix}ADDRESS) is 0.0.0.0:0, which other machines reach, without TLS" in line
    for name in ("TLS_CERT", "TLS_KEY", "INSECURE"):
        assert f"({prefix}{name})" in line


def test_a_program_that_is_told_to_be_open_says_so_at_each_start(start_program: StartProgram) -> None:
    """In the log, in the metrics, and in what health answers."""
    options = ("--metrics-address", "127.0.0.1:0")
    program = start_program("bus", *options, env={"TRUNKLINE_BUS_ADDRESS": "", "TRUNKLINE_BUS_INSECURE": "true"})
    assert _metric(program, "trunkline_insecure") == 0
    assert "insecure" not in program.output()
    assert _said_by_health(program) is None

    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("0.0.0.0", 0))
        program = start_program("bus", "--insecure", *options, address=f"0.0.0.0:{held.getsockname()[1]}")
        for start in (1, 2):
            warnings = [event for event in program.events() if event["event"].startswith("insecure: no TLS")]
            assert [event["level"] for event in warnings] == ["warning"] * start
            assert _metric(program, "trunkline_insecure") == 1
            assert _said_by_health(program) == "without TLS"
            if start == 1:
                program.restart()


def test_a_program_with_tls_is_not_insecure(start_program: StartProgram, authority: Authority) -> None:
    """And tells when its certificate ends."""
    program = start_program("bus", "--metrics-address", "127.0.0.1:0", *authority.served, tls=authority.trust)
    assert _metric(program, "trunkline_insecure") == 0
    assert _metric(program, "trunkline_tls_certificate_end_seconds") > time.time()


def _said_by_health(program: Any) -> str | None:
    """What the metadata of its answer say is missing."""
    port = program.address.rpartition(":")[2]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer, call = stub.Check.with_call(health_pb2.HealthCheckRequest(), timeout=PATIENCE)  # type: ignore[attr-defined]
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    return dict(call.trailing_metadata()).get(INSECURE)


def _metric(program: Any, name: str) -> float:
    with urllib.request.urlopen(f"http://{program.metrics_address}/metrics", timeout=PATIENCE) as page:
        (found,) = re.findall(rf"^{name} (\S+)$", page.read().decode(), re.MULTILINE)
    return float(found)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"tls_cert": "c"}, r"--tls-cert \(TRUNKLINE_BUS_TLS_CERT\) is set without --tls-key"),
        ({"tls_key": "k"}, r"--tls-key \(TRUNKLINE_BUS_TLS_KEY\) is set without --tls-cert"),
        ({"tls_client_ca": "ca"}, r"--tls-client-ca \(TRUNKLINE_BUS_TLS_CLIENT_CA\) is set without --tls-cert"),
        ({"address": "tls://127.0.0.1:1"}, r"tls://127\.0\.0\.1:1, which needs --tls-cert"),
        ({"address": "unix:/x", "tls_cert": "c", "tls_key": "k"}, r"a UNIX socket, which is served without TLS"),
    ],
)
def test_tls_is_set_up_whole_or_not_at_all(given: dict[str, Any], wrong: str) -> None:
    """Half of it is a mistake, and no reason to serve without."""
    with pytest.raises(ValidationError, match=wrong):
        Settings(**given)


def test_metrics_are_not_served_by_tls() -> None:
    """They are counts, on an address of their own."""
    with pytest.raises(ValidationError, match="host:port only"):
        Settings(metrics_address="tls://127.0.0.1:1")
