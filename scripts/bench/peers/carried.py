"""What is carried between threads and between processes: by a MessageChannel and by bare queues the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from scripts.bench.payload import PAYLOAD
from trunkline.message_channel import ServiceMessage

MESSAGE: Final = ServiceMessage("agent", "STATUS", PAYLOAD.decode())
"""Made once: what is measured is the way, not the making."""


def put_all(put: Callable[[ServiceMessage], object], count: int) -> None:
    """Puts the message so many times."""
    for _ in range(count):
        put(MESSAGE)
