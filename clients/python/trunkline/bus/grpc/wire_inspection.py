"""WireInspection: what people ask a bus who look for a fault, by calls of the BusService."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import fields
from datetime import UTC, timedelta
from functools import cache
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.bus import questions
from trunkline.bus.codec import decode_message
from trunkline.bus.durable_codec import durable_from_wire, subscription_from_wire
from trunkline.bus.durable_delivery import DurableDelivery
from trunkline.limits import DEFAULT_REQUEST_TIMEOUT
from trunkline.models import AgentMessage
from trunkline.v1 import durable_pb2, inspection_pb2
from trunkline.wire.stream import FrameReader

_Stuck = inspection_pb2.StuckResponse
_Explained = inspection_pb2.ExplainResponse
_TYPES: Final[Mapping[type[Message], type[Any]]] = {
    _Explained: questions.Explanation,
    _Explained.Recipient: questions.Recipient,
    _Explained.Keeper: questions.Keeper,
    _Explained.Permission: questions.Permission,
    inspection_pb2.TraceResponse: questions.Trace,
    inspection_pb2.TraceEvent: questions.TraceEvent,
    inspection_pb2.TraceState: questions.TraceState,
    _Stuck: questions.Stuck,
    _Stuck.StuckDurable: questions.StuckDurable,
    _Stuck.InFlight: questions.InFlight,
    _Stuck.BlockingKey: questions.BlockingKey,
    _Stuck.PendingRequest: questions.WaitingRequest,
    _Stuck.Connection: questions.ConnectionInfo,
    _Stuck.HeldBySidecar: questions.HeldBySidecar,
    _Stuck.HeldChannel: questions.HeldChannel,
    _Stuck.Refusal: questions.Refusal,
    inspection_pb2.TailResponse.LeftOut: questions.LeftOut,
}
"""What Python users have, whose fields are called as those of the wire."""


class WireInspection(DurableDelivery):
    """See `DurableDelivery`. Each method raises what the service answers instead, and `BusDisconnectedError` where the
    connection is lost."""

    @abstractmethod
    async def _call(self, name: str, request: Message, timeout: float = DEFAULT_REQUEST_TIMEOUT) -> Any:
        """See `WireDelivery`."""

    @abstractmethod
    def _read(self, name: str, request: Message, parse: Callable[[bytes], Any]) -> FrameReader:
        """The frames of a call that answers with a stream of them."""

    async def explain(
        self, channel: str, *, identity: str = "", max_others: int | None = None
    ) -> questions.Explanation:
        request = inspection_pb2.ExplainRequest(channel=channel, identity=identity, max_others=max_others)
        explanation: questions.Explanation = _from_wire(await self._call("Explain", request))
        return explanation

    async def trace(self, message_id: str = "", *, correlation_id: str = "") -> questions.Trace:
        request = inspection_pb2.TraceRequest()
        if message_id:
            request.message_id = message_id
        elif correlation_id:
            request.correlation_id = correlation_id
        trace: questions.Trace = _from_wire(await self._call("Trace", request))
        return trace

    async def stuck(self, *, older_than: float | None = None, limit: int | None = None) -> questions.Stuck:
        request = inspection_pb2.StuckRequest(limit=limit)
        if older_than is not None:
            request.older_than.FromTimedelta(timedelta(seconds=older_than))
        stuck: questions.Stuck = _from_wire(await self._call("Stuck", request))
        return stuck

    async def tail(
        self,
        pattern: str,
        *,
        max_rate: int | None = None,
        max_messages: int | None = None,
        max_bytes: int | None = None,
        on_started: Callable[[], object] | None = None,
    ) -> AsyncGenerator[AgentMessage | questions.LeftOut, None]:
        request = inspection_pb2.TailRequest(
            pattern=pattern, max_rate=max_rate, max_messages=max_messages, max_bytes=max_bytes
        )
        frames = self._read("Tail", request, inspection_pb2.TailResponse.FromString)
        try:
            while (frame := await frames.read()) is not None:
                match frame.WhichOneof("frame"):
                    case "started" if on_started is not None:
                        on_started()
                    case "seen":
                        seen = frame.seen
                        for sequence, message in enumerate(seen.messages, seen.first_sequence):
                            yield decode_message(message, seen.channel, sequence)
                    case "left_out":
                        yield _from_wire(frame.left_out)
        finally:
            frames.cancel()


def _from_wire(wire: Message) -> Any:
    """What Python users have in place of an answer, or of a part of one."""
    if isinstance(wire, Timestamp):
        return wire.ToDatetime(tzinfo=UTC)
    if isinstance(wire, inspection_pb2.Subscription):
        return subscription_from_wire(wire)
    if isinstance(wire, durable_pb2.DurableSubscription):
        return durable_from_wire(wire)
    kind = _TYPES[type(wire)]
    by_name = wire.DESCRIPTOR.fields_by_name
    return kind(**{field.name: _value_of(wire, by_name[field.name]) for field in fields(kind)})


def _value_of(wire: Message, field: Any) -> Any:
    value = getattr(wire, field.name)
    if field.is_repeated:
        return tuple(_from_wire(each) if field.message_type else each for each in value)
    if field.message_type is not None:
        return _from_wire(value) if wire.HasField(field.name) else None
    return _words_of(field.enum_type)[value] if field.enum_type is not None else value


@cache
def _words_of(kind: Any) -> Mapping[int, str]:
    """The values of an enumeration as words: without what all of them begin with."""
    prefix = len(kind.values_by_number[0].name.removesuffix("UNSPECIFIED"))
    return {each.number: each.name[prefix:].lower() for each in kind.values}
