"""Who is let in, by real handshakes: each bad token with its status and a line of the log."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.access.conftest import Issuer, Serve, TokenFile, public_pem, replace
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import health, run_program
from trunkline import (
    AgentMessage,
    GrpcMessageBus,
    GrpcStateManager,
    MessageType,
    TlsError,
    UnauthenticatedError,
    sync,
)
from trunklined.access.control import LOOK_SECONDS
from trunklined.access.jwt import LEEWAY_SECONDS

NEWS = AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="x", payload={})


def _encode(part: Any) -> str:
    return (
        base64.urlsafe_b64encode(part if isinstance(part, bytes) else json.dumps(part).encode()).rstrip(b"=").decode()
    )


def _unsigned(issuer: Issuer) -> str:
    _, claims, _ = issuer.token("x").split(".")
    return f"{_encode({'alg': 'none', 'typ': 'JWT'})}.{claims}."


def _hmac_with_public_key(issuer: Issuer) -> str:
    import hashlib
    import hmac

    _, claims, _ = issuer.token("x").split(".")
    signed = f"{_encode({'alg': 'HS256', 'typ': 'JWT', 'kid': 'one'})}.{claims}"
    mac = hmac.new(public_pem(issuer.keys["one"]), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_encode(mac)}"


def _cut(issuer: Issuer) -> str:
    head, claims, _ = issuer.token("x").split(".")
    return f"{head}.{claims}.{_encode(b'x' * 64)}"


OTHER = ec.generate_private_key(ec.SECP256R1())
BAD: dict[str, Callable[[Issuer], str]] = {
    "expired": lambda issuer: issuer.token("x", exp=time.time() - LEEWAY_SECONDS - 5),
    "not yet valid": lambda issuer: issuer.token("x", nbf=time.time() + LEEWAY_SECONDS + 60),
    "signature": lambda issuer: issuer.token("x", key=OTHER),
    "signature, made up": _cut,
    "algorithm": _unsigned,
    "algorithm, HMAC with the public key": _hmac_with_public_key,
    "audience": lambda issuer: issuer.token("x", aud="another"),
    "issuer": lambda issuer: issuer.token("x", iss="https://another.test"),
    "unknown key": lambda issuer: issuer.token("x", kid="two", key=OTHER),
    "missing claim": lambda issuer: issuer.token("x", exp=None),
    "missing claim, the audience": lambda issuer: issuer.token("x", aud=None),
    "missing claim, the name": lambda issuer: issuer.token("x", sub=None),
    "bad name": lambda issuer: issuer.token("uid:0"),
    "bad name, nobody's": lambda issuer: issuer.token("anonymous"),
    "malformed": lambda issuer: "not.a.token",
    "malformed, beyond all time": lambda issuer: issuer.token("x", exp=10**400),
    "unknown token": lambda issuer: "tlk.coding-01.c2VjcmV0",
    "unknown token, of nobody": lambda issuer: "tlk.nobody.c2VjcmV0",
}


@pytest.fixture
def guarded(start_program: StartProgram, issuer: Issuer, token_file: TokenFile) -> Any:
    """A bus that takes both kinds of tokens."""
    return start_program("bus", "--engine", "memory", *issuer.options, "--token-file", str(token_file.path))


async def _why_refused(address: str, metadata: tuple[tuple[str, str], ...]) -> grpc.aio.AioRpcError:
    async with grpc.aio.insecure_channel(address) as channel:
        ask: Any = channel.unary_unary("/trunkline.v1.BusService/GetStats")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(b"", metadata=metadata, timeout=PATIENCE)
    return caught.value


async def test_each_bad_token_is_refused_with_status_and_log_line(guarded: Any, issuer: Issuer) -> None:
    """Its text is in neither."""
    for why, make in BAD.items():
        token = make(issuer)
        status = await _why_refused(guarded.address, (("authorization", f"Bearer {token}"),))
        assert status.code() is grpc.StatusCode.UNAUTHENTICATED, why
        assert token not in f"{status.details()}{status.debug_error_string()}"
        guarded.wait_for(f'"why": "{why.partition(",")[0]}"')
        with pytest.raises(UnauthenticatedError) as caught:
            await GrpcMessageBus(guarded.address, token=token).connect()
        assert caught.value.details["why"] == why.partition(",")[0]
        assert token not in guarded.output()


async def test_a_claim_that_the_settings_ask_for_must_be_there(serve: Serve, issuer: Issuer) -> None:
    """Whatever it says; the error names it."""
    async with serve("bus", **issuer.settings, jwt_required_claims=["tenant"]) as address:
        status = await _why_refused(address, (("authorization", f"Bearer {issuer.token('x')}"),))
        assert status.code() is grpc.StatusCode.UNAUTHENTICATED
        assert status.details() == "the token has no claim 'tenant'"
        async with GrpcMessageBus(address, token=issuer.token("x", tenant="a")) as bus:
            await bus.flush()


@pytest.mark.parametrize(
    ("given", "why"),
    [(None, "no token"), ("Basic eDp5", "malformed"), ("Bearer", "malformed"), ("Bearer  ", "malformed")],
)
async def test_who_gives_no_token_is_refused(guarded: Any, given: str | None, why: str) -> None:
    """Nothing is open because something was left out."""
    status = await _why_refused(guarded.address, (("authorization", given),) if given else ())
    assert status.code() is grpc.StatusCode.UNAUTHENTICATED
    guarded.wait_for(f'"why": "{why}"')


async def test_health_is_for_everybody_and_reflection_is_not(guarded: Any, serve: Serve, issuer: Issuer) -> None:
    """Probes have no token; who looks at the calls has one, unless the settings say otherwise."""
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    async def services(address: str, metadata: Any = None) -> int:
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
            ask = [reflection_pb2.ServerReflectionRequest(list_services="")]
            answers = [answer async for answer in stub.ServerReflectionInfo(iter(ask), metadata=metadata)]
        return len(answers[0].list_services_response.service)

    assert health(guarded.address) == "SERVING"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await services(guarded.address)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert await services(guarded.address, (("authorization", f"Bearer {issuer.token('x')}"),)) == 4
    async with serve("bus", **issuer.settings, reflection="open") as address:
        assert await services(address) == 4


async def test_a_good_token_opens_every_face(
    start_program: StartProgram,
    issuer: Issuer,
    token_file: TokenFile,
    guarded: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As text, as a file, from the environment; asynchronous, blocking, on the command line, and through a sidecar."""
    state = start_program("state", "--engine", "memory", "--token-file", str(token_file.path)).address
    static, signed = token_file.tokens["coding-01"], issuer.token("agent-7")
    path = tmp_path / "token"
    replace(path, f"{static}\n")
    async with GrpcMessageBus(guarded.address, token=signed) as bus:
        await bus.publish("news", NEWS)
        await bus.flush()
        await bus.subscribe("news", _ignore)
        assert [each.peer async for each in bus.subscriptions() if each.peer.startswith("agent-7 (")]
    async with GrpcStateManager(state, token=path) as manager:
        assert await manager.list_agent_states() == []
    await asyncio.to_thread(_use_blocking, guarded.address, path)

    monkeypatch.setenv("TRUNKLINE_TOKEN_FILE", str(path))
    async with GrpcMessageBus(guarded.address) as bus:
        await bus.publish("news", NEWS)
        await bus.flush()
    done = await asyncio.to_thread(
        run_program, "--bus", guarded.address, "publish", "news", "{}", module="trunkline.cli"
    )
    assert done.returncode == 0, done.stderr
    sidecar = start_program(
        "sidecar",
        *("--bus-address", guarded.address, "--state-address", state, "--socket-path", "", "--store-path", ""),
        env={"TRUNKLINE_TOKEN_FILE": str(path)},
    )
    monkeypatch.delenv("TRUNKLINE_TOKEN_FILE")
    async with GrpcMessageBus(sidecar.address) as bus, GrpcStateManager(sidecar.address) as manager:
        await bus.publish("news", NEWS)
        await bus.flush()
        assert await manager.list_agent_states() == []


