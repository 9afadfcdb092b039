"""LocalStream: the client's end of an `OpenStream` stream whose other end is in the same process.

Frames are handed over as the calls that they are, encoded as on a network, so that what passes here passes there. An
idea of NATS (`Server.InProcessConn`): the real client and the real service, with another transport between them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from google.protobuf.message import Message

from trunkline.errors import TrunklineError
from trunkline.wire.stream import FrameReader, Stream, StreamUser
from trunkline.wire.writer import StreamWriter

log = logging.getLogger(__name__)

Write = Callable[[bytes], Awaitable[None]]
Unary = Callable[[bytes, Any], Awaitable[Message]]
Frames = Callable[[bytes], AsyncGenerator[bytes, None]]


class Peer(Protocol):
    """The service's end of the stream."""

    async def take(self, raw: bytes) -> None:
        """Takes one encoded frame."""

    def close(self) -> object:
        """Ends everything that the client has open."""


class LocalStream(Stream):
    """A stream that is up from `open` to `close`.

    Args:
        parse: turns encoded bytes into a frame.
        user: who speaks over it.
        lost: makes the error of what was pending when it was closed.
        accept: makes the service's end, of what writes a frame to the client.
        calls: the unary calls of the service, by name.
        frames: the calls that are answered by a stream of encoded frames, by name.
        in_task: hand each frame over in a task: for a service's end that waits for more than the client's reading.
    """

    def __init__(
        self,
        parse: Callable[[bytes], Any],
        user: StreamUser,
        lost: type[TrunklineError],
        accept: Callable[[Callable[[bytes], Any]], Peer],
        calls: Mapping[str, Unary],
        frames: Mapping[str, Frames],
        *,
        in_task: bool = False,
    ) -> None:
        super().__init__("this process", "", parse, user, lost)
        self._accept = accept
        self._calls = calls
        self._frames = frames
        self._in_task = in_task
        self.peer: Peer | None = None
        self.is_taking = False
        """Whether the service's end has not taken all of a frame yet: it takes a large one in pieces."""

    async def open(self, timeout: float) -> None:
        """Connects; takes no time."""
        self._loop = asyncio.get_running_loop()
        self.peer = self._accept(self._receive)
        self._writer = writer = StreamWriter(self._send, self._user.gather)
        self._up.set()
        self._user.on_up()
        writer.schedule()

    async def close(self) -> None:
        """Ends the stream and fails what is pending; idempotent."""
        peer, self.peer = self.peer, None
        if peer is not None:
            self._go_down(self._lost(f"disconnected from {self.address}", details={"address": self.address}))
            peer.close()

    async def call(self, name: str, request: Message, timeout: float) -> Any:
        """See `Stream.call`."""
        return await self._calls[name](request.SerializeToString(), None)

    def read(self, name: str, request: Message, parse: Callable[[bytes], Any]) -> FrameReader:
        """See `Stream.read`."""
        return _LocalFrames(self._frames[name](request.SerializeToString()), parse)

    async def _send(self, frame: bytes) -> None:
        peer = self.peer
        if peer is not None:
            taken = peer.take(frame)
            self.is_taking = True
            try:
                await (asyncio.ensure_future(taken) if self._in_task else taken)
            finally:
                self.is_taking = False

    async def _receive(self, frame: bytes) -> None:
        try:
            self._user.on_frame(self._parse(frame))
        except Exception:
            log.exception("a frame of the service was not taken: something unexpected went wrong")


class _LocalFrames:
    """The frames that an asynchronous generator of the service yields. Each is read in a task, so that `cancel` ends
    the reader's wait and not the reader."""

    def __init__(self, frames: AsyncGenerator[bytes, None], parse: Callable[[bytes], Any]) -> None:
        self._frames = frames
        self._parse = parse
        self._reading: asyncio.Task[bytes] | None = None
        self._cancelled = False

    async def read(self) -> Any:
        if self._cancelled:
            return None
        self._reading = asyncio.ensure_future(anext(self._frames))
        try:
            return self._parse(await self._reading)
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._cancelled or (task is not None and task.cancelling()):
                raise
            return None

    def cancel(self) -> None:
        self._cancelled = True
        if self._reading is not None:
            self._reading.cancel()
