"""Diversion: a stream of publishes that was opened while the bus is away, until it ends.

To the forwarder it is the stream's context, and from it the forwarder reads what goes to the bus. What is to be stored
is taken out while the gate is not open, and answered here. So the caller's stream outlives the bus's return: it is not
ended and opened anew, nothing that is under way on it fails, and what it asked for meanwhile is what the bus gets
first.
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
from trunkline.limits import MAX_FRAME_BYTES
from trunkline.v1 import bus_pb2
from trunkline.wire.opaque import bus_passthrough
from trunkline.wire.writer import Outbox
from trunklined.rpc.errors import to_item
from trunklined.sidecar.config import MAX_WAITING_BYTES
from trunklined.sidecar.offline.gate import Gate

Kept = asyncio.Future[bus_pb2.PublishResponse]
Keep = Callable[[Any], Kept]
"""Takes the opaque twin of a PublishRequest; its receipts come when it is durable. Raises what is wrong with it."""

_twins = bus_passthrough()
_ConnectRequest = _twins["ConnectRequest"]
_PublishStreamRequest = _twins["PublishStreamRequest"]

_LEFT_TO_THE_BUS: Final = frozenset({bus_pb2.DURABILITY_UNSPECIFIED, bus_pb2.DURABILITY_MEMORY})


def is_stored(wanted: Any) -> bool:
    """Whether a publish says that it shall be stored. Where it says nothing, a rule of the bus decides, which nobody
    else knows."""
    return wanted.durability not in _LEFT_TO_THE_BUS


def _away() -> TrunklineError:
    return BusDisconnectedError("the bus is away; the sidecar holds only what is to be stored")


class Diversion(ABC):
    """See the module.

    Args:
        context: the caller's.
        gate: whether what is to be stored passes.
        keep: holds it here.
        join: whether frames of this stream's answers can be joined.
    """

    def __init__(self, context: Any, gate: Gate, keep: Keep, *, join: bool) -> None:
        self._context = context
        self._gate = gate
        self._keep = keep
        self._outbox = Outbox(context.write, join=join)
        self._waiting: deque[bytes] = deque()
        """Frames for the bus."""
        self._keeping: set[Kept] = set()
        self._reading: asyncio.Future[Any] = asyncio.ensure_future(context.read())

    @abstractmethod
    async def _take(self, raw: bytes) -> bytes:
        """Does what is to be done here for a frame; returns what of it is for the bus, empty if nothing is."""

    async def wait_for_bus(self) -> bool:
        """Serves what can be served without the bus. False: the caller has half-closed, and nothing is for the bus.

        Raises:
            BusDisconnectedError: the sidecar stops.
            InvalidMessageError: a frame cannot be read.
        """
        connected = asyncio.ensure_future(self._gate.until(lambda: self._gate.is_connected))
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
                await self._outbox.room(MAX_FRAME_BYTES)
            connected.result()
            return True
        finally:
            connected.cancel()

    async def finish(self) -> None:
        """Waits until what was taken here is answered, and everything is written."""
        await self._kept()
        await self._outbox.flushed()

    async def _kept(self) -> None:
        while self._keeping:
            await asyncio.wait(self._keeping)

    def close(self) -> None:
        """Idempotent."""
        self._reading.cancel()
        self._outbox.close()

    def _hold(self, wanted: Any, settle: Callable[[Kept], None]) -> None:
        """Holds a publish; `settle` gets what came of it. Raises what is wrong with it."""
        kept = self._keep(wanted)
        self._keeping.add(kept)
        kept.add_done_callback(settle)
        kept.add_done_callback(self._keeping.discard)

    # What the forwarder calls.

    async def read(self) -> Any:
        """The next frame for the bus, or EOF."""
        if self._waiting:
            return self._waiting.popleft()
        while (raw := await self._reading) is not aio.EOF:
            self._reading = asyncio.ensure_future(self._context.read())
            try:
                rest = raw if self._gate.is_open else await self._take(raw)
            except InvalidMessageError:
                rest = raw  # the bus says what is wrong with it
            await self._outbox.room(MAX_FRAME_BYTES)
            if rest:
                return rest
        return aio.EOF

    async def write(self, raw: bytes) -> None:
        """A frame of the bus's answers."""
        self._outbox.put(raw)
        await self._outbox.room(MAX_FRAME_BYTES)

    async def send_initial_metadata(self, _: object) -> None:
        """The bus has accepted the stream; the caller knows that the sidecar did."""
        return

    def set_trailing_metadata(self, metadata: Any) -> None:
        self._context.set_trailing_metadata(metadata)

    def invocation_metadata(self) -> Any:
        return self._context.invocation_metadata()

    def time_remaining(self) -> float | None:
        left: float | None = self._context.time_remaining()
        return left

    async def abort(self, *status: Any) -> None:
        """Ends it with a status, behind what there is to say."""
        await self.finish()
        await self._context.abort(*status)


