"""StuckCall: what does not move, as the bus says it, and what the sidecar holds for the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

from trunkline.errors import BusDisconnectedError
from trunkline.limits import MAX_STUCK_LIMIT, STUCK_LIMIT
from trunkline.v1 import inspection_pb2
from trunklined.admission import invalid_message, parse
from trunklined.forwarding.forwarder import Context, Forwarder
from trunklined.relay.relay import Relay
from trunklined.rpc.times import stamp_of
from trunklined.sidecar.offline.backlog import Backlog

_METHOD: Final = "/trunkline.v1.BusService/Stuck"
_Response = inspection_pb2.StuckResponse

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # not subscriptable at run time


class StuckCall:
    """Answers also while the bus is away.

    Args:
        forwarder: the way to the bus.
        backlog: what is held.
        relay: hands it to the bus.
    """

    def __init__(self, forwarder: Forwarder, backlog: Backlog, relay: Relay) -> None:
        self._forwarder = forwarder
        self._backlog = backlog
        self._relay = relay

    def handler(self) -> Handler:
        """Returns the call's handler."""
        return grpc.unary_unary_rpc_method_handler(self.stuck)

    async def stuck(self, raw: bytes, context: Context) -> bytes:
        """See bus.proto."""
        self._forwarder.check_open(_METHOD)
        request = parse(inspection_pb2.StuckRequest, raw)
        limit = request.limit if request.HasField("limit") else STUCK_LIMIT
        if not 1 <= limit <= MAX_STUCK_LIMIT:
            raise invalid_message("limit", f"is {limit}, it must be between 1 and {MAX_STUCK_LIMIT}", limit)
        response = await self._of_bus(raw, context)
        await self._fill(response.sidecar, limit)
        return response.SerializeToString()

    async def _of_bus(self, raw: bytes, context: Context) -> inspection_pb2.StuckResponse:
        if self._forwarder.is_connected:
            try:
                return _Response.FromString(await self._forwarder.unary(_METHOD, raw, context))
            except BusDisconnectedError:
                pass  # which is what the answer says
        return _Response(unheard=[self._forwarder.address])

    async def _fill(self, told: inspection_pb2.StuckResponse.HeldBySidecar, limit: int) -> None:
        stock = self._backlog.stock
        channels, refusals = await self._backlog.look(limit)
        told.bus_address = self._forwarder.address
        told.bus_connected = self._forwarder.is_connected
        told.messages, told.bytes = stock.messages, stock.bytes
        if stock.oldest_at is not None:
            told.oldest_at.CopyFrom(stamp_of(stock.oldest_at))
        told.refused, told.refused_bytes = stock.refused, stock.refused_bytes
        told.max_messages, told.max_bytes = stock.max_messages, stock.max_bytes
        told.forwarded, told.possible_duplicates = self._relay.forwarded, self._relay.possible_duplicates
        for each in channels:
            told.channels.add(
                channel=each.channel, messages=each.messages, bytes=each.bytes, oldest_at=stamp_of(each.oldest_at)
            )
        for refusal in refusals:
            told.last_refused.add(
                channel=refusal.channel,
                message_id=refusal.message_id,
                refused_at=stamp_of(refusal.refused_at),
                reason=refusal.reason,
                error=refusal.error,
            )
