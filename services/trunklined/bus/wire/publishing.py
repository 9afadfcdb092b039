"""What is published: checked, and cut into runs; and the receipts for it."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline.channels import matches
from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.v1 import bus_pb2
from trunklined.admission import admit, check_delivery, check_publish
from trunklined.bus.journal.publication import Publication, Repeated
from trunklined.bus.journal.window import Known, Window
from trunklined.bus.records import HeldBack
from trunklined.bus.requests import Correlated
from trunklined.bus.run import Run
from trunklined.rpc.times import stamp_of


def is_stored(wanted: bus_pb2.PublishRequest, stored_patterns: Sequence[str]) -> bool:
    """Whether a publish shall be stored: it says so, or it says nothing and a rule of the service does."""
    if wanted.durability == bus_pb2.DURABILITY_UNSPECIFIED:
        return any(matches(pattern, wanted.channel) for pattern in stored_patterns)
    return wanted.durability != bus_pb2.DURABILITY_MEMORY


def to_publication(wanted: bus_pb2.PublishRequest, encoded: Sequence[bytes], max_bytes: int, now: float) -> Publication:
    """Checks messages and cuts them into runs of equal priority and expiry.

    Args:
        encoded: its messages, still encoded; they are what is passed on.
        max_bytes: limit of one encoded message.
        now: UNIX time in seconds, for messages without a timestamp.

    Raises:
        InvalidMessageError, MessageTooLargeError: with the index of the message among several.
    """
    check_publish(wanted)
    publication = Publication(wanted.channel)
    run: Run | None = None
    for index, (message, body) in enumerate(zip(wanted.messages, encoded, strict=True)):
        try:
            admitted, lane, expires_at = admit(message, body, max_bytes, now)
            if message.HasField("deliver_at") or message.HasField("deliver_after"):
                field = "deliver_at" if message.HasField("deliver_at") else "deliver_after"
                raise InvalidMessageError(
                    f"{field} is set: a message is held back only where it is stored", details={"field": field}
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
    check_publish(wanted)
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
                lane, due = check_delivery(message, key, lane, expires_at, now)
        except TrunklineError as error:
            error.details["index"] = index
            raise
        message_id = message.message_id
        known = find(message_id, now)
        if known is not None:
            parts.append(known)
            run = None
            continue
        if message_id in fresh:
            parts.append(Repeated(*fresh[message_id]))
            run = None
            continue
        if due is not None:
            held = Run(wanted.channel, lane, [admitted], len(admitted), expires_at, key=key)
            fresh[message_id] = held, 0
            publication.held_back.append((len(parts), due, held, message_id))
            parts.append(held)
            run = None
            continue
        expired = expires_at is not None and expires_at < now
        if message.correlation_id and not expired:
            publication.correlated.append(Correlated(message.correlation_id, message_id, admitted))
        if run is None or run.lane != lane or run.expires_at != expires_at or key is not None or run.key is not None:
            run = Run(wanted.channel, lane, [], 0, expires_at, key=key)
            ids = []
            publication.runs.append(run)
            publication.message_ids.append(ids)
        if not parts or parts[-1] is not run:
            parts.append(run)
        if not expired:
            fresh[message_id] = run, len(ids)
        run.messages.append(admitted)
        run.size += len(admitted)
        ids.append(message_id)
    return publication


def receipts_of(publication: Publication, now: float) -> bus_pb2.PublishResponse:
    """A receipt for each message, in order."""
    time = stamp_of(now)
    response = bus_pb2.PublishResponse()
    for run in publication.runs:
        for offset in range(len(run.messages)):
            response.receipts.add(
                sequence=run.first_sequence and run.first_sequence + offset,
                time=time,
                durability=bus_pb2.DURABILITY_MEMORY,
            )
    return response


def stored_receipts_of(publication: Publication, durability: bus_pb2.Durability) -> bus_pb2.PublishResponse:
    """A receipt for each message that was to be stored, in order."""
    response = bus_pb2.PublishResponse()
    add = response.receipts.add
    time = stamp_of(publication.time)
    for part in publication.parts:
        if isinstance(part, Run):
            first = part.first_sequence
            for offset in range(len(part.messages)):
                reached = durability if first else bus_pb2.DURABILITY_MEMORY
                add(sequence=first and first + offset, time=time, durability=reached)
        elif isinstance(part, HeldBack):
            add(sequence=part.sequence, time=time, durability=durability)
        elif isinstance(part, Known):
            add(sequence=part.sequence, time=stamp_of(part.place.time), durability=durability, duplicate=True)
        else:
            add(sequence=part.first.first_sequence + part.offset, time=time, durability=durability, duplicate=True)
    return response
