"""Who is measured. Each is loaded when it is asked for: its library may not be there."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final, cast

from scripts.bench.peer import Peer

OURS: Final = "trunkline"

PEERS: Final[Mapping[str, tuple[str, str]]] = {
    OURS: ("scripts.bench.peers.ours", "Trunkline"),
    "trunkline-bytes": ("scripts.bench.peers.our_bytes", "TrunklineBytes"),
    "trunkline-replicas": ("scripts.bench.peers.our_replicas", "TrunklineReplicas"),
    "trunkline-secured": ("scripts.bench.peers.secured", "TrunklineSecured"),
    "trunkline-open": ("scripts.bench.peers.secured", "TrunklineOpen"),
    "nats": ("scripts.bench.peers.nats", "Nats"),
    "nats-synced": ("scripts.bench.peers.nats_synced", "NatsSynced"),
    "nats-secured": ("scripts.bench.peers.secured", "NatsSecured"),
    "nats-msgspec": ("scripts.bench.peers.nats_typed", "NatsMsgspec"),
    "nats-pydantic": ("scripts.bench.peers.nats_typed", "NatsPydantic"),
    "faststream": ("scripts.bench.peers.faststream", "FastStream"),
    "nats-next": ("scripts.bench.peers.nats_next", "NatsNext"),
    "nats-push": ("scripts.bench.peers.nats_push", "NatsPush"),
    "trunkline-redis": ("scripts.bench.peers.our_redis", "TrunklineOverRedis"),
    "redis": ("scripts.bench.peers.redis", "RedisPubSub"),
    "redis-synced": ("scripts.bench.peers.redis", "RedisSynced"),
    "zeromq": ("scripts.bench.peers.zeromq", "ZeroMQ"),
    "bare": ("scripts.bench.peers.bare", "BareStreams"),
    "autogen": ("scripts.bench.peers.autogen", "AutoGen"),
    "slim": ("scripts.bench.peers.slim", "Slim"),
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


async def opened(order: Mapping[str, Any]) -> Peer:
    """A new peer as a role is ordered to have one, connected."""
    peer = load(order["peer"])
    await peer.open(order["service"], order["port"])
    return peer
