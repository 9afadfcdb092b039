"""Who is measured. Each is loaded when it is asked for: its library may not be there."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final, cast

from trunkline.bench.peer import Peer

OURS: Final = "trunkline"

PEERS: Final[Mapping[str, tuple[str, str]]] = {
    OURS: ("trunkline.bench.peers.ours", "Trunkline"),
    "nats": ("trunkline.bench.peers.nats", "Nats"),
    "nats-next": ("trunkline.bench.peers.nats_next", "NatsNext"),
    "nats-push": ("trunkline.bench.peers.nats_push", "NatsPush"),
    "redis": ("trunkline.bench.peers.redis", "RedisPubSub"),
    "zeromq": ("trunkline.bench.peers.zeromq", "ZeroMQ"),
    "sqlite": ("trunkline.bench.peers.sqlite", "SQLite"),
    "queue": ("trunkline.bench.peers.queues", "ThreadQueue"),
    "multiprocessing": ("trunkline.bench.peers.queues", "ProcessQueue"),
}
"""Module and class by name."""


def load(name: str) -> Peer:
    """A new peer of that name.

    Raises:
        ImportError: its library is not installed; the extra `bench` has all of them.
    """
    module, cls = PEERS[name]
    return cast(Peer, getattr(importlib.import_module(module), cls)())