async def _ignore(_: AgentMessage) -> None:
    """Does nothing."""


def _use_blocking(address: str, token: Path) -> None:
    with sync.MessageBus(address, token=token) as bus:
        bus.publish("news", NEWS)
        bus.flush()


@pytest.mark.parametrize("client", [GrpcMessageBus, GrpcStateManager])
async def test_a_token_never_leaves_this_machine_without_tls(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client refuses before anything is sent."""
    with pytest.raises(
        TlsError, match=r"a token is not sent to 192\.0\.2\.7:7431, beyond this machine and without TLS"
    ):
        await client("192.0.2.7:7431", token="secret").connect()
    monkeypatch.setenv("TRUNKLINE_TOKEN", "secret")
    with pytest.raises(TlsError, match=r"write tls://192\.0\.2\.7:7431") as caught:
        await client("192.0.2.7:7431").connect()
    assert "secret" not in str(caught.value)
    assert caught.value.details["reason"] == "tls_required"


async def test_a_token_goes_by_no_proxy(
    start_program: StartProgram, guarded: Any, token_file: TokenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which the environment names for all the world: neither a client's nor a sidecar's."""
    came: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readline())
        writer.close()

    proxy = await asyncio.start_server(hear, "127.0.0.1", 0)
    where = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    proxies = dict.fromkeys(("grpc_proxy", "http_proxy", "https_proxy"), where)
    token = token_file.tokens["coding-01"]
    sidecar = await asyncio.to_thread(
        start_program,
        *("sidecar", "--bus-address", guarded.address, "--socket-path", "", "--store-path", ""),
        env={**proxies, "no_proxy": "", "TRUNKLINE_TOKEN": token},
    )
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    async with (
        asyncio.timeout(PATIENCE),
        proxy,
        GrpcMessageBus(guarded.address, token=token) as bus,
        GrpcMessageBus(sidecar.address) as beside,
    ):
        for each in (bus, beside):
            await each.publish("news", NEWS)
            await each.flush()
    assert came == []


