"""What encoded messages say, for the domain; see `MessageFormat`."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from trunkline.errors import RequestFailedError, TrunklineError
from trunkline.ids import new_id
from trunkline.v1 import life_pb2, message_pb2
from trunkline.wire.encoding import write_varint
from trunklined.bus.dead_letters import DeadLetter
from trunklined.bus.description import Description, LifeFormat, MessageFormat
from trunklined.bus.requests import cancelled_error
from trunklined.rpc.times import stamp_of


def describe(body: bytes) -> Description:
    """What an encoded message says of itself."""
    message = message_pb2.Message.FromString(body)
    return Description(message.message_id, message.message_type, message.sender_id, message.correlation_id)


def announcement(letter: DeadLetter, dead_letters: int) -> bytes:
    """The message that tells of a dead letter: what it is, and how many there are."""
    entry = {
        "dead_letter_id": letter.id,
        "durable": letter.durable,
        "pattern": letter.pattern,
        "channel": letter.channel,
        "sequence": letter.sequence,
        "reason": letter.reason.name,
        "error": letter.error,
        "attempts": [each._asdict() for each in letter.attempts],
        "redrives": letter.redrives,
        "message_id": letter.message_id,
        "message_type": letter.message_type,
        "sender_id": letter.sender_id,
    }
    message = message_pb2.Message(
        message_id=new_id(),
        message_type="error",
        sender_id="trunkline-bus",
        priority=message_pb2.PRIORITY_HIGH,
        json=json.dumps({"entry": entry, "queue_size": dead_letters}, ensure_ascii=False),
    )
    message.timestamp.CopyFrom(stamp_of(letter.dead_at))
    return message.SerializeToString()


def without_ttl(encoded: bytes) -> bytes:
    """A message that somebody wants delivered after all does not expire again."""
    message = message_pb2.Message.FromString(encoded)
    if not message.HasField("ttl_seconds"):
        return encoded
    message.ClearField("ttl_seconds")
    return message.SerializeToString()


_Event = life_pb2.LifeEvent
_NUMBER: Final = write_varint(_Event.NUMBER_FIELD_NUMBER << 3)


def accepted(responder: str, attempt: int) -> bytes:
    """The event of who accepted a request."""
    return _Event(accepted=_Event.Accepted(responder=responder, attempt=attempt)).SerializeToString()


def result(channel: str, message: bytes) -> bytes:
    """The event of a reply that was published."""
    event = _Event(result=_Event.Result(channel=channel))
    event.result.message.MergeFromString(message)
    return event.SerializeToString()


def cancelled(by: str, reason: str) -> bytes:
    """The event of a request that somebody cancelled."""
    return _Event(cancelled=_Event.Cancelled(by=by, reason=reason)).SerializeToString()


def stamp(number: int, now: float) -> bytes:
    """What an event is completed with: encoded messages joined are one with the fields of both."""
    return _NUMBER + write_varint(number) + _time(now)


@lru_cache(maxsize=16)
def _time(now: float) -> bytes:
    """The field that says when it was: many events come at once."""
    return _Event(time=stamp_of(now)).SerializeToString()


def reply(encoded: bytes, request_id: str) -> bytes:
    """The message that a result carries; where it has none, one without a payload."""
    event = _Event.FromString(encoded)
    if event.result.HasField("message"):
        return event.result.message.SerializeToString()
    message = message_pb2.Message(message_id=new_id(), correlation_id=request_id)
    message.timestamp.GetCurrentTime()
    return message.SerializeToString()


def end_error(encoded: bytes, request_id: str) -> TrunklineError:
    """The error that a failure, or a cancellation, is to who waits for a reply alone."""
    event = _Event.FromString(encoded)
    if event.HasField("cancelled"):
        return cancelled_error(request_id, event.cancelled.by, event.cancelled.reason)
    said = event.failure
    details = {
        "request_id": request_id,
        "type": said.type,
        "text": said.text,
        "code": said.code,
        "retryable": said.retryable,
    }
    if said.traceback:
        details["traceback"] = said.traceback
    return RequestFailedError(f"{said.type}: {said.text}" if said.type else said.text, details=details)


def postponed(attempt: int, error: str, until: float) -> bytes:
    """The event of an attempt at a task that another follows."""
    return _Event(postponed=_Event.Postponed(attempt=attempt, error=error, until=stamp_of(until))).SerializeToString()


def failure(kind: str, text: str, code: str) -> bytes:
    """The event of what failed for good."""
    return _Event(failure=_Event.Failure(type=kind, text=text, code=code)).SerializeToString()


def done() -> bytes:
    """The event of a result that says nothing."""
    return _Event(result=_Event.Result()).SerializeToString()


MESSAGE_FORMAT: Final = MessageFormat(
    LifeFormat(accepted, result, cancelled, stamp, reply, end_error, postponed, failure, done),
    describe,
    without_ttl,
    announcement,
)
