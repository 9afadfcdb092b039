"""Certificates for the tests, as `trunkline certs` makes them, and programs that serve with them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import StartProgram, programs
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import Tls
from trunkline.tls import handshake
from trunkline.tls.certificates import write_certificates

CLIENT = "coding-01"


@dataclass(frozen=True)
class Authority:
    """A directory with an authority and what it signed."""

    directory: Path

    @property
    def ca(self) -> str:
        return f"{self.directory}/ca.pem"

    @property
    def served(self) -> tuple[str, ...]:
        """Options of a program that serves TLS."""
        return ("--tls-cert", f"{self.directory}/server.pem", "--tls-key", f"{self.directory}/server.key")

    @property
    def mutual(self) -> tuple[str, ...]:
        """Options of a program that asks for certificates of this authority, too."""
        return (*self.served, "--tls-client-ca", self.ca)

    @property
    def trust(self) -> Tls:
        """A client without a certificate."""
        return Tls(ca=self.ca)

    @property
    def client(self) -> Tls:
        """A client with one."""
        return Tls(ca=self.ca, cert=f"{self.directory}/{CLIENT}.pem", key=f"{self.directory}/{CLIENT}.key")

    @property
    def pem(self) -> dict[str, str]:
        """What the files have, by their names."""
        return {path.name: path.read_text() for path in self.directory.iterdir()}

    @property
    def environment(self) -> dict[str, str]:
        """The same client in the environment."""
        client = self.client
        assert client.cert is not None
        assert client.key is not None
        return {"TRUNKLINE_TLS_CA": client.ca, "TRUNKLINE_TLS_CERT": client.cert, "TRUNKLINE_TLS_KEY": client.key}


@contextmanager
def _authorities() -> Iterator[Callable[[], Authority]]:
    made: list[Path] = []

    def make() -> Authority:
        made.append(directory := Path(tempfile.mkdtemp(prefix="trunkline-")))
        write_certificates(directory, clients=[CLIENT])
        return Authority(directory)

    try:
        yield make
    finally:
        for directory in made:
            shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets clients wait for the reason of a refusal for as long as a busy machine takes."""
    monkeypatch.setattr(handshake, "SECONDS", PATIENCE)


@pytest.fixture
def make_authority() -> Iterator[Callable[[], Authority]]:
    """Each call makes another authority, with a server's and a client's certificate."""
    with _authorities() as make:
        yield make


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    """The one that the session's services and clients trust. Shared: its files stay as they are."""
    with _authorities() as make:
        yield make()


@pytest.fixture(scope="session")
def _serving() -> Iterator[StartProgram]:
    with programs() as start:
        yield start


@pytest.fixture(scope="session")
def bus(_serving: StartProgram, authority: Authority) -> RunningProgram:
    """A bus that takes clients of `authority` only. Shared: do not end it, and use channels of your own."""
    return _serving("bus", *authority.mutual, tls=authority.client)


@pytest.fixture(scope="session")
def state(_serving: StartProgram, authority: Authority, bus: RunningProgram) -> RunningProgram:
    """A state service that does so, before that bus."""
    options = ("--engine", "memory", "--bus-address", bus.address, *authority.mutual)
    return _serving("state", *options, tls=authority.client, env=authority.environment)
