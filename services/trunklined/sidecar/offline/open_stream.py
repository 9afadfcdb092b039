"""HoldingOpenStream: an OpenStream stream, the line of a client library."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final, NamedTuple

from trunkline.errors import BusDisconnectedError, TrunklineError
from trunkline.limits import HOLDS_STORED
from trunkline.v1 import bus_pb2
from trunkline.wire.opaque import bus_passthrough
from trunklined.admission import parse
from trunklined.forwarding.open_items import frames_of, items_of
from trunklined.rpc.errors import to_item
from trunklined.rpc.long_work import TimeSlice
from trunklined.sidecar.config import MAX_WAITING_BYTES
from trunklined.sidecar.offline.holder import Holder, is_stored
from trunklined.sidecar.offline.routing import Routing
from trunklined.sidecar.offline.stream import HoldingStream, bus_is_away, says_lost

_OpenStreamRequest = bus_passthrough()["OpenStreamRequest"]
_FRAMES = frames_of("/trunkline.v1.BusService/OpenStream")
assert _FRAMES is not None
_Answers: Final = _FRAMES[1]
"""Frames of the bus, their items read no deeper than id and kind."""


class _Given(NamedTuple):
    """A publish to be stored that the bus was given, its size, and when."""

    publish: Any
    size: int
    at: float


class HoldingOpenStream(HoldingStream):
    """The stream of a client library.

    While the bus is away: subscriptions and live publishes wait for it, as they would in the client; requests are
    refused at once; a ping is answered when what came before it is durable, unless a publish waits for the bus.

    A stream that the bus had is over when the bus is lost, for its subscriptions are; the client begins it anew.
    """

    def __init__(self, context: Any, routing: Routing, holder: Holder) -> None:
        super().__init__(context, routing, holder, join=True)
        self._waiting_bytes = 0
        self._publish_waits = False
        self._accepted = asyncio.Event()
        """Set when the bus has accepted the stream."""
        self._given: dict[int, _Given] = {}
        """By the ids of their items, in order."""
        self._last_given = 0

    async def send_initial_metadata(self, metadata: Any) -> None:
        """The bus has accepted the stream: so has the sidecar; to a client that was told before that the bus is away it
        says so."""
        self._accepted.set()
        if self._greeted:
            self._answer(0, bus_connected=bus_pb2.OpenStreamResponse.BusConnected())
        await self._greet((*metadata, HOLDS_STORED))

    async def read(self) -> Any:
        """See `HoldingStream`. Nothing goes to a bus that may not take it."""
        await self._accepted.wait()
        return await super().read()

    async def _next(self) -> Any:
        """See `HoldingStream`. Whoever is cancelled at the bus is so with the stream, which needs no more frames."""
        if self._is_at_bus and self._reading is None:
            return await self._context.read()  # without the task that would keep what comes
        return await super()._next()

    def lose_bus(self, error: BusDisconnectedError) -> None:
        """See `HoldingStream`."""
        self._is_at_bus = False
        given, self._given = self._given, {}
        for id, each in given.items():
            self._take_back(id, each)
        if self._routing.is_stopping:
            raise error
        self._routing.refuse_streams()
        if given or self._accepted.is_set():
            raise error

    async def _take(self, raw: bytes) -> bytes:
        frame = parse(_OpenStreamRequest, raw)
        holds: bool | None = None
        changed = False
        rest = _OpenStreamRequest()
        work = TimeSlice()
        for item in frame.items:
            if work.is_over:
                await work.rest()
            kind = item.WhichOneof("item")
            if kind == "publish" and is_stored(item.publish):
                holds = await self._holds() if holds is None else holds  # of a frame all are held, or none
                if holds:
                    self._hold(item.publish, partial(self._answer_publish, item.id))
                    continue
                changed |= self._remember(item)
            elif kind == "ping":
                await self._held()
            if self._is_at_bus or self._routing.takes_streams or self._waits(item, kind):
                rest.items.append(item)
        if not changed and len(rest.items) == len(frame.items):
            return raw
        encoded: bytes = rest.SerializeToString()
        return encoded

    def _remember(self, item: Any) -> bool:
        """Notes that the bus is given a publish to be stored; returns whether it got ids for that."""
        changed = self._holder.identify(item.publish)
        if item.id:
            self._last_given = item.id
            self._given[item.id] = _Given(item.publish, self._give(item.publish), self._holder.clock())
        return changed

    async def write(self, raw: bytes) -> None:
        """Writes a frame of the bus's answers, but for those that say that a publish was not taken, which is held."""
        await super().write(self._note_answers(raw) if self._given else raw)

    def _note_answers(self, raw: bytes) -> bytes:
        kept = _Answers()
        taken_back = False
        for item in items_of(_Answers, raw):
            given = self._given.pop(item.id, None)
            if given is not None:
                is_last = item.id == self._last_given  # else what was given behind it may be stored
                if is_last and item.WhichOneof("item") == "error" and says_lost(item.error):
                    self._take_back(item.id, given)
                    taken_back = True
                    continue
                self._answered(given.size)
            kept.items.append(item)
        if not taken_back:
            return raw
        encoded: bytes = kept.SerializeToString()
        return encoded

    def _take_back(self, id: int, given: _Given) -> None:
        self._answered(given.size)
        self._hold(given.publish, partial(self._answer_publish, id), given.at)

    def _answer_publish(self, id: int, outcome: bus_pb2.PublishResponse | TrunklineError) -> None:
        if isinstance(outcome, TrunklineError):
            self._refuse(id, outcome)
        elif id:
            self._answer(id, published=outcome)

    def _waits(self, item: Any, kind: str | None) -> bool:
        """Whether an item waits for the bus; else it is answered."""
        if kind == "ping" and not self._publish_waits:
            self._answer(item.id, pong=bus_pb2.OpenStreamResponse.Pong())
            return False
        size = item.ByteSize()
        if kind in ("ping", "request", "request_stream") or self._waiting_bytes + size > MAX_WAITING_BYTES:
            self._refuse(item.id, bus_is_away())
            return False
        self._waiting_bytes += size
        self._publish_waits |= kind == "publish"
        return True

    def _answer(self, id: int, **answer: Any) -> None:
        item = bus_pb2.OpenStreamResponse.ServerItem(id=id, **answer)
        self._writer.put(bus_pb2.OpenStreamResponse(items=[item]).SerializeToString())

    def _refuse(self, id: int, error: TrunklineError) -> None:
        self._answer(id, error=to_item(error))