class ConnectDiversion(Diversion):
    """The line of a client library.

    While the bus is away: subscriptions and live publishes wait for it, as they would in the client; requests are
    refused at once; a ping is answered when what came before it is durable, unless a publish waits for the bus.
    """

    def __init__(self, context: Any, gate: Gate, keep: Keep) -> None:
        super().__init__(context, gate, keep, join=True)
        self._waiting_bytes = 0
        self._publish_waits = False

    async def send_initial_metadata(self, _: object) -> None:
        """The bus has accepted the stream."""
        self._answer(0, bus_connected=bus_pb2.ConnectResponse.BusConnected())

    async def _take(self, raw: bytes) -> bytes:
        frame = _parse(_ConnectRequest, raw)
        keeps: bool | None = None
        rest = _ConnectRequest()
        for item in frame.items:
            kind = item.WhichOneof("item")
            if kind == "publish" and is_stored(item.publish):
                keeps = await self._gate.keeps() if keeps is None else keeps
                if keeps and not self._gate.is_open:
                    self._hold_item(item)
                    continue
            elif kind == "ping":
                await self._kept()
            if self._gate.is_connected or self._waits(item, kind):
                rest.items.append(item)
        encoded: bytes = rest.SerializeToString()
        return encoded

    def _hold_item(self, item: Any) -> None:
        id = item.id

        def settle(kept: Kept) -> None:
            if kept.cancelled():
                return
            if (error := kept.exception()) is not None:
                self._refuse(id, error)
            elif id:
                self._answer(id, published=kept.result())

        try:
            self._hold(item.publish, settle)
        except TrunklineError as error:
            self._refuse(id, error)

    def _waits(self, item: Any, kind: str | None) -> bool:
        """Whether an item waits for the bus; else it is answered."""
        if kind == "ping" and not self._publish_waits:
            self._answer(item.id, pong=bus_pb2.ConnectResponse.Pong())
            return False
        size = item.ByteSize()
        if kind in ("ping", "request") or self._waiting_bytes + size > MAX_WAITING_BYTES:
            self._refuse(item.id, _away())
            return False
        self._waiting_bytes += size
        self._publish_waits |= kind == "publish"
        return True

    def _answer(self, id: int, **answer: Any) -> None:
        item = bus_pb2.ConnectResponse.ServerItem(id=id, **answer)
        self._outbox.put(bus_pb2.ConnectResponse(items=[item]).SerializeToString())

    def _refuse(self, id: int, error: BaseException) -> None:
        self._answer(id, error=to_item(_expected(error)))


class PublishDiversion(Diversion):
    """Publishes whose answers go out in order: those of the sidecar, and those of the bus."""

    def __init__(self, context: Any, gate: Gate, keep: Keep) -> None:
        super().__init__(context, gate, keep, join=False)
        self._answers: deque[asyncio.Future[bytes]] = deque()
        """Of the frames that were taken while the gate was not open, until they are sent."""
        self._from_bus: deque[asyncio.Future[bytes]] = deque()
        """Those of them that the bus gives, in order."""

    async def _take(self, raw: bytes) -> bytes:
        wanted = _parse(_PublishStreamRequest, raw).publish
        keeps = is_stored(wanted) and await self._gate.keeps()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        if not keeps and self._gate.is_connected:
            self._from_bus.append(answer)
            return raw
        try:
            if not keeps:
                raise _away()
            self._hold(wanted, partial(self._settle, answer))
        except TrunklineError as error:
            self._give(answer, bus_pb2.PublishStreamResponse(error=to_item(error)))
        return b""

    async def write(self, raw: bytes) -> None:
        if self._from_bus:
            self._from_bus.popleft().set_result(raw)
            self._send()
        else:
            self._outbox.put(raw)
        await self._outbox.room(MAX_FRAME_BYTES)

    def _settle(self, answer: asyncio.Future[bytes], kept: Kept) -> None:
        if kept.cancelled():
            return
        error = kept.exception()
        if error is None:
            self._give(answer, bus_pb2.PublishStreamResponse(published=kept.result()))
        else:
            self._give(answer, bus_pb2.PublishStreamResponse(error=to_item(_expected(error))))

    def _give(self, answer: asyncio.Future[bytes], response: bus_pb2.PublishStreamResponse) -> None:
        answer.set_result(response.SerializeToString())
        self._send()

    def _send(self) -> None:
        while self._answers and self._answers[0].done():
            self._outbox.put(self._answers.popleft().result())


def _parse(kind: Any, raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise InvalidMessageError(
            f"the bytes are no {kind.DESCRIPTOR.name}: {error}", details={"field": "frame"}
        ) from error


def _expected(error: BaseException) -> TrunklineError:
    assert isinstance(error, TrunklineError), error
    return error
