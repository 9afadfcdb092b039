"""The events of a life as the wire has them, and back."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from google.protobuf.message import DecodeError

from trunkline.bus.codec import decode_message
from trunkline.bus.life import Accepted, Cancellation, Failure, LifeEvent, Part, Postponed, Progress, Result
from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.text import safe_text
from trunkline.v1 import life_pb2
from trunkline.wire.encoding import length_prefix
from trunkline.wire.times import to_datetime

_Event: Final = life_pb2.LifeEvent
_part = length_prefix(_Event, "part")
_result = length_prefix(_Event, "result")
_part_message = length_prefix(_Event.Part, "message")
_result_message = length_prefix(_Event.Result, "message")

_MAKE: Final[Mapping[str, Callable[[Any, int, datetime], LifeEvent]]] = {
    "accepted": lambda said, number, time: Accepted(number, time, said.responder, said.attempt),
    "progress": lambda said, number, time: Progress(
        number, time, said.fraction if said.HasField("fraction") else None, said.text
    ),
    "part": lambda said, number, time: Part(number, time, decode_message(said.message)),
    "result": lambda said, number, time: Result(
        number, time, decode_message(said.message, said.channel), said.channel, said.HasField("message")
    ),
    "failure": lambda said, number, time: Failure(
        number, time, said.type, said.text, said.code, said.retryable, said.traceback
    ),
    "cancelled": lambda said, number, time: Cancellation(number, time, said.by, said.reason),
    "postponed": lambda said, number, time: Postponed(
        number, time, said.attempt, said.error, to_datetime(said.until.seconds, said.until.nanos)
    ),
}


def decode_event(raw: bytes) -> LifeEvent | None:
    """The event that was encoded; None for one of a newer bus.

    Raises:
        InvalidMessageError: the bytes are no event.
    """
    try:
        wire = _Event.FromString(raw)
    except DecodeError as error:
        raise InvalidMessageError(f"the bytes are no event: {error}", details={"field": "events"}) from error
    return event_of(wire)


def event_of(wire: life_pb2.LifeEvent) -> LifeEvent | None:
    """The event that a wire message says; None for one of a newer bus."""
    kind = wire.WhichOneof("event")
    if kind is None:
        return None
    return _MAKE[kind](getattr(wire, kind), wire.number, to_datetime(wire.time.seconds, wire.time.nanos))


def encode_accepted(responder: str) -> bytes:
    """The event of who begins."""
    return _Event(accepted=_Event.Accepted(responder=responder)).SerializeToString()


def encode_progress(fraction: float | None, text: str) -> bytes:
    """The event of how far it is."""
    return _Event(progress=_Event.Progress(fraction=fraction, text=safe_text(text))).SerializeToString()


def encode_part(encoded: bytes) -> bytes:
    """The event of a part, whose message is encoded; joined from its parts, as frames of messages are."""
    prefix = _part_message(len(encoded))
    return b"".join((_part(len(prefix) + len(encoded)), prefix, encoded))


def encode_result(encoded: bytes | None) -> bytes:
    """The event of the end: it is done, with its message encoded, or None."""
    if encoded is None:
        return _result(0)
    prefix = _result_message(len(encoded))
    return b"".join((_result(len(prefix) + len(encoded)), prefix, encoded))


def encode_cancelled(by: str, reason: str) -> bytes:
    """The event of the end: it was called off."""
    return _Event(cancelled=_Event.Cancelled(by=by, reason=reason)).SerializeToString()


def encode_failure(error: BaseException, with_traceback: bool, *, retryable: bool = False) -> bytes:
    """The event of the end: it failed with an error.

    Its code and whether it may be tried again are what the error itself says: `error_code` and `retryable`, or `code`
    and `retryable` in its details. Of an error that does not say, `retryable` holds.
    """
    said = _Event.Failure(type=safe_text(type(error).__name__))
    try:
        said.text = safe_text(str(error))
    except Exception as broken:  # noqa: BLE001  # whatever a user's __str__ does, the failure itself must be told
        said.text = f"its text cannot be read: {type(broken).__name__}"
    details: Mapping[str, Any] = error.details if isinstance(error, TrunklineError) else {}
    said.code = safe_text(str(details.get("code") or getattr(error, "error_code", "")))
    says = bool(details.get("retryable", getattr(error, "retryable", retryable)))
    has_said = "retryable" in details or getattr(type(error), "retryable", None) is not TrunklineError.retryable
    said.retryable = says or (retryable and not has_said)
    if with_traceback:
        said.traceback = safe_text("".join(traceback.format_exception(error)))
    return _Event(failure=said).SerializeToString()
