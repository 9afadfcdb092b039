"""Questions: what a reader asks of the comparison. Each has a part of the table, with the peers that answer it."""

from __future__ import annotations

from typing import Final

TYPED: Final = "typed messages, live: the same fields, made and read anew for each"
RAW: Final = "raw bytes, live: made before"
REPLICAS: Final = "raw bytes, live: from one replica of ours to another, over Redis"
REDIS: Final = "kept in Redis, which syncs each write before it answers, on both sides"
SECURED: Final = "with TLS and a token"
SYNCED: Final = "stored, synced to disk before the receipt on both sides"
UNSYNCED: Final = "stored, as each comes: ours synced, the peer's within two minutes"
REQUESTS: Final = "requests"
STATE: Final = "state"
FAN_OUT: Final = "fan-out"
RUNTIMES: Final = "other agent runtimes"
BACKLOG: Final = "while many wait"
QUEUES: Final = "between threads and processes"

QUESTIONS: Final = (
    *(TYPED, RAW, REPLICAS, SECURED, SYNCED, UNSYNCED, REQUESTS, STATE, REDIS, FAN_OUT, RUNTIMES, BACKLOG, QUEUES),
)
"""In the order of the report."""
