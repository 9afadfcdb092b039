"""Trunkline as two replicas over Redis: who publishes is a client of one, who subscribes of the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.bench.peer import Server, Service
from scripts.bench.peers.our_bytes import TrunklineBytes
from scripts.bench.peers.ours import program
from scripts.bench.peers.redis import RedisPubSub, redis_server
from scripts.bench.processes import free_port


class TrunklineReplicas(TrunklineBytes):
    """Roles connect to the first replica, or to the port that they are ordered to."""

    title = "Trunkline, from replica to replica"

    def __init__(self) -> None:
        super().__init__()
        self.second = free_port()
        """The port of the second replica."""
        self.redis_port = free_port()

    def versions(self) -> Sequence[str]:
        return [*super().versions(), *RedisPubSub().versions()]

    def beneath(self, service: Service, scratch: Path) -> Sequence[Server]:
        return [redis_server(self.redis_port, scratch), self._replica(service, self.second)]

    def server(self, service: Service, port: int, scratch: Path) -> Server:
        return self._replica(service, port)

    def _replica(self, service: Service, port: int) -> Server:
        return program(service, port, ENGINE="memory", REDIS_URL=f"redis://127.0.0.1:{self.redis_port}")
