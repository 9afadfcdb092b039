"""What is sent: 256 bytes of payload, the same for everybody."""

from __future__ import annotations

from typing import Final

PAYLOAD_BYTES: Final = 256
_FRAME: Final = len('{"data":""}')

TEXT: Final = "x" * (PAYLOAD_BYTES - _FRAME)
"""`{"data": TEXT}` is 256 bytes of JSON."""

PAYLOAD: Final = b'{"data":"' + TEXT.encode() + b'"}'
"""The same, as the peers send it."""

CHANNEL: Final = "bench.work"
"""Well formed as a channel of ours, a subject of NATS and a channel of Redis."""

REPLIES: Final = "bench.replies"

DURABLE: Final = "bench"
"""Of the durable subscription, and of whatever else keeps messages."""

KEYS: Final = 1_000
"""Records that the state works go round in."""


def key(index: int) -> str:
    """The id of the record that comes at this place."""
    return f"record-{index % KEYS}"
