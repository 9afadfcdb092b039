"""Admission: the checks of published messages, and what they are completed with.

The bus admits messages, and so does a sidecar that keeps them while the bus is away: what one has admitted, the other
must not refuse.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NoReturn, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as WireMessage
from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.errors import InvalidMessageError, MessageTooLargeError
from trunkline.ids import new_id
from trunkline.limits import MAX_DELIVER_AHEAD, MAX_ORDERING_KEY_BYTES, MAX_PUBLISH_MESSAGES
from trunkline.priority import MEDIUM_LEVEL, PRIORITY_LEVELS
from trunkline.v1 import bus_pb2, message_pb2
from trunklined.rpc.long_work import check_lists
from trunklined.rpc.times import LAST_SECOND, NANOS, check_duration, check_time, seconds_of, stamp_of, time_of

M = TypeVar("M", bound=WireMessage)

_ID_HEAD = message_pb2.Message(message_id=(_AN_ID := new_id())).SerializeToString().removesuffix(_AN_ID.encode())
"""What stands before a message id in an encoded message: all ids that are made here have the same length."""

_DURABILITIES = frozenset(bus_pb2.Durability.values())


def invalid_message(field: str, problem: str, value: object = "") -> InvalidMessageError:
    """Makes the error of one field: its name, what is wrong with it, and its value."""
    return InvalidMessageError(f"{field} {problem}", details={"field": field, "value": str(value)})


def parse(kind: type[M], raw: bytes) -> M:
    """Parses the bytes as a message of some kind.

    Raises:
        InvalidMessageError: they are none of this kind, hold text that is no UTF-8, or one of its lists has more than
            MAX_FRAME_ITEMS entries: that is found before they are decoded.
    """
    check_lists(raw, kind, invalid_message)
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise InvalidMessageError(
            f"the bytes are no {kind.DESCRIPTOR.name}: {error}", details={"field": "frame"}
        ) from error


def check_publish(request: Any, count: int) -> None:
    """Checks a PublishRequest, but for its channel and the messages themselves.

    Args:
        request: public or passthrough.
        count: how many messages it has.

    Raises:
        InvalidMessageError: no messages, too many, or a durability that is none.
    """
    if not count:
        raise InvalidMessageError("messages is empty: at least one is needed", details={"field": "messages"})
    if count > MAX_PUBLISH_MESSAGES:
        raise InvalidMessageError(
            f"messages has {count} entries, at most {MAX_PUBLISH_MESSAGES} are allowed",
            details={"field": "messages", "value": str(count)},
        )
    if request.durability not in _DURABILITIES:
        raise InvalidMessageError(
            f"durability {request.durability} is unknown",
            details={"field": "durability", "value": str(request.durability)},
        )


def admit(message: message_pb2.Message, body: bytes, max_bytes: int, now: float) -> tuple[bytes, int, float | None]:
    """Checks one message, and completes it with a message id and a timestamp where it has none.

    Args:
        message: it parsed; completed in place.
        body: it encoded.
        max_bytes: limit of one encoded message.
        now: UNIX time in seconds.

    Returns:
        The message encoded, its level, and the UNIX time at which it expires (None: never).

    Raises:
        MessageTooLargeError: the encoded message is over the limit.
        InvalidMessageError: a priority that is none, a timestamp that is none, or a TTL below 1.
    """
    if len(body) > max_bytes:
        raise too_large(message, body, max_bytes)
    priority = message.priority
    if not 0 <= priority <= PRIORITY_LEVELS:
        raise InvalidMessageError(
            f"priority {priority} is unknown: 1 (low) to {PRIORITY_LEVELS} (critical)",
            details={"field": "priority", "value": str(priority)},
        )
    stamp = message.timestamp
    if not (0 < stamp.seconds <= LAST_SECOND and 0 <= stamp.nanos < NANOS):  # of most it is; others cost more
        if message.HasField("timestamp"):
            check_time("timestamp", stamp, invalid_message)
        else:
            body = _completed(message, body, now)
    if not message.message_id:
        body = _completed(message, body, now)
    level = priority - 1 if priority else MEDIUM_LEVEL
    return body, level, _expiry(message) if message.HasField("ttl_seconds") else None


def with_message_id(body: bytes) -> bytes:
    """Returns an encoded message with a message id: itself where it has one, or is no message."""
    if body[:1] == _ID_HEAD[:1] and body[1:2] > b"\0":  # of most it stands first; others cost more
        return body
    try:
        message = message_pb2.Message.FromString(body)
    except DecodeError:
        return body
    return body if message.message_id else body + _ID_HEAD + new_id().encode()


def too_large(message: message_pb2.Message, body: bytes, max_bytes: int) -> MessageTooLargeError:
    """The error of an encoded message that is over the limit."""
    return MessageTooLargeError(
        f"message {message.message_id!r} has {len(body)} bytes, at most {max_bytes} are allowed",
        details={"size": len(body), "limit": max_bytes},
    )


def refuse_delivery(message: message_pb2.Message) -> NoReturn:
    """Raises InvalidMessageError for a message that is not stored, and shall be held back."""
    field = "deliver_at" if message.HasField("deliver_at") else "deliver_after"
    raise InvalidMessageError(
        f"{field} is set: a message is held back only where it is stored", details={"field": field}
    )


def check_delivery(
    message: message_pb2.Message, key: str | None, level: int, expires_at: float | None, now: float
) -> tuple[int, float | None]:
    """Checks how a message to be stored is delivered: its ordering key, and until when it is held back.

    Args:
        key: its ordering key; None: none.
        level: of its priority.
        expires_at: UNIX time in seconds; None: never.
        now: UNIX time in seconds.

    Returns:
        Its level, which with a key is medium, since order goes before priority; and the UNIX time at which it is due
        (None: now).

    Raises:
        InvalidMessageError: a key over its limit, both times set, a time that is none, out of bounds or not before it
            expires.
    """
    if key is not None:
        level = MEDIUM_LEVEL
        if len(key.encode()) > MAX_ORDERING_KEY_BYTES:
            raise InvalidMessageError(
                f"ordering_key has {len(key.encode())} bytes, at most {MAX_ORDERING_KEY_BYTES} are allowed",
                details={"field": "ordering_key", "value": key[:64]},
            )
    if message.HasField("deliver_at"):
        if message.HasField("deliver_after"):
            raise InvalidMessageError("deliver_at and deliver_after are both set", details={"field": "deliver_after"})
        check_time("deliver_at", message.deliver_at, invalid_message)
        field_name, wait = "deliver_at", time_of(message.deliver_at) - now
        wait = max(wait, 0.0)
    elif message.HasField("deliver_after"):
        check_duration("deliver_after", message.deliver_after, invalid_message)
        field_name, wait = "deliver_after", seconds_of(message.deliver_after)
    else:
        return level, None
    if not 0 <= wait <= MAX_DELIVER_AHEAD:
        raise InvalidMessageError(
            f"{field_name} is {wait:g} s ahead, it must be 0 to {MAX_DELIVER_AHEAD:g} s",
            details={"field": field_name, "value": f"{wait:g}"},
        )
    if expires_at is not None and expires_at <= now + wait:
        raise InvalidMessageError(
            f"{field_name} is {wait:g} s ahead, but the message's TTL is over before",
            details={"field": field_name, "value": f"{wait:g}"},
        )
    return level, now + wait if wait else None


def _completed(message: message_pb2.Message, body: bytes, now: float) -> bytes:
    """A message with a message id and a timestamp; encoded messages joined are one with the fields of both."""
    if not message.message_id:
        message.message_id = new_id()
        body += _ID_HEAD + message.message_id.encode()
    if not message.HasField("timestamp"):
        stamp, encoded = _stamped(now)
        message.timestamp.CopyFrom(stamp)
        body += encoded
    return body


@lru_cache(maxsize=1)  # what comes at once is completed with the same time
def _stamped(now: float) -> tuple[Timestamp, bytes]:
    """A time, and a message that says that alone, encoded."""
    stamp = stamp_of(now)
    return stamp, message_pb2.Message(timestamp=stamp).SerializeToString()


def _expiry(message: message_pb2.Message) -> float:
    if message.ttl_seconds < 1:
        raise InvalidMessageError(
            f"ttl_seconds is {message.ttl_seconds}, it must be at least 1",
            details={"field": "ttl_seconds", "value": str(message.ttl_seconds)},
        )
    return time_of(message.timestamp) + message.ttl_seconds
