"""OfflinePublishStream: a PublishStream that was opened while the bus is away."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Any

from trunkline.errors import TrunklineError
from trunkline.limits import MAX_FRAME_BYTES
from trunkline.v1 import bus_pb2
from trunkline.wire.opaque import bus_passthrough
from trunklined.admission import parse
from trunklined.rpc.errors import to_item
from trunklined.sidecar.offline.routing import Routing
from trunklined.sidecar.offline.stream import Hold, OfflineStream, bus_is_away, is_stored

_PublishStreamRequest = bus_passthrough()["PublishStreamRequest"]


class OfflinePublishStream(OfflineStream):
    """Publishes whose answers go out in order: those of the sidecar, and those of the bus."""

    def __init__(self, context: Any, routing: Routing, hold: Hold) -> None:
        super().__init__(context, routing, hold, join=False)
        self._answers: deque[asyncio.Future[bytes]] = deque()
        """Of the frames that came while not everything was forwarded, until they are sent."""
        self._from_bus: deque[asyncio.Future[bytes]] = deque()
        """Those of the answers that the bus gives, in order."""

    async def _take(self, raw: bytes) -> bytes:
        publish = parse(_PublishStreamRequest, raw).publish
        holds = is_stored(publish) and await self._routing.holds()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        if holds:
            self._hold_publish(publish, partial(self._give, answer))
        elif self._routing.is_connected:
            self._from_bus.append(answer)
            return raw
        else:
            self._give(answer, bus_is_away())
        return b""

    async def write(self, raw: bytes) -> None:
        """Writes an answer of the bus, behind the answers to what came before."""
        if self._from_bus:
            self._from_bus.popleft().set_result(raw)
            self._send()
        else:
            self._writer.put(raw)
        await self._writer.room(MAX_FRAME_BYTES)

    def _give(self, answer: asyncio.Future[bytes], outcome: bus_pb2.PublishResponse | TrunklineError) -> None:
        if isinstance(outcome, TrunklineError):
            response = bus_pb2.PublishStreamResponse(error=to_item(outcome))
        else:
            response = bus_pb2.PublishStreamResponse(published=outcome)
        answer.set_result(response.SerializeToString())
        self._send()

    def _send(self) -> None:
        while self._answers and self._answers[0].done():
            self._writer.put(self._answers.popleft().result())
