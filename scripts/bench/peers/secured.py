"""The same with TLS and a token, on both sides: certificates of an authority for development, and one static token."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import nats

import trunkline
from scripts.bench.peer import Server, Service
from scripts.bench.peers.nats import Nats
from scripts.bench.peers.nats import program as nats_server
from scripts.bench.peers.our_bytes import TrunklineBytes
from scripts.bench.peers.ours import program
from trunkline.tls.certificates import write_certificates
from trunklined.access.tokens import make_token

FILES: Final = Path("secured")
"""In the folder of a run, which its roles run in."""
CA, TOKEN, TOKENS = (FILES / name for name in ("ca.pem", "token", "tokens"))


def _prepare(scratch: Path) -> tuple[str, str, str]:
    """Makes the files; returns those of the server: its certificate, its key and its tokens."""
    write_certificates(scratch / FILES)
    token, line = make_token("bench")
    for path, text in ((TOKEN, token), (TOKENS, line)):
        (scratch / path).write_text(text)
        (scratch / path).chmod(0o600)
    return str(scratch / FILES / "server.pem"), str(scratch / FILES / "server.key"), str(scratch / TOKENS)


class TrunklineSecured(TrunklineBytes):
    """Every call says who makes it, and each connection is encrypted."""

    title = "Trunkline, TLS and a token"

    def server(self, service: Service, port: int, scratch: Path) -> Server | None:
        certificate, key, tokens = _prepare(scratch)
        path = str(scratch / f"{service}.db")
        return program(service, port, PATH=path, TLS_CERT=certificate, TLS_KEY=key, TOKEN_FILE=tokens)

    async def open(self, service: Service, port: int) -> None:
        self._bus = trunkline.GrpcMessageBus(f"tls://127.0.0.1:{port}", tls=trunkline.Tls(ca=str(CA)), token=TOKEN)
        await self._bus.connect()


class TrunklineOpen(TrunklineBytes):
    """What it costs without, in the same run."""

    title = "Trunkline, neither"


class NatsSecured(Nats):
    """The same client as `Nats`; nats-server compares the token itself."""

    title = "nats-py, TLS and a token"

    def server(self, service: Service, port: int, scratch: Path) -> Server:
        certificate, key, _ = _prepare(scratch)
        token = (scratch / TOKEN).read_text()
        settings = scratch / "nats.conf"
        settings.write_text(
            f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}\nauthorization {{ token: "{token}" }}\n'
        )
        return Server((nats_server(), "-a", "127.0.0.1", "-p", str(port), "-c", str(settings)))

    async def open(self, service: Service, port: int) -> None:
        trusted = ssl.create_default_context(cafile=str(CA))
        self._client = await nats.connect(f"tls://127.0.0.1:{port}", tls=trusted, token=TOKEN.read_text())
