"""Between the wire and the domain: the checks and the conversions that every call of the bus shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as WireMessage
from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.errors import InvalidMessageError, MessageTooLargeError, TrunklineError
from trunkline.lanes import LANES, MEDIUM_LANE
from trunkline.limits import DEFAULT_REQUEST_TIMEOUT, MAX_PUBLISH_MESSAGES, MAX_REQUEST_TIMEOUT
from trunkline.v1 import bus_pb2, message_pb2
from trunkline.wire import bus_twins
from trunklined.bus.queue import Subscriber
from trunklined.bus.requests import Correlated
from trunklined.bus.run import Run

_twins = bus_twins()
OpaqueConnectRequest = _twins["ConnectRequest"]
OpaquePublishRequest = _twins["PublishRequest"]
OpaquePublishStreamRequest = _twins["PublishStreamRequest"]
OpaqueSubscribeResponse = _twins["SubscribeResponse"]
OpaqueConnectResponse = _twins["ConnectResponse"]
OpaqueRequestResponse = _twins["RequestResponse"]

_DURABILITIES = frozenset(bus_pb2.Durability.values())
_ANSWER_MARGIN = 0.02
"""Seconds that an error may take to the client."""

M = TypeVar("M", bound=WireMessage)


def parse(kind: type[M], raw: bytes) -> M:
    """The message that some bytes say.

    Raises:
        InvalidMessageError: they say none of this kind, or hold text that is no UTF-8.
    """
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise InvalidMessageError(
            f"the bytes are no {kind.DESCRIPTOR.name}: {error}", details={"field": "frame"}
        ) from error


@dataclass(slots=True)
class Publication:
    """The messages of one publish, checked and cut into runs."""

    channel: str
    runs: list[Run] = field(default_factory=list)
    correlated: list[Correlated] = field(default_factory=list)


def to_publication(wanted: bus_pb2.PublishRequest, encoded: Sequence[bytes], max_bytes: int, now: float) -> Publication:
    """Checks messages and cuts them into runs of equal priority and expiry.

    Args:
        encoded: its messages, still encoded; they are what is passed on.
        max_bytes: limit of one encoded message.
        now: UNIX time in seconds, for messages without a timestamp.

    Raises:
        InvalidMessageError, MessageTooLargeError: with the index of the message among several.
    """
    messages = wanted.messages
    if not messages:
        raise InvalidMessageError("messages is empty: at least one is needed", details={"field": "messages"})
    if len(messages) > MAX_PUBLISH_MESSAGES:
        raise InvalidMessageError(
            f"messages has {len(messages)} entries, at most {MAX_PUBLISH_MESSAGES} are allowed",
            details={"field": "messages", "value": str(len(messages))},
        )
    if wanted.durability not in _DURABILITIES:
        raise InvalidMessageError(
            f"durability {wanted.durability} is unknown",
            details={"field": "durability", "value": str(wanted.durability)},
        )
    publication = Publication(wanted.channel)
    run: Run | None = None
    for index, (message, body) in enumerate(zip(messages, encoded, strict=True)):
        try:
            admitted, lane, expires_at = admit(message, body, max_bytes, now)
        except TrunklineError as error:
            error.details["index"] = index
            raise
        if message.correlation_id and (expires_at is None or expires_at >= now):
            publication.correlated.append(Correlated(message.correlation_id, message.message_id, admitted))
        if run is None or run.lane != lane or run.expires_at != expires_at:
            run = Run(wanted.channel, lane, [], 0, expires_at)
            publication.runs.append(run)
        run.messages.append(admitted)
        run.size += len(admitted)
    return publication


def admit(message: message_pb2.Message, body: bytes, max_bytes: int, now: float) -> tuple[bytes, int, float | None]:
    """Checks one message; returns it encoded with what it lacked, its lane, and when it expires."""
    if len(body) > max_bytes:
        raise MessageTooLargeError(
            f"message {message.message_id!r} has {len(body)} bytes, at most {max_bytes} are allowed",
            details={"size": len(body), "limit": max_bytes},
        )
    priority = message.priority
    if not 0 <= priority <= LANES:
        raise InvalidMessageError(
            f"priority {priority} is unknown: 1 (low) to {LANES} (critical)",
            details={"field": "priority", "value": str(priority)},
        )
    if not message.message_id or not message.HasField("timestamp"):
        body = _completed(message, body, now)
    expires_at = _expiry(message) if message.HasField("ttl_seconds") else None
    return body, priority - 1 if priority else MEDIUM_LANE, expires_at


def _completed(message: message_pb2.Message, body: bytes, now: float) -> bytes:
    """A message with a message id and a timestamp; encoded messages joined are one with the fields of both."""
    missing = message_pb2.Message()
    if not message.message_id:
        missing.message_id = message.message_id = str(uuid4())
    if not message.HasField("timestamp"):
        missing.timestamp.FromNanoseconds(int(now * 1e9))
        message.timestamp.CopyFrom(missing.timestamp)
    return body + missing.SerializeToString()


def _expiry(message: message_pb2.Message) -> float:
    if message.ttl_seconds < 1:
        raise InvalidMessageError(
            f"ttl_seconds is {message.ttl_seconds}, it must be at least 1",
            details={"field": "ttl_seconds", "value": str(message.ttl_seconds)},
        )
    return message.timestamp.seconds + message.timestamp.nanos / 1e9 + message.ttl_seconds


def receipts_of(publication: Publication, now: float) -> bus_pb2.PublishResponse:
    """A receipt for each message, in order."""
    time = Timestamp()
    time.FromNanoseconds(int(now * 1e9))
    response = bus_pb2.PublishResponse()
    for run in publication.runs:
        for offset in range(len(run.messages)):
            response.receipts.add(
                sequence=run.first_sequence and run.first_sequence + offset,
                time=time,
                durability=bus_pb2.DURABILITY_MEMORY,
            )
    return response


def timeout_of(timeout: Duration | None, remaining: float | None) -> float:
    """Seconds that a request may wait: the earlier of its own timeout and what is left of the call's deadline.

    Of the call's a little is kept back, so that the error with its figures arrives before the client gives up itself.
    """
    if remaining is not None:
        remaining = max(0.0, remaining - min(remaining * 0.05, _ANSWER_MARGIN))
    if timeout is None:
        return DEFAULT_REQUEST_TIMEOUT if remaining is None else remaining
    seconds = timeout.seconds + timeout.nanos / 1e9
    if not 0 < seconds <= MAX_REQUEST_TIMEOUT:
        raise InvalidMessageError(
            f"timeout is {seconds:g} s, it must be more than 0 and at most {MAX_REQUEST_TIMEOUT:g} s",
            details={"field": "timeout", "value": f"{seconds:g}"},
        )
    return seconds if remaining is None else min(seconds, remaining)


def to_request_run(wanted: bus_pb2.RequestRequest, encoded: bytes, max_bytes: int, now: float) -> Run:
    """A request's message as a run; where it has no correlation id, its message id becomes it."""
    if not wanted.HasField("message"):
        raise InvalidMessageError("message is not set", details={"field": "message"})
    message = wanted.message
    body, lane, expires_at = admit(message, encoded, max_bytes, now)
    if not message.correlation_id:
        message.correlation_id = message.message_id
        body += message_pb2.Message(correlation_id=message.message_id).SerializeToString()
    return Run(wanted.channel, lane, [body], len(body), expires_at)


