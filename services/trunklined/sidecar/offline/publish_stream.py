"""HoldingPublishStream: a PublishStream, which outlives the bus: whoever writes to it is answered, by the one or the
other."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError

from trunkline.errors import BusDisconnectedError, TrunklineError
from trunkline.limits import MAX_FRAME_BYTES
from trunkline.v1 import bus_pb2
from trunkline.v1.move_pb2 import Move
from trunkline.wire.opaque import bus_passthrough
from trunklined.admission import parse
from trunklined.rpc.errors import to_item
from trunklined.sidecar.offline.holder import Holder, is_stored
from trunklined.sidecar.offline.routing import Routing
from trunklined.sidecar.offline.stream import HoldingStream, bus_is_away, says_lost

_PublishStreamRequest = bus_passthrough()["PublishStreamRequest"]

_MOVE: Final = bus_pb2.PublishStreamResponse(move=Move()).SerializeToString()


class _Given(NamedTuple):
    """A frame that the bus was given: the answer to the caller, what of it is to be stored, its size, and when."""

    answer: asyncio.Future[bytes]
    publish: Any | None
    size: int
    at: float


class HoldingPublishStream(HoldingStream):
    """Publishes whose answers go out in order: those of the sidecar, and those of the bus."""

    def __init__(self, context: Any, routing: Routing, holder: Holder) -> None:
        super().__init__(context, routing, holder, join=False)
        self._answers: deque[asyncio.Future[bytes]] = deque()
        """Of the frames that came, until they are sent."""
        self._given: deque[_Given] = deque()
        """The frames that the bus is to answer, in order."""

    async def wait_for_bus(self) -> bool:
        """See `HoldingStream`. The bus accepts the stream with its first answer, which may come after one of ours."""
        if self._routing.takes_streams:
            await self._greet(())
        return await super().wait_for_bus()

    def lose_bus(self, error: BusDisconnectedError) -> None:
        """See `HoldingStream`."""
        self._is_at_bus = False
        self._waiting.clear()
        given, self._given = self._given, deque()
        for frame in given:
            self._take_back(frame, error)
        if self._routing.is_stopping:
            raise error
        self._routing.refuse_streams()

    async def _take(self, raw: bytes) -> bytes:
        publish = parse(_PublishStreamRequest, raw).publish
        to_store = is_stored(publish)
        holds = to_store and await self._holds()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        if holds:
            self._hold(publish, partial(self._say, answer))
        elif not (self._is_at_bus or self._routing.takes_streams):
            self._say(answer, bus_is_away())
        elif not to_store:
            self._given.append(_Given(answer, None, 0, 0.0))
            return raw
        else:
            if self._holder.identify(publish):
                raw = _PublishStreamRequest(publish=publish).SerializeToString()
            self._given.append(_Given(answer, publish, self._give(publish), self._holder.clock()))
            return raw
        return b""

    async def write(self, raw: bytes) -> None:
        """Writes an answer of the bus, behind the answers to what came before."""
        if raw == _MOVE or not self._given:
            await super().write(raw)
            return
        frame = self._given.popleft()
        if frame.publish is not None and not self._given and _says_lost(raw):
            self._take_back(frame, bus_is_away())
        else:
            self._answered(frame.size)
            frame.answer.set_result(raw)
            self._send()
        await self._writer.room(MAX_FRAME_BYTES)

    def _take_back(self, frame: _Given, error: TrunklineError) -> None:
        self._answered(frame.size)
        say = partial(self._say, frame.answer)
        if frame.publish is None:
            say(error)
        else:
            self._hold(frame.publish, say, frame.at)

    def _say(self, answer: asyncio.Future[bytes], outcome: bus_pb2.PublishResponse | TrunklineError) -> None:
        if isinstance(outcome, TrunklineError):
            response = bus_pb2.PublishStreamResponse(error=to_item(outcome))
        else:
            response = bus_pb2.PublishStreamResponse(published=outcome)
        answer.set_result(response.SerializeToString())
        self._send()

    def _send(self) -> None:
        while self._answers and self._answers[0].done():
            self._writer.put(self._answers.popleft().result())


def _says_lost(raw: bytes) -> bool:
    try:
        return says_lost(bus_pb2.PublishStreamResponse.FromString(raw).error.SerializeToString())
    except DecodeError:
        return False
