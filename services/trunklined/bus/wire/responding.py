"""What responders say: checked, and given to the request; and what they are told of what they were handed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan
from typing import Any, Final

from google.protobuf.message import DecodeError

from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.v1 import bus_pb2, life_pb2
from trunkline.wire.encoding import length_prefix
from trunklined.admission import admit, invalid_message, refuse_delivery
from trunklined.bus.broker import Broker
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.queue import Subscriber
from trunklined.bus.requests import PendingRequest, Responder, Said
from trunklined.bus.wire.translation import check_events
from trunklined.rpc.errors import to_item
from trunklined.rpc.times import check_time, duration_of

_Event: Final = life_pb2.LifeEvent
_requests: Final = length_prefix(bus_pb2.SubscribeResponse.Deliveries, "requests")


class Answers:
    """Takes answers for all calls that do.

    Args:
        broker: which knows the requests.
        max_message_bytes: limit of one encoded message.
    """

    def __init__(self, broker: Broker, max_message_bytes: int) -> None:
        self._broker = broker
        self._max_message_bytes = max_message_bytes

    def take(self, request: Any, encoded: Sequence[bytes], responder: Responder | None) -> PendingRequest:
        """Takes what somebody says of a request, up to the first event that is refused; returns the request.

        Args:
            request: a RespondRequest, public or passthrough.
            encoded: its events as they came.
            responder: who; None: whoever.

        Raises:
            InvalidMessageError: an event that is none, says what the bus says, or progress that goes back.
            MessageTooLargeError: a part or a result over the limit.
            RequestNotFoundError: the request is over, unknown, or not that responder's.
            OverloadedError: a part beyond the credit.
        """
        check_events("events", len(encoded))
        said: list[Said] = []
        refused: TrunklineError | None = None
        for index, body in enumerate(encoded):
            try:
                said.append(self._check(body))
            except TrunklineError as error:
                error.details["index"] = index
                refused = error
                break
        if refused is not None and not said:
            raise refused
        pending = self._broker.find_request(request.request_id)
        pending.answer(responder, said)
        if refused is not None:
            raise refused
        return pending

    def _check(self, body: bytes) -> Said:
        try:
            event = _Event.FromString(body)
        except DecodeError as error:
            raise InvalidMessageError(f"the bytes are no event: {error}", details={"field": "events"}) from error
        if event.number:
            raise invalid_message("number", "is set: the bus sets it", event.number)
        if event.HasField("time"):
            check_time("time", event.time, invalid_message)
            raise invalid_message("time", "is set: the bus sets it", event.time.ToJsonString())
        if event.result.channel:
            raise invalid_message("channel", "is set: the bus sets it", event.result.channel)
        kind = event.WhichOneof("event")
        if kind is None or kind == "postponed":
            raise invalid_message("event", f"is {kind or 'empty'}: who answers says another", kind or "")
        fraction = None
        if kind == "progress" and event.progress.HasField("fraction"):
            fraction = event.progress.fraction
            if isnan(fraction) or not 0 <= fraction <= 1:
                raise InvalidMessageError(
                    f"fraction is {fraction:g}, it must be between 0 and 1",
                    details={"field": "fraction", "value": f"{fraction:g}"},
                )
        elif kind == "part" or (kind == "result" and event.result.HasField("message")):
            message = getattr(event, kind).message
            raw = body if len(body) <= self._max_message_bytes else message.SerializeToString()
            admitted, _, _ = admit(message, raw, self._max_message_bytes, self._broker.clock())
            if message.HasField("deliver_at") or message.HasField("deliver_after"):
                refuse_delivery(message)
            if len(admitted) != len(raw):  # it was completed
                body = event.SerializeToString()
        return Said(kind, body, event.accepted.responder if kind == "accepted" else "", fraction)


def responder_of(subscriber_peer: str, tell: Callable[[bus_pb2.SubscribeResponse], None]) -> Responder:
    """The responder that a subscription is.

    Args:
        subscriber_peer: its address: what it is called where it gives itself no name.
        tell: sends it a frame.
    """

    def call_off(request_id: str, by: str, reason: str) -> None:
        frame = bus_pb2.SubscribeResponse.CalledOff(request_id=request_id, by=by, reason=reason)
        tell(bus_pb2.SubscribeResponse(called_off=frame))

    def grant(request_id: str, parts: int) -> None:
        frame = bus_pb2.SubscribeResponse.PartCredit(request_id=request_id, parts=parts)
        tell(bus_pb2.SubscribeResponse(part_credit=frame))

    return Responder(subscriber_peer, call_off, grant)


def refused_response(request_id: str, error: TrunklineError) -> bus_pb2.SubscribeResponse:
    """The frame that tells a responder that what it said was refused."""
    frame = bus_pb2.SubscribeResponse.RefusedResponse(request_id=request_id, error=to_item(error))
    return bus_pb2.SubscribeResponse(refused_response=frame)


def encode_requests(broker: Broker, subscriber: Subscriber, batch: MessageBatch) -> bytes:
    """What Deliveries to a responder say of which messages are requests."""
    parts: list[bytes] = []
    for index, request in broker.hand_out(subscriber, batch):
        requested = bus_pb2.SubscribeResponse.Requested(
            index=index, attempt=request.attempts + 1, traceback=request.terms.traceback
        )
        if request.on_events is not None:
            requested.credit = request.credit
        requested.timeout.CopyFrom(duration_of(request.time_left))
        if request.terms.idle_timeout is not None:
            requested.idle_timeout.CopyFrom(duration_of(request.terms.idle_timeout))
        encoded = requested.SerializeToString()
        parts += (_requests(len(encoded)), encoded)
    return b"".join(parts)
