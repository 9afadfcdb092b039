"""PublishingCalls: the three calls of the bus that publish. What is to be stored, and the bus does not take, is held.

While the bus is there and nothing is held, they are forwarded like every other call; what is to be stored is read only
so far that it can be held after all, where the bus is lost before it has answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import grpc

from trunkline.errors import BusDisconnectedError, InvalidMessageError, TrunklineError
from trunkline.wire.opaque import bus_passthrough
from trunklined.admission import parse
from trunklined.forwarding.forwarder import Context, Forwarder
from trunklined.sidecar.offline.holder import Holder, is_stored
from trunklined.sidecar.offline.open_stream import HoldingOpenStream
from trunklined.sidecar.offline.publish_stream import HoldingPublishStream
from trunklined.sidecar.offline.routing import Routing
from trunklined.sidecar.offline.stream import HoldingStream

_PREFIX: Final = "/trunkline.v1.BusService/"
_PublishRequest = bus_passthrough()["PublishRequest"]

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # not subscriptable at run time


class PublishingCalls:
    """Serves the calls that publish.

    Args:
        forwarder: the way to the bus.
        routing: whether what is to be stored is forwarded or held.
        holder: holds it.
    """

    def __init__(self, forwarder: Forwarder, routing: Routing, holder: Holder) -> None:
        self._forwarder = forwarder
        self._routing = routing
        self._holder = holder

    def handlers(self) -> dict[str, Handler]:
        """Returns a handler for each of the calls, by its name."""
        return {
            "Publish": grpc.unary_unary_rpc_method_handler(self.publish),
            "PublishStream": grpc.stream_stream_rpc_method_handler(self.publish_stream),
            "OpenStream": grpc.stream_stream_rpc_method_handler(self.open_stream),
        }

    async def publish(self, raw: bytes, context: Context) -> bytes:
        """See bus.proto."""
        method = _PREFIX + "Publish"
        self._forwarder.check_open(method, raw)
        publish = _stored(raw)
        if publish is None:
            return await self._forwarder.unary(method, raw, context)
        if not self._routing.is_forwarding and await self._routing.holds(context.time_remaining()):
            return (await self._holder.hold(publish)).SerializeToString()
        if self._holder.identify(publish):
            raw = publish.SerializeToString()
        sent_at = self._holder.clock()
        try:
            return await self._forwarder.unary(method, raw, context)
        except BusDisconnectedError:
            return (await self._holder.hold(publish, sent_at)).SerializeToString()

    async def publish_stream(self, _: object, context: Context) -> None:
        """See bus.proto."""
        await self._serve(_PREFIX + "PublishStream", HoldingPublishStream, context)

    async def open_stream(self, _: object, context: Context) -> None:
        """See bus.proto."""
        await self._serve(_PREFIX + "OpenStream", HoldingOpenStream, context)

    async def _serve(self, method: str, kind: Callable[..., HoldingStream], context: Context) -> None:
        await self._routing.holds(context.time_remaining())
        stream = kind(context, self._routing, self._holder)
        forwarded: Any = stream
        try:
            while await stream.wait_for_bus():
                try:
                    await self._forwarder.stream_stream(method, forwarded, tries_again=True)
                    break
                except BusDisconnectedError as error:
                    stream.lose_bus(error)
            await stream.finish()
        except TrunklineError:
            await stream.finish()
            raise
        finally:
            stream.close()


def _stored(raw: bytes) -> Any:
    """Decodes a PublishRequest that is to be stored; None for others, and for bytes that only the bus judges."""
    try:
        publish = parse(_PublishRequest, raw)
    except InvalidMessageError:
        return None
    return publish if is_stored(publish) else None