@pytest.mark.parametrize("token", ["", "two words", "ümlaut", "x" * 9_000])
async def test_what_is_no_token_is_refused_and_not_shown(token: str, guarded: Any, tmp_path: Path) -> None:
    """Also in a file; and a file that is not there."""
    path = tmp_path / "token"
    path.write_text(token)
    for given in (token, path, tmp_path / "none"):
        with pytest.raises(UnauthenticatedError) as caught:
            await GrpcMessageBus(guarded.address, token=given).connect()
        assert not token or token not in caught.value.message


async def test_a_token_that_is_replaced_is_read_anew(guarded: Any, token_file: TokenFile, tmp_path: Path) -> None:
    """The stream of the old one ends within LOOK_SECONDS of its removal; the client comes back with the new one."""
    path = tmp_path / "token"
    replace(path, token_file.tokens["coding-01"])
    ended, restored = asyncio.Event(), asyncio.Event()
    bus = GrpcMessageBus(
        guarded.address, token=path, on_disconnected=lambda _: ended.set(), on_reconnected=restored.set
    )
    async with bus, asyncio.timeout(PATIENCE):
        fresh = token_file.add("coding-02")
        replace(path, fresh)
        token_file.remove("coding-01")
        await ended.wait()
        await restored.wait()
        await bus.publish("news", NEWS)
        await bus.flush()


@pytest.mark.parametrize("how", ["the line is removed", "the key is removed", "the token expires"])
async def test_a_stream_ends_when_its_proof_counts_no_more(
    how: str, guarded: Any, token_file: TokenFile, issuer: Issuer
) -> None:
    """The client is told why, does not try again, and says so to whoever calls it. The same token is refused then."""
    issuer.add("two")
    token = token_file.tokens["coding-01"] if "line" in how else issuer.token("agent-7", kid="two")
    if "expires" in how:
        token = issuer.token("agent-7", exp=time.time() - LEEWAY_SECONDS + 3)
    async with asyncio.timeout(PATIENCE):
        while True:  # a new key counts when the service has looked
            try:
                bus = GrpcMessageBus(guarded.address, token=token)
                await bus.connect()
                break
            except UnauthenticatedError:
                assert "key" in how
                await asyncio.sleep(LOOK_SECONDS / 10)
        began = time.monotonic()
        received = asyncio.ensure_future(anext(bus.messages("news")))
        await bus.flush()
        if "line" in how:
            token_file.remove("coding-01")
        elif "key" in how:
            issuer.publish("one")
        with pytest.raises(UnauthenticatedError, match="has expired, or was taken back"):
            await received
        assert time.monotonic() - began < LOOK_SECONDS + PATIENCE / 2
        with pytest.raises(UnauthenticatedError):
            await bus.publish("news", NEWS)
        await bus.disconnect()
        with pytest.raises(UnauthenticatedError):
            await GrpcMessageBus(guarded.address, token=token).connect()


