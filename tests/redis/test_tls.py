"""TLS with Redis: who is trusted, what is shown, what is wrong with either, and files that change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trustme

from tests.access.conftest import replace
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.redis.servers import RedisServer, running
from tests.redis.test_start import is_refused, start
from trunkline import AgentState, AgentStatus, GrpcStateManager
from trunklined.redis.connections import connect_sync
from trunklined.redis.target import parse_url
from trunklined.redis.tls import Tls

OWN = AgentState(agent_id="a", agent_type="coding", status=AgentStatus.IDLE)


class Own:
    """A program's own certificate, and whom it trusts.

    Args:
        directory: where the files are.
        authority: which signs the certificate.
    """

    def __init__(self, directory: Path, authority: trustme.CA) -> None:
        self.ca, self.cert, self.key = (directory / f"{name}.pem" for name in ("ca", "cert", "key"))
        self.write(authority)

    def write(self, authority: trustme.CA, **words: Any) -> None:
        """Puts files of an authority in the place of those that are there."""
        made = authority.issue_cert("program", **words)
        replace(self.ca, authority.cert_pem.bytes().decode())
        replace(self.cert, made.cert_chain_pems[0].bytes().decode())
        replace(self.key, made.private_key_pem.bytes().decode())

    @property
    def options(self) -> tuple[str, ...]:
        return ("--redis-tls-ca", str(self.ca), "--redis-tls-cert", str(self.cert), "--redis-tls-key", str(self.key))


@pytest.fixture
def own(tmp_path: Path, authority: trustme.CA) -> Own:
    return Own(tmp_path, authority)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[RedisServer]:
    """One that asks for a certificate."""
    with running(tls=authority, tls_auth_clients="yes") as server:
        yield server


@pytest.mark.parametrize("place", ["files", "PEM in the environment"])
async def test_each_shows_the_other_who_it_is(
    place: str, server: RedisServer, own: Own, start_program: StartProgram
) -> None:
    """And without a certificate nobody comes in."""
    is_refused(start(server.url, "--redis-tls-ca", str(own.ca)), "certificate required", server.address)
    options = own.options
    environment = {"TRUNKLINE_STATE_REDIS_URL": server.url}
    if place != "files":
        texts = {name: file.read_text() for name, file in (("CA", own.ca), ("CERT", own.cert), ("KEY", own.key))}
        environment |= {f"TRUNKLINE_STATE_REDIS_TLS_{name}": text for name, text in texts.items()}
        options = ()
    program = start_program("state", "--engine", "redis", *options, env=environment)
    async with GrpcStateManager(program.address) as state:
        await state.save_agent_state(OWN)


def test_threads_come_in_too(server: RedisServer, own: Own) -> None:
    """By the same files."""
    target = parse_url(server.url)
    object.__setattr__(target, "tls", Tls(str(own.ca), str(own.cert), str(own.key)))
    client = connect_sync(target, "room")
    assert client.ping()
    client.close()


def _expire(own: Own) -> None:
    ended = datetime.now(UTC) - timedelta(hours=1)
    own.write(trustme.CA(), not_before=ended - timedelta(days=1), not_after=ended)


WRONG: dict[str, tuple[Callable[[Own], object], str]] = {
    "a key of another": (
        lambda own: replace(own.key, trustme.CA().issue_cert("x").private_key_pem.bytes().decode()),
        "--redis-tls-key {0.key} does not match the certificate {0.cert}",
    ),
    "a key for the world": (
        lambda own: own.key.chmod(0o644),
        "--redis-tls-key {0.key} can be read by others (mode 0644): chmod 600 {0.key}",
    ),
    "no key": (lambda own: own.key.unlink(), "--redis-tls-key {0.key} cannot be read: No such file"),
    "no PEM": (lambda own: replace(own.cert, "x"), "--redis-tls-cert {0.cert} is no certificate in PEM"),
    "a key for an authority": (
        lambda own: replace(own.ca, own.key.read_text()),
        "--redis-tls-ca {0.ca} is no certificate in PEM",
    ),
    "an old certificate": (_expire, "--redis-tls-cert {0.cert} expired on "),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_with_a_file_is_told(kind: str, own: Own) -> None:
    """Before anybody is called."""
    spoil, words = WRONG[kind]
    spoil(own)
    is_refused(start("rediss://127.0.0.1:1", *own.options), words.format(own))


def test_a_key_is_nowhere_to_be_read(own: Own) -> None:
    """Neither on the command line, nor in what is said of one that cannot be taken."""
    inner = own.key.read_text().splitlines()[1]
    said = start("rediss://127.0.0.1:1", *own.options[:-1], own.key.read_text())
    is_refused(said, "--redis-tls-key is a key itself, which everybody sees in the list of processes")
    assert inner not in said.stderr
    for value in (own.key.read_text().replace(" PRIVATE", ""), inner * 4):
        said = start("rediss://127.0.0.1:1", *own.options[:-2], TRUNKLINE_STATE_REDIS_TLS_KEY=value)
        is_refused(said, "--redis-tls-key (")
        assert inner not in said.stderr


def test_a_server_with_another_name_is_not_trusted(authority: trustme.CA, own: Own) -> None:
    """Its authority alone is not enough."""
    with running(tls=authority, name="") as server:
        is_refused(start(server.url, "--redis-tls-ca", str(own.ca)), "certificate is not valid for '127.0.0.1'")


def test_whom_the_system_trusts_is_not_trusted_where_somebody_is_named(server: RedisServer, own: Own) -> None:
    """Whoever signs for all the world does not sign for this Redis."""
    trusted = {"SSL_CERT_FILE": str(server.ca)}
    replace(own.ca, trustme.CA().cert_pem.bytes().decode())
    is_refused(start(server.url, *own.options, **trusted), "CERTIFICATE_VERIFY_FAILED")
    is_refused(start(server.url, **trusted), "certificate required")


async def test_files_that_change_are_read_anew(
    authority: trustme.CA, server: RedisServer, own: Own, start_program: StartProgram
) -> None:
    """When a connection is made; what cannot be taken then changes nothing and is told."""
    environment = {"TRUNKLINE_STATE_REDIS_URL": server.url, "TRUNKLINE_STATE_REDIS_PREFIX": uuid4().hex}
    program = start_program("state", "--engine", "redis", *own.options, env=environment)
    async with asyncio.timeout(PATIENCE), GrpcStateManager(program.address) as state:
        replace(own.cert, "nothing")
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await state.save_agent_state(OWN)
        await asyncio.to_thread(program.wait_for, "TLS files for Redis cannot be taken; those of before are used")

        another = trustme.CA()
        own.write(another)
        await asyncio.to_thread(server.kill)
        server.certify(another)
        await asyncio.to_thread(server.start)
        await state.save_agent_state(OWN)
