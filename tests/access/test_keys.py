"""Keys that are fetched by https: away at first, rotated, taken away, and whatever else a server may answer."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.access.conftest import AUDIENCE, ISSUER, Issuer
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.tls.conftest import Authority
from trunkline.errors import TrunklineError, UnauthenticatedError
from trunkline.tls.certificates import write_certificates
from trunklined.access import proof
from trunklined.access.jwt import load_keys
from trunklined.access.jwt_terms import JwtTerms
from trunklined.access.proof import Proof
from trunklined.access.proof_errors import KeysAwayError, KeysError

TERMS = JwtTerms(issuer=ISSUER, audience=AUDIENCE)


class KeyServer:
    """Answers each GET with what it has."""

    def __init__(self, certs: Authority) -> None:
        self.certs = certs
        self.status = 200
        self.body = b"{}"
        self.asked = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the library's name
                outer.asked += 1
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.send_header("Location", "https://localhost:1/other")
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certs.directory}/server.pem", f"{certs.directory}/server.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.server_address[1]}/keys"


@pytest.fixture
def key_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyServer]:
    """One that this process trusts, by what the operating system is told."""
    certs = Authority(tmp_path / "certs")
    write_certificates(certs.directory)
    monkeypatch.setenv("SSL_CERT_FILE", certs.ca)
    found = KeyServer(certs)
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()


async def test_keys_that_are_away_refuse_every_token_until_they_are_there(
    key_server: KeyServer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With UNAVAILABLE, which clients try again; never is anybody let in."""
    monkeypatch.setattr(proof, "AGAIN_SECONDS", 0.0)
    key_server.status = 503
    keys = Proof(jwt_keys=key_server.url, terms=TERMS)
    with pytest.raises(KeysAwayError):
        await keys.prove(issuer.token("x"))
    key_server.status, key_server.body = 200, issuer.path.read_bytes()
    assert (await keys.prove(issuer.token("x"))).name == "x"
    key_server.status = 503
    keys.look()
    assert (await keys.prove(issuer.token("y"))).name == "y"  # those of before count on


async def test_a_key_that_is_new_is_fetched_when_it_is_used_but_not_at_will(
    key_server: KeyServer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes keys up does not make the service ask for each."""
    key_server.body = issuer.path.read_bytes()
    keys = Proof(jwt_keys=key_server.url, terms=TERMS)
    issuer.add("two")
    key_server.body = issuer.path.read_bytes()
    with pytest.raises(UnauthenticatedError):
        await keys.prove(issuer.token("x", kid="two"))
    assert key_server.asked == 1
    monkeypatch.setattr(proof, "AGAIN_SECONDS", 0.0)
    assert (await keys.prove(issuer.token("x", kid="two"))).name == "x"
    assert key_server.asked == 2


async def test_a_key_that_is_taken_away_counts_no_more(
    key_server: KeyServer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a token that was seen before."""
    issuer.add("two")
    key_server.body = issuer.path.read_bytes()
    keys = Proof(jwt_keys=key_server.url, terms=TERMS)
    token = issuer.token("x", kid="two")
    await keys.prove(token)
    issuer.publish("one")
    key_server.body = issuer.path.read_bytes()
    assert not keys.look()
    monkeypatch.setattr(proof, "KEYS_SECONDS", 0.0)
    assert keys.look()
    with pytest.raises(UnauthenticatedError):
        await keys.prove(token)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"", "cannot be fetched: Not Found"),
        (302, b"", "cannot be fetched: Found"),
        (200, b"<html>", "is neither PEM nor a JWKS document"),
        (200, b"[" * 100_000, "is neither PEM nor a JWKS document"),
        (200, b'{"keys": []}', "has no keys"),
        (200, b'{"keys": [1]}', "has a key that is no object"),
        (200, b'{"keys": [{"kty": "XX"}]}', "has no public key for signatures that is known here"),
        (200, b'{"keys": [{"kty": "oct", "k": "eA"}]}', "has a secret key"),
        (200, b"x" * 1_100_000, "has more than"),
    ],
)
def test_what_is_no_document_of_keys_is_told(key_server: KeyServer, status: int, body: bytes, words: str) -> None:
    """And nothing else happens."""
    key_server.status, key_server.body = status, body
    with pytest.raises(KeysError, match=words):
        load_keys(key_server.url)


def test_a_server_that_is_not_trusted_is_not_asked(key_server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever plays the issuer lets himself in."""
    monkeypatch.delenv("SSL_CERT_FILE")
    key_server.body = json.dumps({"keys": []}).encode()
    with pytest.raises(KeysError, match=r"cannot be fetched: .*CERTIFICATE_VERIFY_FAILED"):
        load_keys(key_server.url)
    assert key_server.asked == 0


async def test_a_program_starts_while_its_keys_are_away(
    start_program: StartProgram, key_server: KeyServer, issuer: Issuer
) -> None:
    """It says so, and lets nobody in; it does so when they have come."""
    key_server.status = 503
    options = ("--jwt-keys", key_server.url, "--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE)
    program = start_program("bus", "--engine", "memory", *options)
    program.wait_for("cannot be fetched: Service Unavailable")

    async def ask(**words: Any) -> None:
        async with grpc.aio.insecure_channel(program.address) as channel:
            call: Any = channel.unary_unary("/trunkline.v1.BusService/GetStats")
            metadata = (("authorization", f"Bearer {issuer.token('x')}"),)
            await call(b"", metadata=metadata, timeout=PATIENCE, **words)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    key_server.status, key_server.body = 200, issuer.path.read_bytes()
    program.wait_for("tokens and their keys were read anew")
    await ask()
    assert issubclass(KeysAwayError, TrunklineError)
