"""Trunkline over a redis-server that syncs what it takes: receipts say STORED, as with a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.bench.peer import Server, Service
from scripts.bench.peers.ours import Trunkline, program
from scripts.bench.peers.redis import RedisSynced, redis_server
from scripts.bench.processes import free_port


class TrunklineOverRedis(Trunkline):
    """One service with the engine redis; its clients know nothing of it."""

    title = "Trunkline over Redis"

    def __init__(self) -> None:
        super().__init__()
        self.redis_port = free_port()

    def versions(self) -> Sequence[str]:
        return [*super().versions(), *RedisSynced().versions()]

    def beneath(self, service: Service, scratch: Path) -> Sequence[Server]:
        return [redis_server(self.redis_port, scratch, synced=True)]

    def server(self, service: Service, port: int, scratch: Path) -> Server:
        return program(service, port, ENGINE="redis", REDIS_URL=f"redis://127.0.0.1:{self.redis_port}")
