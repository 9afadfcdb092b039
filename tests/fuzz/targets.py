"""What reads what comes from outside, and knows no service: each takes bytes, and raises only what it promises."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from trunkline.channels import check_channel, check_pattern, covers, matches
from trunkline.errors import InvalidChannelError, TrunklineError, UnauthenticatedError
from trunkline.message_channel.unix_socket.dialects import LineError, decode, encode, is_whole
from trunkline.message_channel.unix_socket.framing import LineBuffer, LineTooLongError
from trunklined.access.access_file import AccessFileError, parse_policy
from trunklined.access.jwt import load_keys
from trunklined.access.jwt_terms import JwtTerms
from trunklined.access.policy import Policy
from trunklined.access.proof import Proof
from trunklined.access.proof_errors import KeysError
from trunklined.access.rights import ALL, RIGHTS, Form, Need
from trunklined.access.tokens import StaticTokens, TokenFileError, make_token

Target = Callable[[bytes], None]
ISSUER = "https://issuer.test"
LINE_BYTES = 4_096


def lines(data: bytes) -> None:
    """The UNIX socket's lines: cut out of what comes in any pieces, read, and answered as they were spoken."""
    buffer = LineBuffer(LINE_BYTES)
    step = 1 + data[0] if data else 1
    for begin in range(0, len(data), step):
        buffer.feed(data[begin : begin + step])
        with suppress(LineTooLongError):
            while (line := buffer.next()) is not None:
                _line(line)
        assert len(buffer) <= LINE_BYTES + step
    _line(buffer.take_rest())


def _line(line: bytes) -> None:
    is_whole(line)
    with suppress(LineError):
        spoken = decode(line)
        with suppress(TrunklineError):  # the answer is too long
            decode(encode(spoken.message, spoken.dialect).rstrip(b"\n"))


def tokens(data: bytes) -> None:
    """Tokens, static and signed: what is none proves nothing."""
    proof, loop = _proof()
    text = data.decode("utf-8", "surrogateescape")
    try:
        proven = loop.run_until_complete(proof.prove(text))
    except UnauthenticatedError as error:
        shown = error.message
    else:
        assert proven.name in ("agent-7", "coding-01")
        return
    assert len(text) < 20 or text not in shown  # it is shown to nobody


def claims(data: bytes) -> None:
    """What a token says that is signed as it must be: whoever signs may err."""
    proof, loop = _proof()
    signed = jwt.PyJWS().encode(data, _signer(), algorithm="ES256", headers={"kid": "one"})
    with suppress(UnauthenticatedError):
        assert loop.run_until_complete(proof.prove(signed)).name


@cache
def _signer() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def token(name: str = "agent-7") -> str:
    """A signed token that is taken."""
    return jwt.encode(_said(name), _signer(), algorithm="ES256", headers={"kid": "one"})


def _said(name: str, **more: object) -> dict[str, object]:
    """The claims of one."""
    return {"sub": name, "iss": ISSUER, "aud": "trunkline", "exp": time.time() + 3_600, **more}


DEEP = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 5_000).rstrip(b"=")
"""A header that is nested deeper than JSON is read; nobody has signed it."""
STATIC, _STATIC_LINE = make_token("coding-01")


@cache
def _proof() -> tuple[Proof, asyncio.AbstractEventLoop]:
    public = (
        _signer().public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with tempfile.TemporaryDirectory() as directory:
        keys, static = Path(directory, "keys.pem"), Path(directory, "tokens")
        keys.write_bytes(public)
        static.write_text(_STATIC_LINE)
        static.chmod(0o600)
        made = Proof(str(static), str(keys), JwtTerms(issuer=ISSUER, audience="trunkline"))
    return made, asyncio.new_event_loop()


def token_files(data: bytes) -> None:
    """Files of static tokens, and documents of keys."""
    with suppress(TokenFileError):
        StaticTokens(data.decode("utf-8", "replace"), "tokens")
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with suppress(KeysError):
            load_keys(file.name)


def patterns(data: bytes) -> None:
    """Channels and patterns: what is covered matches what it covers."""
    first, _, second = data.decode("utf-8", "surrogateescape").partition("\n")
    with suppress(InvalidChannelError):
        check_pattern(first)
        with suppress(InvalidChannelError):
            check_channel(second)
            assert covers([first], second) == matches(first, second)
        check_pattern(second)
        covers([first, second], second)
        assert covers([first, second], first)


def access_files(data: bytes) -> None:
    """Access files: taken whole or refused, and what is taken can be asked."""
    try:
        policy = parse_policy(data.decode("utf-8", "replace"), Path("access.toml"))
    except AccessFileError as error:
        message = error.message
    else:
        _ask(policy)
        return
    assert message.startswith("access.toml")


def _ask(policy: Policy) -> None:
    for name in ("agent-7", "anonymous", "uid:0", "a*"):
        policy.limits_of(name)
        permissions = policy.permissions_of(name)
        for right, form in RIGHTS.items():
            object = {Form.PATTERNS: "a:b", Form.NAMES: ALL, Form.RECORDS: "task_result/x", Form.WORDS: "stats"}[form]
            permissions.line_for(Need(right, object))


TARGETS: dict[str, Target] = {
    each.__name__: each for each in (lines, tokens, claims, token_files, patterns, access_files)
}


def seeds() -> dict[str, list[bytes]]:
    """What is taken by each: from there one looks further."""
    command = {"sender": "a", "type": "COMMAND", "payload": '{"x": 1}', "timestamp": "2025-07-27T10:00:00"}
    later = {"sender": "a", "event_name": "STATUS", "payload": {"x": [1]}, "request_id": "r", "protocol_version": "1.0"}
    allow = (
        '[[allow]]\nwho = ["agent-*"]\non_behalf_of = true\npublish = ["a:{identity}", ">"]\n'
        'records.read = ["agent_state/*"]\n[allow.durable]\njoin = ["x*"]\n'
    )
    limit = '[[limit]]\nwho = ["*"]\nmessages_per_second = 1.5\nmessages_burst = 3\nstreams = inf\nrequests = 2\n'
    jwk = {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "one", "use": "sig"}]}
    return {
        "lines": [json.dumps(line).encode() + b"\n" for line in (command, later)],
        "tokens": [token().encode(), STATIC.encode(), DEEP + b".e30.AA"],
        "claims": [json.dumps(_said("agent-7", **more)).encode() for more in ({}, {"exp": 10**400}, {"nbf": 1e308})],
        "token_files": [_STATIC_LINE.encode(), json.dumps(jwk).encode()],
        "patterns": [b"a:*\na:b", b"a:>\na:b:c", b">\nx"],
        "access_files": [allow.encode(), limit.encode(), (limit + allow).encode()],
    }
