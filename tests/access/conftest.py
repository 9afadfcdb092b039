"""Tokens, keys and access files for the tests, and programs that are served in the test's own process."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from trunklined.access.rights import INSPECTED, RIGHTS, Form
from trunklined.access.tokens import make_token
from trunklined.bus import app as bus_app
from trunklined.bus.config import Settings as BusSettings
from trunklined.rpc.server import serving
from trunklined.state import app as state_app
from trunklined.state.config import Settings as StateSettings

ISSUER = "https://issuer.test"
AUDIENCE = "trunkline"
ALL_OF = {
    Form.PATTERNS: [">"],
    Form.NAMES: ["*"],
    Form.RECORDS: ["*/*"],
    Form.WORDS: list(INSPECTED),
}
EVERYTHING = "\n".join(f"{right} = {ALL_OF[form]}" for right, form in RIGHTS.items())
"""All rights that there are, as lines of a block."""
Serve = Callable[..., AbstractAsyncContextManager[str]]


@dataclass
class Issuer:
    """Signs tokens, and publishes the keys that they are checked with in a file."""

    path: Path
    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)

    def add(self, kid: str) -> None:
        """Makes a key, and publishes it with those that there are."""
        self.keys[kid] = ec.generate_private_key(ec.SECP256R1())
        self.publish(*self.keys)

    def publish(self, *kids: str) -> None:
        """Puts a document with these keys in the place of the one that is there."""
        document = {"keys": [{**_jwk(self.keys[kid]), "kid": kid, "use": "sig"} for kid in kids]}
        replace(self.path, json.dumps(document))

    def token(self, name: str, *, kid: str = "one", key: Any = None, alg: str = "ES256", **claims: Any) -> str:
        """Signs a token; a claim that is None is left out."""
        said = {"sub": name, "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 3600, **claims}
        said = {claim: value for claim, value in said.items() if value is not None}
        return jwt.encode(said, key or self.keys[kid], algorithm=alg, headers={"kid": kid})

    @property
    def settings(self) -> dict[str, Any]:
        """What a service takes such tokens by."""
        return {"jwt_keys": str(self.path), "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}

    @property
    def options(self) -> tuple[str, ...]:
        """The same as options of a program."""
        return tuple(word for name, value in self.settings.items() for word in (f"--{name.replace('_', '-')}", value))


def _jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    found: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return found


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public half of a key."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def replace(path: Path, text: str) -> None:
    """Puts a file in the place of another, as a careful operator does."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.chmod(0o600)
    beside.rename(path)


@dataclass
class TokenFile:
    """A file of static tokens, and the tokens."""

    path: Path
    tokens: dict[str, str] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)

    def add(self, name: str) -> str:
        """Makes a token and adds its line."""
        self.tokens[name], self.lines[name] = make_token(name)
        replace(self.path, "\n".join(self.lines.values()))
        return self.tokens[name]

    def remove(self, name: str) -> None:
        """Takes the line away."""
        del self.lines[name]
        replace(self.path, "\n".join(self.lines.values()))


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """One with the key `one`."""
    made = Issuer(tmp_path / "jwks.json")
    made.add("one")
    return made


@pytest.fixture
def token_file(tmp_path: Path) -> TokenFile:
    """One with a token of `coding-01`."""
    made = TokenFile(tmp_path / "tokens")
    made.add("coding-01")
    return made


@pytest.fixture
def access_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes, or replaces, an access file."""

    def write(text: str) -> Path:
        path = tmp_path / "access.toml"
        replace(path, text)
        return path

    return write


@pytest.fixture
def serve() -> Serve:
    """Serves a bus or a state service in this process, within a block; yields its address."""

    @asynccontextmanager
    async def begin(name: str, **words: Any) -> AsyncIterator[str]:
        common: dict[str, Any] = {"address": "127.0.0.1:0", "engine": "memory", "drain_seconds": 0.0, **words}
        if name == "bus":
            settings = BusSettings(**common)
            async with serving(bus_app.build(settings), settings) as address:
                yield address
        else:
            of_state = StateSettings(**common)
            async with serving(state_app.build(of_state), of_state) as address:
                yield address

    return begin