def test_files_that_cannot_be_taken_end_the_start(tmp_path: Path, token_file: TokenFile, issuer: Issuer) -> None:
    """Exit code 2, and one line that names setting, file and what is wrong; never a stack trace, and never open."""
    private = tmp_path / "private.pem"
    private.write_bytes(OTHER.private_bytes(*(_private_pem())))
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}]}))
    broken = tmp_path / "broken"
    broken.write_text("coding-01 sha256:xyz\n")
    loose = tmp_path / "loose"
    loose.write_text(token_file.path.read_text())
    loose.chmod(0o666)
    said = ("--jwt-issuer", "i", "--jwt-audience", "a")
    for options, words in (
        (("--token-file", "none"), "--token-file (TRUNKLINE_BUS_TOKEN_FILE): none cannot be read: No such file"),
        (("--token-file", str(broken)), "line 1: is not of the form NAME sha256:SALT:HASH"),
        (("--token-file", str(loose)), "can be written by others"),
        (("--jwt-keys", "none", *said), "--jwt-keys (TRUNKLINE_BUS_JWT_KEYS): none cannot be read"),
        (("--jwt-keys", str(private), *said), "has a private key: give the public one"),
        (("--jwt-keys", str(secret), *said), "has a secret key"),
        (("--jwt-keys", str(broken), *said), "is neither PEM nor a JWKS document"),
        (("--jwt-keys", str(issuer.path)), "--jwt-keys (TRUNKLINE_BUS_JWT_KEYS) is set without --jwt-issuer"),
        (("--jwt-keys", "http://x/keys", *said), "is fetched by https:// only"),
        (("--jwt-keys", "x", *said, "--jwt-algorithms", '["HS256"]'), "has 'HS256', which cannot be allowed"),
        (("--jwt-keys", "x", *said, "--jwt-algorithms", '["none"]'), "has 'none', which cannot be allowed"),
        (("--access-file", "none"), "--access-file (TRUNKLINE_BUS_ACCESS_FILE): none: it cannot be read"),
    ):
        done = run_program("bus", "--engine", "memory", "--address", "127.0.0.1:0", *options)
        assert done.returncode == 2, options
        (line,) = done.stderr.splitlines()
        assert words in line
        assert "Traceback" not in line


def _private_pem() -> tuple[Any, Any, Any]:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()


async def test_a_user_of_this_machine_is_known_by_the_socket(serve: Serve, tmp_path: Path) -> None:
    """Nobody else can connect to it."""
    async with serve("bus", address=f"unix:{tmp_path}/bus.sock") as address, GrpcMessageBus(address) as bus:
        assert (tmp_path / "bus.sock").stat().st_mode & 0o777 == 0o600
        await bus.subscribe("news", _ignore)
        (own,) = [each async for each in bus.subscriptions()]
        assert own.peer == f"uid:{os.geteuid()} (unix: [{bus.client_name}])"


async def test_keys_of_pem_have_no_id_and_are_all_tried(serve: Serve, issuer: Issuer, tmp_path: Path) -> None:
    """A file with several."""
    issuer.add("two")
    pem = tmp_path / "keys.pem"
    pem.write_bytes(public_pem(issuer.keys["one"]) + public_pem(issuer.keys["two"]))
    async with serve("bus", **{**issuer.settings, "jwt_keys": str(pem)}) as address:
        for kid in ("one", "two"):
            async with GrpcMessageBus(address, token=issuer.token("x", kid=kid)) as bus:
                await bus.flush()
        with pytest.raises(UnauthenticatedError):
            await GrpcMessageBus(address, token=issuer.token("x", key=OTHER)).connect()
        assert jwt.get_unverified_header(issuer.token("x"))["kid"] == "one"
