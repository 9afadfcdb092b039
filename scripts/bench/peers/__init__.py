"""Who is measured. Each is loaded when it is asked for: its library may not be there."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final, cast

from scripts.bench.peer import Peer

OURS: Final = "trunkline"

PEERS: Final[Mapping[str, tuple[str, str]]] = {
    OURS: ("scripts.bench.peers.ours", "Trunkline"),
    "nats": ("scripts.bench.peers.nats", "Nats"),
    "nats-next": ("scripts.bench.peers.nats_next", "NatsNext"),
    "nats-push": ("scripts.bench.peers.nats_push", "NatsPush"),
    "redis": ("scripts.bench.peers.redis", "RedisPubSub"),
    "zeromq": ("scripts.bench.peers.zeromq", "ZeroMQ"),
    "sqlite": ("scripts.bench.peers.sqlite", "SQLite"),
    "queue": ("scripts.bench.peers.queues", "ThreadQueue"),
    "multiprocessing": ("scripts.bench.peers.queues", "ProcessQueue"),
}
"""Module and class by name."""


def load(name: str) -> Peer:
    """A new peer of that name.

    Raises:
        ImportError: its library is not installed; the extra `bench` has all of them.
    """
    module, cls = PEERS[name]
    return cast(Peer, getattr(importlib.import_module(module), cls)())
