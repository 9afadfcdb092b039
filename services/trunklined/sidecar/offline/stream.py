"""HoldingStream: a stream on which a caller publishes, whether the bus is there or not.

To the forwarder it is the stream's context, and from it the forwarder reads what goes to the bus. What is to be stored
is taken out while it is not forwarded, and answered here; what the bus was given is remembered until it is answered,
and held here where the bus is lost before. A stream that was opened while the bus is away outlives its return: it is
not ended and opened anew, nothing that is under way on it fails, and what the caller sent meanwhile is what the bus
gets first.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpc import aio

from trunkline.errors import BusDisconnectedError, InvalidMessageError, TrunklineError
from trunkline.limits import BUS_AWAY, HOLDS_STORED, MAX_FRAME_BYTES
from trunkline.v1 import bus_pb2, error_pb2
from trunkline.wire.writer import StreamWriter
from trunklined.sidecar.config import MAX_UNANSWERED_BYTES
from trunklined.sidecar.offline.holder import Holder, Receipts
from trunklined.sidecar.offline.routing import Routing

Answer = Callable[[bus_pb2.PublishResponse | TrunklineError], None]
"""Answers a publish, with its receipts or with why it is not held."""

_LOST: Final = BusDisconnectedError.error_code


def bus_is_away() -> TrunklineError:
    """The error of what needs the bus while it is away."""
    return BusDisconnectedError("the bus is away; the sidecar holds only what is to be stored")


def says_lost(error: bytes) -> bool:
    """Whether an encoded Error says that the bus goes away, or lost what has to do it."""
    if _LOST.encode() not in error:
        return False
    try:
        return error_pb2.Error.FromString(error).reason == _LOST
    except DecodeError:
        return False


class HoldingStream(ABC):
    """See the module.

    Args:
        context: the caller's.
        routing: whether what is to be stored is forwarded or held.
        holder: holds it.
        join: whether frames of this stream's answers can be joined.
    """

    def __init__(self, context: Any, routing: Routing, holder: Holder, *, join: bool) -> None:
        self._context = context
        self._routing = routing
        self._holder = holder
        self._writer = StreamWriter(context.write, join=join)
        self._greeted = False
        """Whether the caller has the initial metadata."""
        self._is_at_bus = False
        """Whether what is read goes to the bus."""
        self._waiting: deque[bytes] = deque()
        """Frames for the bus."""
        self._unanswered_bytes = 0
        """Of what the bus was given to store and has not answered."""
        self._fewer = asyncio.Event()
        """Set when it has answered something."""
        self._holding: set[Receipts] = set()
        self._reading: asyncio.Future[Any] | None = None
        """The next frame of the caller; stays when it is the end."""
        self._unread: bytes | None = None
        """A frame that was read, and of which nothing is done."""

    @abstractmethod
    async def _take(self, raw: bytes) -> bytes:
        """Serves what of a frame is served here; returns what of it is for the bus, empty if nothing is.

        Raises:
            InvalidMessageError: it cannot be read.
        """

    @abstractmethod
    def lose_bus(self, error: BusDisconnectedError) -> None:
        """Notes that the bus is lost, or did not take the stream; holds what it was given to store and did not answer.

        Raises:
            BusDisconnectedError: the caller's stream is over with that.
        """

    async def wait_for_bus(self) -> bool:
        """Serves what can be served without the bus. False: the caller has half-closed, and nothing is for the bus.

        Raises:
            BusDisconnectedError: the sidecar stops.
            InvalidMessageError: a frame cannot be read.
        """
        if not self._routing.takes_streams:
            await self._greet((BUS_AWAY, HOLDS_STORED))  # it tells a client that its stream is accepted
            if not await self._without_bus():
                return False
        self._is_at_bus = True
        return True

    async def _without_bus(self) -> bool:
        there = asyncio.ensure_future(self._routing.wait_until(lambda: self._routing.takes_streams))
        try:
            while not there.done():
                reading = self._read_on()
                await asyncio.wait({reading, there}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done() or there.done():
                    continue
                raw = await self._next()
                if raw is aio.EOF:
                    if not self._waiting:
                        return False
                    await there
                    break
                if rest := await self._take(raw):
                    self._waiting.append(rest)
                await self._writer.room(MAX_FRAME_BYTES)
            there.result()
            return True
        finally:
            there.cancel()

    async def finish(self) -> None:
        """Waits until what was held here is answered, and everything is written."""
        await self._held()
        await self._writer.flushed()

    def close(self) -> None:
        """Ends reading and writing at once; idempotent."""
        if self._reading is not None:
            self._reading.cancel()
        self._writer.close()

    async def _greet(self, metadata: tuple[tuple[str, str], ...]) -> None:
        if not self._greeted:
            self._greeted = True
            await self._context.send_initial_metadata(metadata)

    def _read_on(self) -> asyncio.Future[Any]:
        if self._unread is not None:
            unread: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            unread.set_result(self._unread)
            return unread
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._context.read())
        return self._reading

    async def _next(self) -> Any:
        """The caller's next frame, or EOF. To be cancelled loses none."""
        raw = await asyncio.shield(self._read_on())
        if raw is not aio.EOF:
            self._reading = self._unread = None
        return raw

    @property
    def _forwards(self) -> bool:
        """Whether what is to be stored goes to the bus."""
        return self._routing.is_forwarding and (self._is_at_bus or self._routing.takes_streams)

    async def _holds(self) -> bool:
        """Whether what is to be stored is held here now, behind what the bus was given before it: that may have to be
        held, too."""
        if self._forwards:
            return False
        await self._routing.holds()
        while self._unanswered_bytes:
            await self._until_fewer()
        return not self._forwards

    async def _until_fewer(self) -> None:
        self._fewer.clear()
        await self._fewer.wait()

    def _give(self, publish: Any) -> int:
        """Notes that the bus is given a publish; returns its size, for when it is answered."""
        size: int = publish.ByteSize()
        self._unanswered_bytes += size
        return size

    def _answered(self, size: int) -> None:
        """Notes that a publish of some size does not wait for the bus's answer any more."""
        self._unanswered_bytes -= size
        self._fewer.set()

    async def _held(self) -> None:
        """Waits until what was held here is durable."""
        while self._holding:
            await asyncio.wait(self._holding)

    def _hold(self, publish: Any, answer: Answer, sent_at: float | None = None) -> None:
        """Holds a publish here; `answer` is called once, when it is durable or cannot be."""
        try:
            receipts = self._holder.hold(publish, sent_at)
        except TrunklineError as error:
            answer(error)
            return
        self._holding.add(receipts)
        receipts.add_done_callback(partial(self._answer_held, answer))

    def _answer_held(self, answer: Answer, receipts: Receipts) -> None:
        self._holding.discard(receipts)
        if receipts.cancelled():
            return
        error = receipts.exception()
        if error is None:
            answer(receipts.result())
        else:
            assert isinstance(error, TrunklineError), error
            answer(error)

    # What the forwarder calls.

    async def read(self) -> Any:
        """Returns the next frame for the bus, or EOF."""
        if self._waiting:
            return self._waiting.popleft()
        while True:
            while self._unanswered_bytes > MAX_UNANSWERED_BYTES:
                await self._until_fewer()
            raw = await self._next()
            if raw is aio.EOF:
                return aio.EOF
            try:
                rest = await self._take(raw)
            except InvalidMessageError:
                rest = raw  # the bus answers what is wrong with it
            except asyncio.CancelledError:
                self._unread = raw
                raise
            await self._writer.room(MAX_FRAME_BYTES)
            if rest:
                return rest

    async def write(self, raw: bytes) -> None:
        """Writes a frame of the bus's answers."""
        self._writer.put(raw)
        self._writer.flush()  # at once, as without us
        await self._writer.room(MAX_FRAME_BYTES)

    async def send_initial_metadata(self, metadata: Any) -> None:
        """The bus has accepted the stream; so has the sidecar, if it has not before."""
        await self._greet(metadata)

    def set_trailing_metadata(self, metadata: Any) -> None:
        """As the caller's context."""
        self._context.set_trailing_metadata(metadata)

    def invocation_metadata(self) -> Any:
        """As the caller's context."""
        return self._context.invocation_metadata()

    def time_remaining(self) -> float | None:
        """As the caller's context."""
        left: float | None = self._context.time_remaining()
        return left

    async def abort(self, *status: Any) -> None:
        """Ends the stream with a status, once every answer is written."""
        await self.finish()
        await self._context.abort(*status)
