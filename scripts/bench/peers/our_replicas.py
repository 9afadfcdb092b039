"""Trunkline as two replicas over Redis: who publishes is a client of one, who subscribes of the other."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from scripts.bench.peer import Server, Service
from scripts.bench.peers.our_bytes import TrunklineBytes
from scripts.bench.peers.redis import RedisPubSub
from scripts.bench.peers.replicas_host import PIDS
from scripts.bench.processes import START_SECONDS, free_port

_LOOK_SECONDS: Final = 0.02


class Programs(NamedTuple):
    """The processes of two replicas."""

    replicas: list[int]
    redis: int
    redis_port: int


class TrunklineReplicas(TrunklineBytes):
    """Roles connect to the first replica, or to the port that they are ordered to."""

    title = "Trunkline, from replica to replica"

    def __init__(self) -> None:
        super().__init__()
        self.second = 0
        """The port of the second replica."""
        self._scratch = Path()

    def versions(self) -> Sequence[str]:
        return [*super().versions(), *RedisPubSub().versions()]

    def server(self, service: Service, port: int, scratch: Path) -> Server:
        self.second, self._scratch = free_port(), scratch
        command = "-m", "scripts.bench.peers.replicas_host", str(port), str(self.second), str(scratch)
        return Server((sys.executable, *command))

    async def programs(self) -> Programs:
        """Waits until all are ready; returns them."""
        file = self._scratch / PIDS
        async with asyncio.timeout(START_SECONDS):
            while not file.exists():  # noqa: ASYNC110  # another process writes it
                await asyncio.sleep(_LOOK_SECONDS)
        said = json.loads(file.read_text())
        *replicas, redis = said["pids"]
        return Programs(replicas, redis, said["redis"])
