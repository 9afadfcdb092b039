"""AgentMessage as the wire has it, and back. Every message passes here twice, so it is written for speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError

from trunkline.bus.durable import DurableMessage, Settler
from trunkline.errors import InvalidMessageError
from trunkline.models import AgentMessage, Priority
from trunkline.models.fields import fill_model
from trunkline.models.json import JSON_TYPE, encode_json
from trunkline.models.lazy import ABSENT, SOURCE, set_known
from trunkline.models.message import BINARY_TYPE, MESSAGE_FIELDS, MESSAGE_TYPES, as_made
from trunkline.v1 import message_pb2
from trunkline.wire.encoding import length_prefix
from trunkline.wire.times import EPOCH, encode_stamp, to_datetime

_TO_WIRE: Final[Mapping[Priority, int]] = {priority: number for number, priority in enumerate(Priority, start=1)}
_FROM_WIRE: Final[tuple[Priority, ...]] = (Priority.MEDIUM, *Priority)

_decode_json = msgspec.json.Decoder().decode
_new = AgentMessage.__new__
_new_durable = DurableMessage.__new__
_WireMessage: Any = message_pb2.Message
_parse = _WireMessage.FromString
_Source = tuple[Any, ...]
"""What a message that came keeps: how its fields are read, and the wire message."""


NO_MESSAGE: Final[Any] = _WireMessage(message_id="?")
"""Stands for one that cannot be read."""


_message_id, _recipient_id, _json, _timestamp, _correlation_id = (
    length_prefix(message_pb2.Message, field)
    for field in ("message_id", "recipient_id", "json", "timestamp", "correlation_id")
)


def encode_message(message: AgentMessage, correlation_id: str | None = None) -> bytes:
    """The encoded wire message.

    Args:
        correlation_id: takes the place of the message's own.

    Raises:
        InvalidMessageError: text that is no UTF-8 (lone surrogates); a payload that was changed into what JSON cannot
            say, after the message was made.
    """
    try:
        made = as_made(message)
        if made is not None:
            return _encode_made(made, correlation_id)
        return _encode_fields(message, correlation_id)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidMessageError(
            f"message {message.message_id!r} cannot be written: {error}",
            details={"field": "payload", "value": message.message_id},
        ) from error


def _encode_made(made: Any, correlation_id: str | None) -> bytes:
    """Writes a message from what it keeps: put together from parts, byte for byte as `_encode_fields` does it, in
    half of the time."""
    _, message_id, message_type, sender_id, recipient_id, json, own_correlation_id, priority, time = made
    parts = [
        _encode_head(message_type, sender_id, priority),
        _message_id(len(message_id)),
        message_id.encode(),
    ]
    if recipient_id is not None:
        encoded = recipient_id.encode()
        parts += (_recipient_id(len(encoded)), encoded)
    seconds, nanos = divmod(time, 1_000_000_000)
    stamp = encode_stamp(seconds, nanos - nanos % 1_000)
    parts += (_json(len(json)), json, _timestamp(len(stamp)), stamp)
    if (correlation_id := correlation_id or own_correlation_id) is not None:
        encoded = correlation_id.encode()
        parts += (_correlation_id(len(encoded)), encoded)
    return b"".join(parts)


def _encode_fields(message: AgentMessage, correlation_id: str | None) -> bytes:
    since = message.timestamp - EPOCH
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
    so they are encoded once."""
    encoded: bytes = _WireMessage(
        message_type=message_type, sender_id=sender_id, priority=_TO_WIRE[priority]
    ).SerializeToString()
    return encoded


def parse_message(raw: bytes) -> message_pb2.Message:
    """The wire message that was encoded. Each has its own memory: who keeps a message does not keep the frame that it
    came in.

    Raises:
        InvalidMessageError: the bytes are no message.
    """
    try:
        wire: message_pb2.Message = _parse(raw)
    except DecodeError as error:
        raise InvalidMessageError(f"the bytes are no Message: {error}", details={"field": "messages"}) from error
    return wire


def decode_message(wire: message_pb2.Message, channel: str = "", sequence: int = 0) -> AgentMessage:
    """The model of a wire message. A JSON object comes as `payload`, however it was sent; anything else as `data`,
    unchanged, with its content type.

    Args:
        channel: where it was received.
        sequence: its place in the order of the bus.

    The fields were checked by the service, and each is converted when it is first asked for.
    """
    message = _new(AgentMessage)
    set_known(message, {SOURCE: (_READERS, wire, channel, sequence)})
    return message


def decode_durable(wire: message_pb2.Message, sequence: int, attempt: int, channel: str, settler: Settler) -> Any:
    """As `decode_message`, a message that can be settled."""
    message = _new_durable(DurableMessage)
    fill_model(
        message,
        {SOURCE: (_DURABLE_READERS, wire)},
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


def _read_payload(source: _Source) -> Any:
    if (text := source[1].json) and (payload := _json_object(text)) is not None:
        return payload
    return _read_content(source[1])[0]


def _read_content(wire: Any) -> tuple[Any, bytes | None, str | None]:
    """Reads payload, data and content type: either a JSON object, or anything else as bytes."""
    match wire.WhichOneof("payload"):
        case None:
            return {}, None, None
        case "json":
            content, content_type = wire.json.encode(), JSON_TYPE
        case _:
            content, content_type = wire.data, wire.content_type or BINARY_TYPE
    if content_type == JSON_TYPE and (payload := _json_object(content)) is not None:
        return payload, None, None
    return ABSENT, content, content_type


def _read_time(source: _Source) -> datetime:
    stamp = source[1].timestamp
    return to_datetime(stamp.seconds, stamp.nanos)


_READERS: Final[Mapping[str, Callable[[_Source], Any]]] = {
    "message_id": lambda source: source[1].message_id,
    "message_type": lambda source: MESSAGE_TYPES.get(source[1].message_type, source[1].message_type),
    "sender_id": lambda source: source[1].sender_id,
    "recipient_id": lambda source: source[1].recipient_id or None,
    "payload": _read_payload,
    "correlation_id": lambda source: source[1].correlation_id or None,
    "priority": lambda source: _FROM_WIRE[source[1].priority],
    "timestamp": _read_time,
    "ttl_seconds": lambda source: source[1].ttl_seconds or None,
    "metadata": lambda source: (source[1].metadata_json and _json_object(source[1].metadata_json)) or {},
    "data": lambda source: _read_content(source[1])[1],
    "content_type": lambda source: _read_content(source[1])[2],
    "_channel": itemgetter(2),
    "_sequence": itemgetter(3),
    "_ordering_key": lambda source: source[1].ordering_key or None,
    SOURCE: lambda source: {name: _READERS[name](source) for name in ("_channel", "_sequence", "_ordering_key")},
}
_DURABLE_READERS: Final[Mapping[str, Callable[[_Source], Any]]] = {
    name: reader for name, reader in _READERS.items() if name in MESSAGE_FIELDS
}


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


def _json_object(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object that a text says; None if it says something else, or more than Python reads (nested too deeply,
    numbers of thousands of digits)."""
    try:
        value = _decode_json(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return value if type(value) is dict else None
