"""AgentMessage as the wire has it, and back. Every message passes here twice, so it is written for speed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from trunkline.bus.durable import DurableMessage, Settler
from trunkline.errors import InvalidMessageError
from trunkline.models import AgentMessage, MessageType, Priority
from trunkline.models.fields import fill_model
from trunkline.models.json import JSON_TYPE, encode_json
from trunkline.models.message import BINARY_TYPE, MESSAGE_FIELDS
from trunkline.v1 import message_pb2

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MESSAGE_TYPES: Final[Mapping[str, MessageType]] = {each.value: each for each in MessageType}
_TO_WIRE: Final[Mapping[Priority, int]] = {priority: number for number, priority in enumerate(Priority, start=1)}
_FROM_WIRE: Final[tuple[Priority, ...]] = (Priority.MEDIUM, *Priority)
_EXACT_SECONDS: Final = 2**32
"""Below this a float holds a time to the microsecond, and the quicker conversion is exact."""

_decode_json = msgspec.json.Decoder().decode
_new = AgentMessage.__new__
_new_durable = DurableMessage.__new__
_WireMessage: Any = message_pb2.Message


def encode_message(message: AgentMessage, correlation_id: str | None = None) -> bytes:
    """The encoded wire message.

    Args:
        correlation_id: takes the place of the message's own.

    Raises:
        InvalidMessageError: text that is no UTF-8 (lone surrogates); a payload that was changed into what JSON cannot
            say, after the message was made.
    """
    since = message.timestamp - _EPOCH
    try:
        wire = _WireMessage(message_id=message.message_id)
        if message.data is None:
            wire.json = encode_json(message.payload)
        else:
            _put_data(wire, message.data, message.content_type or BINARY_TYPE)
        stamp = wire.timestamp
        stamp.seconds = since.days * 86_400 + since.seconds
        stamp.nanos = since.microseconds * 1_000
        if message.recipient_id is not None:
            wire.recipient_id = message.recipient_id
        if correlation_id is not None or message.correlation_id is not None:
            wire.correlation_id = correlation_id or message.correlation_id
        if message.ttl_seconds is not None:
            wire.ttl_seconds = message.ttl_seconds
        if message.metadata:
            wire.metadata_json = encode_json(message.metadata)
        head = _encode_head(message.message_type, message.sender_id, message.priority)
        encoded: bytes = head + wire.SerializeToString()
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidMessageError(
            f"message {message.message_id!r} cannot be written: {error}",
            details={"field": "payload", "value": message.message_id},
        ) from error
    return encoded


def _put_data(wire: Any, data: bytes, content_type: str) -> None:
    """JSON travels as text, whoever sent it how; unchanged, also where it is broken."""
    if content_type == JSON_TYPE:
        try:
            wire.json = data
        except UnicodeDecodeError:
            pass  # it is no text
        else:
            return
    wire.data = data
    wire.content_type = content_type


@lru_cache(maxsize=1_024)
def _encode_head(message_type: str, sender_id: str, priority: Priority) -> bytes:
    """The fields that a sender says again and again. Encoded messages joined are one message with the fields of both,
    so they are encoded once; that saves a third of the time."""
    encoded: bytes = _WireMessage(
        message_type=message_type, sender_id=sender_id, priority=_TO_WIRE[priority]
    ).SerializeToString()
    return encoded


def decode_message(wire: message_pb2.Message, channel: str = "", sequence: int = 0) -> AgentMessage:
    """The model of a wire message. A JSON object comes as `payload`, however it was sent; anything else as `data`,
    unchanged, with its content type.

    Args:
        channel: where it was received.
        sequence: its place in the order of the bus.

    The fields were checked by the service, or are checked here by being converted; so the model is filled without
    validating it a second time.

    Raises:
        InvalidMessageError: a timestamp beyond the years 1 to 9999.
    """
    message = _new(AgentMessage)
    private = {"_channel": channel, "_sequence": sequence, "_ordering_key": wire.ordering_key or None}
    fill_model(message, _values(wire), MESSAGE_FIELDS, private)
    return message


def decode_durable(wire: message_pb2.Message, sequence: int, attempt: int, channel: str, settler: Settler) -> Any:
    """As `decode_message`, a message that can be settled."""
    message = _new_durable(DurableMessage)
    fill_model(
        message,
        _values(wire),
        MESSAGE_FIELDS,
        {
            "_channel": channel,
            "_sequence": sequence,
            "_ordering_key": wire.ordering_key or None,
            "_attempt": attempt,
            "_settler": settler,
            "_settled": False,
        },
    )
    return message


def _values(wire: message_pb2.Message) -> dict[str, Any]:
    text = wire.json
    data: bytes | None = None
    content_type: str | None = None
    payload: dict[str, Any] | None = None
    if text:
        payload = _json_object(text)
        if payload is None:
            data, content_type = text.encode(), JSON_TYPE
    elif (kind := wire.WhichOneof("payload")) is None:
        payload = {}
    elif kind == "json":  # an empty text, which is no JSON
        data, content_type = b"", JSON_TYPE
    else:
        data, content_type = wire.data, wire.content_type or BINARY_TYPE
        if content_type == JSON_TYPE and (payload := _json_object(data)) is not None:
            data = content_type = None
    message_type = wire.message_type
    values = {
        "message_id": wire.message_id,
        "message_type": _MESSAGE_TYPES.get(message_type, message_type),
        "sender_id": wire.sender_id,
        "recipient_id": wire.recipient_id or None,
        "payload": payload,
        "correlation_id": wire.correlation_id or None,
        "priority": _FROM_WIRE[wire.priority],
        "timestamp": _to_datetime(wire),
        "ttl_seconds": wire.ttl_seconds or None,
        "metadata": _json_object(wire.metadata_json) or {} if wire.metadata_json else {},
        "data": data,
        "content_type": content_type,
    }
    if payload is None:
        del values["payload"]
    return values


def encode_delivery(ordering_key: str | None, deliver_at: datetime | None, deliver_after: float | None) -> bytes:
    """The fields that say how a stored message is delivered; to be joined to the encoded message."""
    if ordering_key is None and deliver_at is None and deliver_after is None:
        return b""
    wire = message_pb2.Message(ordering_key=ordering_key or "")
    if deliver_at is not None:
        wire.deliver_at.FromDatetime(deliver_at)
    if deliver_after is not None:
        wire.deliver_after.FromNanoseconds(round(deliver_after * 1e9))
    return wire.SerializeToString()


def _to_datetime(wire: message_pb2.Message) -> datetime:
    stamp = wire.timestamp
    seconds, nanos = stamp.seconds, stamp.nanos
    if 0 <= seconds < _EXACT_SECONDS:
        return datetime.fromtimestamp(seconds + nanos / 1e9, UTC)
    try:
        return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1_000)
    except OverflowError as error:
        raise InvalidMessageError(
            f"message {wire.message_id!r} has timestamp {seconds} s, beyond the years 1 to 9999",
            details={"field": "timestamp", "value": str(seconds)},
        ) from error


def _json_object(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object that a text says; None if it says something else, or more than Python reads (nested too deeply,
    numbers of thousands of digits)."""
    try:
        value = _decode_json(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return value if type(value) is dict else None
