"""Between the wire and the domain: the checks and the conversions that every call of the bus shares."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as WireMessage
from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.channels import check_pattern, matches
from trunkline.errors import InvalidMessageError, MessageTooLargeError, TrunklineError
from trunkline.lanes import LANES, MEDIUM_LANE
from trunkline.limits import (
    DEFAULT_REQUEST_TIMEOUT,
    MAX_DELIVER_AHEAD,
    MAX_ORDERING_KEY_BYTES,
    MAX_PUBLISH_MESSAGES,
    MAX_REQUEST_TIMEOUT,
)
from trunkline.v1 import bus_pb2, message_pb2
from trunkline.wire import bus_twins
from trunklined.bus.broker import Broker, Subscription
from trunklined.bus.durable import Description, DurableSubscription
from trunklined.bus.engines.engine import DeadLetter, HeldBack
from trunklined.bus.journal import Publication, Repeated
from trunklined.bus.queue import Subscriber
from trunklined.bus.requests import Correlated
from trunklined.bus.run import Run
from trunklined.bus.settling import position_of, settings_of, settle
from trunklined.bus.window import Known, Window

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


def is_stored(wanted: bus_pb2.PublishRequest, stored_patterns: Sequence[str]) -> bool:
    """Whether a publish shall be stored: it says so, or it says nothing and a rule of the service does."""
    if wanted.durability == bus_pb2.DURABILITY_UNSPECIFIED:
        return any(matches(pattern, wanted.channel) for pattern in stored_patterns)
    return wanted.durability != bus_pb2.DURABILITY_MEMORY


def _check_publish(wanted: bus_pb2.PublishRequest) -> None:
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


def to_publication(wanted: bus_pb2.PublishRequest, encoded: Sequence[bytes], max_bytes: int, now: float) -> Publication:
    """Checks messages and cuts them into runs of equal priority and expiry.

    Args:
        encoded: its messages, still encoded; they are what is passed on.
        max_bytes: limit of one encoded message.
        now: UNIX time in seconds, for messages without a timestamp.

    Raises:
        InvalidMessageError, MessageTooLargeError: with the index of the message among several.
    """
    _check_publish(wanted)
    publication = Publication(wanted.channel)
    run: Run | None = None
    for index, (message, body) in enumerate(zip(wanted.messages, encoded, strict=True)):
        try:
            admitted, lane, expires_at = admit(message, body, max_bytes, now)
            if message.HasField("deliver_at") or message.HasField("deliver_after"):
                raise InvalidMessageError(
                    "a message is held back only where it is stored", details={"field": "deliver_at"}
                )
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


def to_stored_publication(
    wanted: bus_pb2.PublishRequest, encoded: Sequence[bytes], max_bytes: int, now: float, window: Window
) -> Publication:
    """As `to_publication`, for messages to be stored: those that are there already are left out."""
    _check_publish(wanted)
    publication = Publication(wanted.channel)
    parts = publication.parts
    run: Run | None = None
    ids: list[str] = []
    fresh: dict[str, tuple[Run, int]] = {}
    find = window.find
    for index, (message, body) in enumerate(zip(wanted.messages, encoded, strict=True)):
        try:
            admitted, lane, expires_at = admit(message, body, max_bytes, now)
            key = message.ordering_key or None
            due = None
            if key is not None or message.HasField("deliver_at") or message.HasField("deliver_after"):
                lane, due = _check_delivery(message, key, lane, expires_at, now)
        except TrunklineError as error:
            error.details["index"] = index
            raise
        message_id = message.message_id
        known = find(message_id, now)
        if known is not None:
            parts.append(known)
            continue
        if message_id in fresh:
            parts.append(Repeated(*fresh[message_id]))
            continue
        if message.correlation_id and (expires_at is None or expires_at >= now):
            publication.correlated.append(Correlated(message.correlation_id, message_id, admitted))
        if due is not None:
            held = Run(wanted.channel, lane, [admitted], len(admitted), expires_at, key=key)
            fresh[message_id] = held, 0
            publication.held_back.append((len(parts), due, held, message_id))
            parts.append(held)
            continue
        if run is None or run.lane != lane or run.expires_at != expires_at or key is not None or run.key is not None:
            run = Run(wanted.channel, lane, [], 0, expires_at, key=key)
            ids = []
            publication.runs.append(run)
            publication.message_ids.append(ids)
        if not parts or parts[-1] is not run:
            parts.append(run)
        fresh[message_id] = run, len(ids)
        run.messages.append(admitted)
        run.size += len(admitted)
        ids.append(message_id)
    return publication


def _check_delivery(
    message: message_pb2.Message, key: str | None, lane: int, expires_at: float | None, now: float
) -> tuple[int, float | None]:
    """The lane of a message with an ordering key (medium: order goes before priority), and when it is due."""
    if key is not None:
        lane = MEDIUM_LANE
        if len(key.encode()) > MAX_ORDERING_KEY_BYTES:
            raise InvalidMessageError(
                f"ordering_key has {len(key.encode())} bytes, at most {MAX_ORDERING_KEY_BYTES} are allowed",
                details={"field": "ordering_key", "value": key[:64]},
            )
    if message.HasField("deliver_at"):
        if message.HasField("deliver_after"):
            raise InvalidMessageError("deliver_at and deliver_after are both set", details={"field": "deliver_after"})
        field_name, wait = "deliver_at", message.deliver_at.seconds + message.deliver_at.nanos / 1e9 - now
        wait = max(wait, 0.0)
    elif message.HasField("deliver_after"):
        field_name, wait = "deliver_after", _seconds(message.deliver_after)
    else:
        return lane, None
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
    return lane, now + wait if wait else None


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def describe(body: bytes) -> Description:
    """What an encoded message says of itself."""
    message = message_pb2.Message.FromString(body)
    return Description(message.message_id, message.message_type, message.sender_id)


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
        message_id=str(uuid4()),
        message_type="error",
        sender_id="trunkline-bus",
        priority=message_pb2.PRIORITY_HIGH,
        json=json.dumps({"entry": entry, "queue_size": dead_letters}, ensure_ascii=False),
    )
    message.timestamp.FromNanoseconds(int(letter.dead_at * 1e9))
    return message.SerializeToString()


def stored_receipts_of(publication: Publication, durability: bus_pb2.Durability) -> bus_pb2.PublishResponse:
    """A receipt for each message that was to be stored, in order."""
    response = bus_pb2.PublishResponse()
    add = response.receipts.add
    time = Timestamp()
    time.FromNanoseconds(int(publication.time * 1e9))
    for part in publication.parts:
        if isinstance(part, Run):
            first = part.first_sequence
            for offset in range(len(part.messages)):
                add(sequence=first and first + offset, time=time, durability=durability)
        elif isinstance(part, HeldBack):
            add(sequence=part.sequence, time=time, durability=durability)
        elif isinstance(part, Known):
            first_time = Timestamp()
            first_time.FromNanoseconds(int(part.place.time * 1e9))
            add(sequence=part.sequence, time=first_time, durability=durability, duplicate=True)
        else:
            add(sequence=part.first.first_sequence + part.offset, time=time, durability=durability, duplicate=True)
    return response


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


def durability_of(broker: Broker) -> bus_pb2.Durability:
    """What a stored message has."""
    return bus_pb2.DURABILITY_STORED if broker.journal.engine.durability == "stored" else bus_pb2.DURABILITY_MEMORY


def open_subscription(
    broker: Broker,
    start: bus_pb2.SubscribeRequest.Start,
    subscriber: Subscriber,
    started: Callable[[bus_pb2.SubscribeResponse.Started], None],
) -> Subscription:
    """Opens the subscription that a `start` asks for; `started` is called when interest is registered, which may be
    before this returns.

    Raises:
        As `Broker.subscribe` and `Broker.subscribe_durable`; InvalidMessageError: options that do not go together.
    """
    if not start.durable:
        for name in ("position", "settings"):
            if start.HasField(name):
                raise InvalidMessageError(
                    f"{name} is set, but durable is not: only a durable subscription has it",
                    details={"field": f"start.{name}"},
                )
        subscription = broker.subscribe(start.pattern, start.group, subscriber)
        started(bus_pb2.SubscribeResponse.Started(subscription_id=subscription.id))
        return subscription
    for name in ("group", "observer"):
        if value := getattr(start, name):
            raise InvalidMessageError(
                f"{name} is {value!r}, but the subscription is durable: all who name it are one group",
                details={"field": f"start.{name}", "value": str(value)},
            )
    settings = settings_of(start.settings)
    check_pattern(start.pattern)

    def done(_: TrunklineError | None) -> None:
        begun = bus_pb2.SubscribeResponse.Started(subscription_id=subscription.id)
        durable = subscription.queue
        if isinstance(durable, DurableSubscription):
            begun.ack_wait.FromNanoseconds(int(durable.settings.ack_wait * 1e9))
        started(begun)

    subscription = broker.subscribe_durable(
        start.durable,
        start.pattern,
        lambda: position_of(start.position, start.pattern, broker.journal),
        settings,
        given=start.HasField("settings"),
        subscriber=subscriber,
        done=done,
    )
    return subscription


def check_credit(name: str, messages: int) -> int:
    """Returns a credit of at least 1, or raises InvalidMessageError."""
    if messages < 1:
        raise InvalidMessageError(
            f"{name} is {messages}, it must be at least 1", details={"field": name, "value": str(messages)}
        )
    return messages


def apply_frame(subscriber: Subscriber, frame: bus_pb2.SubscribeRequest) -> list[bus_pb2.SubscribeResponse.Refused]:
    """Does what a later frame of a subscription says.

    Raises:
        InvalidMessageError: a second start, an ack of a live subscription, a credit where none was asked for, a figure
            out of bounds.

    Returns:
        What is to be said of messages that could not be settled.
    """
    kind = frame.WhichOneof("frame")
    if kind == "credit":
        check_credit("credit.messages", frame.credit.messages)
        if subscriber.credit is None:
            raise InvalidMessageError(
                "credit was granted, but the start set none: there is no limit to raise", details={"field": "credit"}
            )
        subscriber.grant(frame.credit.messages)
        return []
    if kind is None or kind == "start":
        said = "the subscription has started already" if kind else "the frame is empty"
        raise InvalidMessageError(said, details={"field": "frame", "value": kind or ""})
    if isinstance(subscriber.queue, DurableSubscription):
        return settle(subscriber.queue, kind, getattr(frame, kind))
    raise InvalidMessageError(
        "a live subscription has nothing to acknowledge", details={"field": "frame", "value": kind}
    )


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
    if run.attempt:
        deliveries.attempt = run.attempt
    return len(run.messages), run.size
