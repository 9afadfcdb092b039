"""What the wire has, as AgentMessage; the way there is `trunkline.message_encoding`. Written for speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError

from trunkline.bus.durable import DurableMessage, Settler
from trunkline.bus.request import Answering, Request
from trunkline.errors import InvalidMessageError
from trunkline.models import AgentMessage, Priority
from trunkline.models.fields import fill_model
from trunkline.models.json import JSON_TYPE
from trunkline.models.lazy import ABSENT, SOURCE, known_fields, set_known
from trunkline.models.message import BINARY_TYPE, MESSAGE_FIELDS, MESSAGE_TYPES
from trunkline.v1 import message_pb2
from trunkline.wire.times import to_datetime

_FROM_WIRE: Final[tuple[Priority, ...]] = (Priority.MEDIUM, *Priority)

_decode_json = msgspec.json.Decoder().decode
_new = AgentMessage.__new__
_new_durable = DurableMessage.__new__
_new_request = Request.__new__
_WireMessage: Any = message_pb2.Message
_parse = _WireMessage.FromString
_Source = tuple[Any, ...]
"""What a message that came keeps: how its fields are read, and the wire message."""


NO_MESSAGE: Final[Any] = _WireMessage(message_id="?")
"""Stands for one that cannot be read."""


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


def decode_request(wire: message_pb2.Message, sequence: int, channel: str, answering: Answering) -> Request:
    """As `decode_message`, a message that can be answered."""
    message = _new_request(Request)
    fill_model(
        message,
        {SOURCE: (_DURABLE_READERS, wire)},
        MESSAGE_FIELDS,
        {
            "_channel": channel,
            "_sequence": sequence,
            "_ordering_key": wire.ordering_key or None,
            "_answering": answering,
            "_result": None,
        },
    )
    return message


def request_of(message: DurableMessage, answering: Answering) -> Request:
    """A message that was just handed out as one that can be answered: its wire message is the same."""
    wire = known_fields(message)[SOURCE][1]
    return decode_request(wire, message.sequence or 0, message.channel or "", answering)


def _read_payload(source: _Source) -> Any:
    if (text := source[1].json) and (payload := _json_object(text)) is not None:
        return payload
    return _read_content(source[1])[0]


def _read_metadata(text: str) -> Any:
    if not text:
        return {}
    metadata = _json_object(text)
    return ABSENT if metadata is None else metadata


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
    "metadata": lambda source: _read_metadata(source[1].metadata_json),
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


def _json_object(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object that a text says; None if it says something else, or more than Python reads (nested too deeply,
    numbers of thousands of digits)."""
    try:
        value = _decode_json(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return value if type(value) is dict else None
