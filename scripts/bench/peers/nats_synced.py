"""NATS told to keep the promise that we keep: what is stored is synced to disk before it is answered."""

from __future__ import annotations

from pathlib import Path

from scripts.bench.peer import Server, Service
from scripts.bench.peers.nats import Nats, program


class NatsSynced(Nats):
    """The same client as `Nats`, with `sync_interval: always` for its server's JetStream, key-value stores included."""

    title = "nats-py, sync_interval: always"
    stored = 20_000
    saves = 10_000

    def server(self, service: Service, port: int, scratch: Path) -> Server:
        settings = scratch / "nats.conf"
        settings.write_text(f'jetstream {{ store_dir: "{scratch / "jetstream"}", sync_interval: always }}\n')
        return Server((program(), "-a", "127.0.0.1", "-p", str(port), "-c", str(settings)))