def start_of(frame: bus_pb2.SubscribeRequest) -> bus_pb2.SubscribeRequest.Start:
    """The `start` that the first frame of a subscription must be, with its figures checked."""
    kind = frame.WhichOneof("frame")
    if kind != "start":
        raise InvalidMessageError(
            f"the first frame must be start, it is {kind or 'empty'}", details={"field": "frame", "value": kind or ""}
        )
    if frame.start.HasField("credit"):
        check_credit("start.credit", frame.start.credit)
    return frame.start


def check_credit(name: str, messages: int) -> int:
    """Returns a credit of at least 1, or raises InvalidMessageError."""
    if messages < 1:
        raise InvalidMessageError(
            f"{name} is {messages}, it must be at least 1", details={"field": name, "value": str(messages)}
        )
    return messages


def apply_frame(subscriber: Subscriber, frame: bus_pb2.SubscribeRequest) -> None:
    """Does what a later frame of a subscription says.

    Raises:
        InvalidMessageError: a second start, an ack of a live subscription, a credit where none was asked for.
    """
    kind = frame.WhichOneof("frame")
    if kind == "credit":
        check_credit("credit.messages", frame.credit.messages)
        if subscriber.credit is None:
            raise InvalidMessageError(
                "credit was granted, but the start set none: there is no limit to raise", details={"field": "credit"}
            )
        subscriber.grant(frame.credit.messages)
        return
    said = {
        "start": "the subscription has started already",
        "ack": "a live subscription has nothing to acknowledge",
    }.get(kind or "", "the frame is empty")
    raise InvalidMessageError(said, details={"field": "frame", "value": kind or ""})


def fill_next(response: Any, subscriber: Subscriber, max_messages: int, now: float) -> tuple[int, int]:
    """Fills a SubscribeResponse with what to send a subscriber next; returns how many messages and bytes it carries.

    How many messages were dropped is said first, in a frame of its own that counts as one; (0, 0) means that there is
    nothing to send. Filling fields in place is ten times as fast as handing a dict to the constructor.
    """
    queue = subscriber.queue
    if queue is None:
        return 0, 0
    if dropped := queue.tell_dropped():
        response.lagged.dropped = dropped
        return 1, 0
    run = queue.take(subscriber, max_messages, now)
    if run is None:
        return 0, 0
    deliveries = response.deliveries
    deliveries.channel = run.channel
    deliveries.first_sequence = run.first_sequence
    deliveries.priority = run.lane + 1
    deliveries.messages.extend(run.messages)
    return len(run.messages), run.size
