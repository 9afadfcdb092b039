"""OfflineOpenStream: an OpenStream stream that was opened while the bus is away."""

from __future__ import annotations

from functools import partial
from typing import Any

from trunkline.errors import TrunklineError
from trunkline.v1 import bus_pb2
from trunkline.wire.opaque import bus_passthrough
from trunklined.admission import parse
from trunklined.rpc.errors import to_item
from trunklined.rpc.long_work import TimeSlice
from trunklined.sidecar.config import MAX_WAITING_BYTES
from trunklined.sidecar.offline.routing import Routing
from trunklined.sidecar.offline.stream import Hold, OfflineStream, bus_is_away, is_stored

_OpenStreamRequest = bus_passthrough()["OpenStreamRequest"]


class OfflineOpenStream(OfflineStream):
    """The stream of a client library.

    While the bus is away: subscriptions and live publishes wait for it, as they would in the client; requests are
    refused at once; a ping is answered when what came before it is durable, unless a publish waits for the bus.
    """

    def __init__(self, context: Any, routing: Routing, hold: Hold) -> None:
        super().__init__(context, routing, hold, join=True)
        self._waiting_bytes = 0
        self._publish_waits = False

    async def send_initial_metadata(self, _: object) -> None:
        """Tells the client that the bus has accepted the stream."""
        self._answer(0, bus_connected=bus_pb2.OpenStreamResponse.BusConnected())

    async def _take(self, raw: bytes) -> bytes:
        frame = parse(_OpenStreamRequest, raw)
        holds: bool | None = None
        rest = _OpenStreamRequest()
        work = TimeSlice()
        for item in frame.items:
            if work.is_over:
                await work.rest()
            kind = item.WhichOneof("item")
            if kind == "publish" and is_stored(item.publish):
                holds = await self._routing.holds() if holds is None else holds
                if holds and not self._routing.is_forwarding:
                    self._hold_publish(item.publish, partial(self._answer_publish, item.id))
                    continue
            elif kind == "ping":
                await self._held()
            if self._routing.is_connected or self._waits(item, kind):
                rest.items.append(item)
        encoded: bytes = rest.SerializeToString()
        return encoded

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
