"""StreamWriter: what one stream still has to send."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from trunkline.limits import FRAME_BYTES

log = logging.getLogger(__name__)


class FlushBatch:
    """The writers that got something to send in this turn of the event loop.

    A caller that causes much at once, as a frame of many messages does, ends the turn when all is caused:
    then each writer sends one frame, at once. Where nobody does, the loop's next turn does.
    """

    def __init__(self) -> None:
        self._scheduled_writers: list[StreamWriter] = []

    def add(self, writer: StreamWriter) -> None:
        """Sends a writer's next frame when the turn ends."""
        if not self._scheduled_writers:
            asyncio.get_running_loop().call_soon(self.end)
        self._scheduled_writers.append(writer)

    def end(self) -> None:
        """Sends now."""
        scheduled, self._scheduled_writers = self._scheduled_writers, []
        for writer in scheduled:
            writer.flush()


class StreamWriter:
    """Sends frames one at a time, each as soon as the one before it is written: no timer.

    Whatever gathered meanwhile is the next frame, so an idle stream has the latency of one item and a busy one the
    throughput of hundreds. Frames are repeated fields, so that encoded frames joined are one frame of all their items:
    of at most FRAME_BYTES, or one that was larger when it was put.

    Args:
        write: writes one frame; waits while the stream's flow control says so.
        gather: asked for more when a frame has room left: (bytes that fit) → encoded frames, possibly none.
        join: False for a stream whose frames cannot be joined; then each goes by itself.
        flush_batch: shared by writers that are filled together.
    """

    def __init__(
        self,
        write: Callable[[bytes], Coroutine[Any, Any, None]],
        gather: Callable[[int], list[bytes]] | None = None,
        join: bool = True,
        flush_batch: FlushBatch | None = None,
    ) -> None:
        self._write = write
        self._gather = gather
        self._join = join
        self._flush_batch = flush_batch or FlushBatch()
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._loop = asyncio.get_running_loop()
        self._sending: Coroutine[Any, Any, None] | None = None
        """The write that waits."""
        self._scheduled = False
        self._over = False
        self._held = False
        self._waiters: list[asyncio.Future[None]] = []
        self.size = 0
        """Bytes that wait."""

    def put(self, frame: bytes, keep: bool = False) -> None:
        """Queues an encoded frame. It knows no bound: see `room`. `keep` marks what `close` gives back."""
        self._waiting.append((frame, keep))
        self.size += len(frame)
        self.schedule()

    def schedule(self) -> None:
        """Says that there is something to send or to gather; it is sent when the turn ends, with all that is put until
        then."""
        if self._sending is None and not self._scheduled and not self._over and not self._held:
            self._scheduled = True
            self._flush_batch.add(self)

    def flush(self) -> None:
        """Sends now what would be sent when the turn ends."""
        if self._sending is None:
            self._write_frames()

    def hold(self) -> None:
        """Writes nothing more until `release`; what is put and gathered waits."""
        self._held = True

    def release(self) -> None:
        """Writes on."""
        self._held = self._scheduled = False
        self.schedule()

    async def room(self, limit: int) -> None:
        """Waits until at most `limit` bytes wait: a producer that calls it is bounded by its reader."""
        while self.size > limit and self._busy:
            await self._progress()

    async def flushed(self) -> None:
        """Waits until everything is written."""
        while self._busy:
            await self._progress()

    def close(self) -> list[bytes]:
        """Stops writing and forgets what waits; idempotent. Returns the unsent frames that were marked `keep`."""
        kept = [frame for frame, keep in self._waiting if keep]
        self._over = True
        self._waiting.clear()
        self.size = 0
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.close()
        self._wake()
        return kept

    @property
    def _busy(self) -> bool:
        return not self._over and (self._sending is not None or self._scheduled or self._held)

    async def _progress(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _write_frames(self, written: asyncio.Future[Any] | None = None) -> None:
        """Writes frames until one has to wait, and goes on from there when it need wait no more.

        It drives the `write` coroutine by hand. A task would do the same, at the price of a task and a turn of the
        loop for each frame, which is a fifth of what a lone request takes.
        """
        self._scheduled = False
        if self._over and written is not None and not written.cancelled():
            written.exception()  # of a write that failed after it was closed: looked at, or asyncio complains of it
        if self._over or (written is None and self._sending is not None):
            return
        try:
            while True:
                if self._sending is None:
                    frame = self._next()
                    if not frame:
                        break
                    self._sending = self._write(frame)
                try:
                    waited = self._sending.send(None)
                except StopIteration:
                    self._sending = None
                    continue
                waited._asyncio_future_blocking = False  # what a task does that waits for a future
                waited.add_done_callback(self._write_frames)
                break
        except Exception as error:  # noqa: BLE001  # whatever it is, the stream is over: its reader learns why
            log.debug("a frame could not be written: %s", error)
            self._over = True
            self._sending = None
        if self._waiters:
            self._wake()

    def _next(self) -> bytes:
        """The next frame; empty if there is none."""
        if self._held:
            return b""
        waiting = self._waiting
        taken: list[bytes] = []
        room = FRAME_BYTES
        gather = self._gather
        while True:
            while waiting and (not taken or (self._join and len(waiting[0][0]) <= room)):
                frame, _ = waiting.popleft()
                size = len(frame)
                self.size -= size
                room -= size
                taken.append(frame)
            if waiting or gather is None or room <= 0 or (taken and not self._join):
                break
            for frame in gather(room):
                waiting.append((frame, False))
                self.size += len(frame)
            gather = None
        return taken[0] if len(taken) == 1 else b"".join(taken)
