"""Outbox: what one stream still has to send."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from trunkline.limits import FRAME_BYTES

log = logging.getLogger(__name__)


class Outbox:
    """Sends frames one at a time, each as soon as the one before it is written: no timer.

    Whatever gathered meanwhile is the next frame, so an idle stream has the latency of one item and a busy one the
    throughput of hundreds. Frames are repeated fields, so that encoded frames joined are one frame of all their items.

    Args:
        write: writes one frame; waits while the stream's flow control says so.
        gather: asked for more when a frame has room left: (bytes that fit) → encoded frames, possibly none.
        join: False for a stream whose frames cannot be joined; then each goes by itself.
    """

    def __init__(
        self,
        write: Callable[[bytes], Awaitable[None]],
        gather: Callable[[int], list[bytes]] | None = None,
        join: bool = True,
    ) -> None:
        self._write = write
        self._gather = gather
        self._join = join
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._written = asyncio.Event()
        self._over = False
        self.size = 0
        """Bytes that wait."""

    def put(self, frame: bytes, keep: bool = False) -> None:
        """Queues an encoded frame. It knows no bound: see `room`. `keep` marks what `close` gives back."""
        self._waiting.append((frame, keep))
        self.size += len(frame)
        self.kick()

    def kick(self) -> None:
        """Says that there is something to send or to gather."""
        if self._writer is None and not self._over:
            self._writer = asyncio.ensure_future(self._run())

    async def room(self, limit: int) -> None:
        """Waits until at most `limit` bytes wait: a producer that calls it is bounded by its reader."""
        while self.size > limit and self._writer is not None:
            self._written.clear()
            await self._written.wait()

    async def flushed(self) -> None:
        """Waits until everything is written."""
        while self._writer is not None:
            await asyncio.wait({self._writer})

    def close(self) -> list[bytes]:
        """Stops writing and forgets what waits; idempotent. Returns the unsent frames that were marked `keep`."""
        kept = [frame for frame, keep in self._waiting if keep]
        self._over = True
        self._waiting.clear()
        self.size = 0
        if self._writer is not None:
            self._writer.cancel()
        return kept

    async def _run(self) -> None:
        try:
            while frame := self._next():
                await self._write(frame)
                self._written.set()
        except Exception as error:  # noqa: BLE001  # whatever it is, the stream is over: its reader learns why
            log.debug("a frame could not be written: %s", error)
            self._over = True
        finally:
            self._writer = None
            self._written.set()

    def _next(self) -> bytes:
        """The next frame; empty if there is none."""
        waiting = self._waiting
        if not self._join:
            if not waiting and self._gather is not None:
                waiting.extend((frame, False) for frame in self._gather(FRAME_BYTES))
            frame, _ = waiting.popleft() if waiting else (b"", False)
            self.size = max(0, self.size - len(frame))
            return frame
        taken: list[bytes] = []
        room = FRAME_BYTES
        while waiting and room > 0:
            frame, _ = waiting.popleft()
            room -= len(frame)
            taken.append(frame)
        self.size -= FRAME_BYTES - room
        if room > 0 and self._gather is not None:
            taken.extend(self._gather(room))
        return taken[0] if len(taken) == 1 else b"".join(taken)
