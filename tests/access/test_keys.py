"""Keys that are fetched by https: away at first, rotated, taken away, and whatever else a server may answer."""

from __future__ import annotations

import asyncio
import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

from tests.access.conftest import AUDIENCE, ISSUER, Issuer, TokenFile
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.tls.conftest import Authority
from trunkline.errors import TrunklineError, UnauthenticatedError
from trunkline.tls.certificates import write_certificates
from trunklined.access import control, proof
from trunklined.access.control import AccessControl
from trunklined.access.identity import Identity
from trunklined.access.jwt import load_keys
from trunklined.access.jwt_terms import JwtTerms
from trunklined.access.proof import Proof
from trunklined.access.proof_errors import KeysAwayError, KeysError
from trunklined.access.rights import Need

TERMS = JwtTerms(issuer=ISSUER, audience=AUDIENCE)


class KeyServer:
    """Answers each GET with what it has."""

    def __init__(self, certs: Authority) -> None:
        self.certs = certs
        self.status = 200
        self.body = b"{}"
        self.asked = 0
        self.was_asked, self.is_open = threading.Event(), threading.Event()
        self.is_open.set()
        """Whether questions are answered; else they wait."""
        self.drops = False
        """Whether answers come byte by byte."""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the library's name
                outer.asked += 1
                outer.was_asked.set()
                outer.is_open.wait(PATIENCE)
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.send_header("Location", "https://localhost:1/other")
                self.end_headers()
                step = 1 if outer.drops else len(outer.body) or 1
                with suppress(OSError):  # who asked has given up
                    for begin in range(0, len(outer.body), step):
                        self.wfile.write(outer.body[begin : begin + step])
                        if outer.drops:
                            time.sleep(0.01)

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
        found.is_open.set()
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
    await keys.fetch_if_due()
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
    assert not await keys.fetch_if_due()
    monkeypatch.setattr(proof, "KEYS_SECONDS", 0.0)
    assert await keys.fetch_if_due()
    with pytest.raises(UnauthenticatedError):
        await keys.prove(token)


async def test_a_key_that_goes_as_a_new_one_is_used_counts_no_more(
    key_server: KeyServer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a token that was seen before: a token with the new key made the service ask."""
    monkeypatch.setattr(proof, "AGAIN_SECONDS", 0.0)
    issuer.add("two")
    key_server.body = issuer.path.read_bytes()
    keys = Proof(jwt_keys=key_server.url, terms=TERMS)
    old = issuer.token("x", kid="two")
    await keys.prove(old)
    issuer.add("three")
    issuer.publish("one", "three")
    key_server.body = issuer.path.read_bytes()
    await keys.prove(issuer.token("x", kid="three"))
    with pytest.raises(UnauthenticatedError):
        await keys.prove(old)


async def test_all_who_come_at_once_with_a_new_key_are_let_in(
    key_server: KeyServer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one question: clients do not try a refused token again."""
    key_server.body = issuer.path.read_bytes()
    monkeypatch.setattr(proof, "AGAIN_SECONDS", 0.0)
    keys = Proof(jwt_keys=key_server.url, terms=TERMS)
    monkeypatch.setattr(proof, "AGAIN_SECONDS", PATIENCE)
    keys._fetched -= 2 * PATIENCE  # so long ago
    issuer.add("two")
    key_server.body = issuer.path.read_bytes()
    proven = await asyncio.gather(*(keys.prove(issuer.token(f"agent-{each}", kid="two")) for each in range(5)))
    assert [each.name for each in proven] == [f"agent-{each}" for each in range(5)]
    assert key_server.asked == 2


async def test_a_server_that_does_not_answer_holds_up_nothing_else(
    key_server: KeyServer,
    issuer: Issuer,
    token_file: TokenFile,
    access_file: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is taken out of the files while the keys are fetched loses what it had, and a token whose key is not known is
    refused in time."""
    monkeypatch.setattr(control, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(proof, "FETCH_SECONDS", 0.1)
    key_server.body = issuer.path.read_bytes()
    path = access_file('[[allow]]\nwho = ["*"]\npublish = [">"]')
    keys = Proof(str(token_file.path), key_server.url, TERMS)
    monkeypatch.setattr(proof, "KEYS_SECONDS", 0.0)
    monkeypatch.setattr(proof, "AGAIN_SECONDS", 0.0)
    key_server.is_open.clear()
    key_server.was_asked.clear()
    held = AccessControl(keys, str(path))
    name, source, _ = await keys.prove(token_file.tokens["coding-01"])
    ended: asyncio.Future[TrunklineError] = asyncio.get_running_loop().create_future()
    gate = held.open(Identity(name, "token", "peer", source), "OpenStream", ended.set_result)
    changed = asyncio.Event()
    watch = asyncio.create_task(held.watch())
    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(key_server.was_asked.wait, PATIENCE)
        with pytest.raises(UnauthenticatedError, match="a key that is not known"):
            await keys.prove(issuer.token("x", kid="two", key=issuer.keys["one"]))
        gate.on_change = changed.set
        access_file("")
        await changed.wait()
        assert gate.refusal([Need("publish", "a")]) is not None
        token_file.remove("coding-01")
        assert isinstance(await ended, UnauthenticatedError)
    assert not key_server.is_open.is_set()
    watch.cancel()


async def test_what_goes_wrong_once_does_not_end_the_looking(
    token_file: TokenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has lost a right must lose it; the log says what was wrong."""
    monkeypatch.setattr(control, "LOOK_SECONDS", 0.0)
    keys = Proof(str(token_file.path))
    held = AccessControl(keys)
    looked, look = asyncio.Event(), keys.look
    failures = iter((RuntimeError("can't start new thread"),))

    def fail_once() -> bool:
        if (failure := next(failures, None)) is not None:
            raise failure
        looked.set()
        return look()

    monkeypatch.setattr(keys, "look", fail_once)
    watch = asyncio.create_task(held.watch())
    with structlog.testing.capture_logs() as logged:
        await asyncio.wait_for(looked.wait(), PATIENCE)
    watch.cancel()
    assert [each["event"] for each in logged] == ["what changed in access could not be taken up; it is tried again"]


def test_an_answer_that_comes_in_drops_is_given_up(key_server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout of each part alone would wait for ever."""
    monkeypatch.setattr("trunklined.access.jwt.FETCH_SECONDS", 0.2)
    key_server.body = b"x" * 1_000
    key_server.drops = True
    with pytest.raises(KeysError, match=r"cannot be fetched: the answer is not whole after 0\.2 s"):
        load_keys(key_server.url)


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
    assert "signed tokens are refused until then" in program.output()

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
