"""OfflineCalls: the three calls of the bus that publish, while the bus is away: what is to be stored is held for it.

While the bus is there and nothing is held, they are forwarded like every other call, and never decoded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import grpc

from trunkline.channels import check_channel
from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.limits import BUS_AWAY
from trunkline.v1 import bus_pb2
from trunkline.wire.opaque import bus_passthrough
from trunklined.admission import check_publish, parse
from trunklined.forwarding.forwarder import Context, Forwarder
from trunklined.relay.arrival import to_arrival
from trunklined.relay.journal import Arrival
from trunklined.rpc.times import stamp_of
from trunklined.sidecar.offline.backlog import Backlog
from trunklined.sidecar.offline.open_stream import OfflineOpenStream
from trunklined.sidecar.offline.publish_stream import OfflinePublishStream
from trunklined.sidecar.offline.routing import Routing
from trunklined.sidecar.offline.stream import OfflineStream, Receipts, is_stored

_PREFIX: Final = "/trunkline.v1.BusService/"
_PublishRequest = bus_passthrough()["PublishRequest"]

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # not subscriptable at run time


class OfflineCalls:
    """Serves the calls that publish.

    Args:
        forwarder: the way to the bus.
        routing: whether what is to be stored is forwarded or held.
        backlog: where it is held.
        max_message_bytes: limit of one encoded message.
        clock: UNIX time in seconds.
    """

    def __init__(
        self,
        forwarder: Forwarder,
        routing: Routing,
        backlog: Backlog,
        max_message_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._forwarder = forwarder
        self._routing = routing
        self._backlog = backlog
        self._max_message_bytes = max_message_bytes
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """Returns a handler for each of the calls, by its name."""
        return {
            "Publish": grpc.unary_unary_rpc_method_handler(self.publish),
            "PublishStream": grpc.stream_stream_rpc_method_handler(self.publish_stream),
            "OpenStream": grpc.stream_stream_rpc_method_handler(self.open_stream),
        }

    async def publish(self, raw: bytes, context: Context) -> bytes:
        """See bus.proto."""
        self._forwarder.check_open(_PREFIX + "Publish", raw)
        if not self._routing.is_forwarding:
            publish = _stored(raw)
            if publish is not None and await self._routing.holds(context.time_remaining()):
                return (await self.hold(publish)).SerializeToString()
        return await self._forwarder.unary(_PREFIX + "Publish", raw, context)

    async def publish_stream(self, _: object, context: Context) -> None:
        """See bus.proto."""
        await self._serve(_PREFIX + "PublishStream", OfflinePublishStream, context)

    async def open_stream(self, _: object, context: Context) -> None:
        """See bus.proto."""
        await self._serve(_PREFIX + "OpenStream", OfflineOpenStream, context)

    def hold(self, publish: Any) -> Receipts:
        """Holds the messages of a PublishRequest, which are bytes.

        Raises:
            InvalidChannelError, InvalidMessageError, MessageTooLargeError: as the bus would.
            OverloadedError: a bound is reached.
        """
        now = self._clock()
        arrivals = arrivals_of(publish, self._max_message_bytes, now)
        receipt = bus_pb2.Receipt(durability=bus_pb2.DURABILITY_STORED, held_by_sidecar=True)
        receipt.time.CopyFrom(stamp_of(now))
        return self._backlog.keep(arrivals, bus_pb2.PublishResponse(receipts=[receipt] * len(arrivals)))

    async def _serve(self, method: str, kind: Callable[..., OfflineStream], context: Context) -> None:
        if not await self._routing.holds(context.time_remaining()):
            await self._forwarder.stream_stream(method, context)
            return
        await context.send_initial_metadata((BUS_AWAY,))  # it tells a client that its stream is accepted
        stream = kind(context, self._routing, self.hold)
        forwarded: Any = stream
        try:
            if await stream.wait_for_bus():
                await self._forwarder.stream_stream(method, forwarded)
            await stream.finish()
        except TrunklineError:
            await stream.finish()
            raise
        finally:
            stream.close()


def arrivals_of(publish: Any, max_bytes: int, now: float) -> list[Arrival]:
    """Returns the messages of a PublishRequest, checked, and completed with all that counts from now.

    Raises:
        InvalidChannelError, InvalidMessageError, MessageTooLargeError: with the index of the message among several.
    """
    check_publish(publish, len(publish.messages))
    arrivals = []
    for index, body in enumerate(publish.messages):
        try:
            arrivals.append(to_arrival(publish.channel, body, max_bytes, now))
        except TrunklineError as error:
            error.details["index"] = index
            raise
    check_channel(publish.channel)
    return arrivals


def _stored(raw: bytes) -> Any:
    """Decodes a PublishRequest that is to be stored; None for others, and for bytes that only the bus judges."""
    try:
        publish = parse(_PublishRequest, raw)
    except InvalidMessageError:
        return None
    return publish if is_stored(publish) else None
