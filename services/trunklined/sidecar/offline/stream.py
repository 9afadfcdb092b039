"""OfflineStream: a stream of publishes that was opened while the bus is away, until it ends.

To the forwarder it is the stream's context, and from it the forwarder reads what goes to the bus. What is to be stored
is taken out while it is not forwarded, and answered here. So the caller's stream outlives the bus's return: it is not
ended and opened anew, nothing that is under way on it fails, and what the caller sent meanwhile is what the bus gets
first.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from grpc import aio

from trunkline.errors import BusDisconnectedError, InvalidMessageError, TrunklineError
from trunkline.limits import MAX_FRAME_BYTES
from trunkline.v1 import bus_pb2
from trunkline.wire.writer import StreamWriter
from trunklined.sidecar.offline.routing import Routing

Receipts = asyncio.Future[bus_pb2.PublishResponse]
Hold = Callable[[Any], Receipts]
"""Takes a PublishRequest whose messages are bytes; its receipts come when it is durable. Raises what is wrong in it."""
Answer = Callable[[bus_pb2.PublishResponse | TrunklineError], None]
"""Answers a publish, with its receipts or with why it is not held."""

_LEFT_TO_THE_BUS: Final = frozenset({bus_pb2.DURABILITY_UNSPECIFIED, bus_pb2.DURABILITY_MEMORY})


def is_stored(publish: Any) -> bool:
    """Whether a publish names a durability that stores it. Where it names none, a rule of the bus decides, which only
    the bus knows."""
    return publish.durability not in _LEFT_TO_THE_BUS


def bus_is_away() -> TrunklineError:
    """The error of what needs the bus while it is away."""
    return BusDisconnectedError("the bus is away; the sidecar holds only what is to be stored")


class OfflineStream(ABC):
    """See the module.

    Args:
        context: the caller's.
        routing: whether what is to be stored is forwarded or held.
        hold: holds a publish here.
        join: whether frames of this stream's answers can be joined.
    """

    def __init__(self, context: Any, routing: Routing, hold: Hold, *, join: bool) -> None:
        self._context = context
        self._routing = routing
        self._hold = hold
        self._writer = StreamWriter(context.write, join=join)
        self._waiting: deque[bytes] = deque()
        """Frames for the bus."""
        self._holding: set[Receipts] = set()
        self._reading: asyncio.Future[Any] = asyncio.ensure_future(context.read())

    @abstractmethod
    async def _take(self, raw: bytes) -> bytes:
        """Serves what of a frame is served here; returns what of it is for the bus, empty if nothing is."""

    async def wait_for_bus(self) -> bool:
        """Serves what can be served without the bus. False: the caller has half-closed, and nothing is for the bus.

        Raises:
            BusDisconnectedError: the sidecar stops.
            InvalidMessageError: a frame cannot be read.
        """
        connected = asyncio.ensure_future(self._routing.wait_until(lambda: self._routing.is_connected))
        try:
            while not connected.done():
                await asyncio.wait({self._reading, connected}, return_when=asyncio.FIRST_COMPLETED)
                if not self._reading.done() or connected.done():
                    continue
                raw = self._reading.result()
                if raw is aio.EOF:
                    if not self._waiting:
                        return False
                    await connected
                    break
                self._reading = asyncio.ensure_future(self._context.read())
                if rest := await self._take(raw):
                    self._waiting.append(rest)
                await self._writer.room(MAX_FRAME_BYTES)
            connected.result()
            return True
        finally:
            connected.cancel()

    async def finish(self) -> None:
        """Waits until what was held here is answered, and everything is written."""
        await self._held()
        await self._writer.flushed()

    def close(self) -> None:
        """Ends reading and writing at once; idempotent."""
        self._reading.cancel()
        self._writer.close()

    async def _held(self) -> None:
        """Waits until what was held here is durable."""
        while self._holding:
            await asyncio.wait(self._holding)

    def _hold_publish(self, publish: Any, answer: Answer) -> None:
        """Holds a publish here; `answer` is called once, when it is durable or cannot be."""
        try:
            receipts = self._hold(publish)
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
        while (raw := await self._reading) is not aio.EOF:
            self._reading = asyncio.ensure_future(self._context.read())
            try:
                rest = raw if self._routing.is_forwarding else await self._take(raw)
            except InvalidMessageError:
                rest = raw  # the bus answers what is wrong with it
            await self._writer.room(MAX_FRAME_BYTES)
            if rest:
                return rest
        return aio.EOF

    async def write(self, raw: bytes) -> None:
        """Writes a frame of the bus's answers."""
        self._writer.put(raw)
        await self._writer.room(MAX_FRAME_BYTES)

    async def send_initial_metadata(self, _: object) -> None:
        """The bus has accepted the stream; the caller knows that the sidecar did."""
        return

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
