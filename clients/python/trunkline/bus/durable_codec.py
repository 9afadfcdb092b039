"""The words of durable delivery as the wire has them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.bus.codec import decode_message
from trunkline.bus.dead_letters import Attempt, DeadLetter, DeadLetterFilter, DeadLetterReason
from trunkline.bus.inspection import BusStatistics, DurableInfo, SubscriptionInfo
from trunkline.bus.waiting import WaitingFilter, WaitingMessage
from trunkline.delivery import (
    Backoff,
    Durability,
    DurableChanges,
    DurableSettings,
    Receipt,
    Start,
    check_setting,
)
from trunkline.errors import InvalidMessageError
from trunkline.v1 import bus_pb2, dead_letter_pb2, durable_pb2, inspection_pb2, waiting_pb2
from trunkline.wire.times import to_datetime

_DURABILITIES: Final[Mapping[int, Durability]] = {
    bus_pb2.DURABILITY_MEMORY: Durability.MEMORY,
    bus_pb2.DURABILITY_STORED: Durability.STORED,
    bus_pb2.DURABILITY_REPLICATED: Durability.REPLICATED,
}
_REASONS: Final[Mapping[DeadLetterReason, dead_letter_pb2.DeadLetterReason]] = {
    DeadLetterReason.MAX_DELIVERIES: dead_letter_pb2.DEAD_LETTER_REASON_MAX_DELIVERIES,
    DeadLetterReason.TERMINATED: dead_letter_pb2.DEAD_LETTER_REASON_TERMINATED,
    DeadLetterReason.EXPIRED: dead_letter_pb2.DEAD_LETTER_REASON_EXPIRED,
}
_LIMITS: Final = ("max_leased", "rate", "burst", "key_concurrency")
"""Settings that are the same on the wire."""
_REASONS_BACK: Final[Mapping[int, DeadLetterReason]] = {number: reason for reason, number in _REASONS.items()}


def position_to_wire(start: Start) -> durable_pb2.Position:
    """A place to start at, checked before."""
    position = durable_pb2.Position()
    if start == "new":
        position.new = True
    elif start == "all":
        position.all = True
    elif isinstance(start, int):
        position.sequence = start
    else:
        position.time.FromDatetime(start)
    return position


def settings_to_wire(settings: DurableSettings) -> durable_pb2.DurableSettings:
    """Settings, checked before."""
    wire = durable_pb2.DurableSettings(max_deliveries=settings.max_deliveries)
    wire.ack_wait.FromNanoseconds(round(settings.ack_wait * 1e9))
    wire.backoff.initial.FromNanoseconds(round(settings.backoff.initial * 1e9))
    wire.backoff.multiplier = settings.backoff.multiplier
    wire.backoff.maximum.FromNanoseconds(round(settings.backoff.maximum * 1e9))
    for name in _LIMITS:
        setattr(wire, name, getattr(settings, name))
    return wire


def changes_to_wire(changes: DurableChanges) -> durable_pb2.DurableSettings:
    """Settings of which those are set that are to be changed.

    Raises:
        InvalidMessageError: none is, or one is out of bounds.
    """
    wire = durable_pb2.DurableSettings()
    for name, value in changes.items():
        if not isinstance(value, int | float):
            continue
        check_setting(name, value)
        place, last = (wire.backoff, name.removeprefix("backoff_")) if name.startswith("backoff_") else (wire, name)
        if isinstance(getattr(place, last), Duration):
            getattr(place, last).FromNanoseconds(round(value * 1e9))
        else:
            setattr(place, last, value)
    if not wire.ListFields():
        raise InvalidMessageError("no setting is named that is to be changed", details={"field": "settings"})
    return wire


def receipts_from_wire(published: bus_pb2.PublishResponse) -> list[Receipt]:
    """Receipts as Python users have them. What one commit stored has one time, which is converted once."""
    receipts: list[Receipt] = []
    known, time = Timestamp(), _time(Timestamp())
    for receipt in published.receipts:
        if receipt.time != known:
            known, time = receipt.time, _time(receipt.time)
        durability = _DURABILITIES[receipt.durability]
        became = receipt.duplicate, receipt.held_by_sidecar, receipt.matched
        receipts.append(Receipt(receipt.sequence, time, durability, *became))
    return receipts


def filter_to_wire(wanted: DeadLetterFilter) -> dead_letter_pb2.DeadLetterFilter:
    """A filter, checked before."""
    wire = dead_letter_pb2.DeadLetterFilter(
        durable=wanted.durable or "",
        channel=wanted.channel or "",
        message_id=wanted.message_id or "",
        message_type=wanted.message_type or "",
        sender_id=wanted.sender_id or "",
        error_contains=wanted.error_contains or "",
    )
    if wanted.reason is not None:
        wire.reason = _REASONS[wanted.reason]
    if wanted.since is not None:
        wire.since.FromDatetime(wanted.since)
    if wanted.before is not None:
        wire.before.FromDatetime(wanted.before)
    return wire


def dead_letter_from_wire(wire: dead_letter_pb2.DeadLetter, *, brief: bool = False) -> DeadLetter:
    """A dead letter as Python users have it; brief: the service left payload and attempts out."""
    message = decode_message(wire.message, wire.channel, wire.sequence)
    if brief:
        del message.__dict__["payload"]
    return DeadLetter(
        id=wire.dead_letter_id,
        durable=wire.durable,
        pattern=wire.pattern,
        channel=wire.channel,
        sequence=wire.sequence,
        published_at=_time(wire.published_at),
        dead_at=_time(wire.dead_at),
        reason=_REASONS_BACK[wire.reason],
        error=wire.error,
        attempts=tuple(
            Attempt(each.number, _time(each.delivered_at), _time(each.ended_at), each.peer, each.error)
            for each in wire.attempts
        ),
        redrives=wire.redrives,
        message=message,
    )


def waiting_filter_to_wire(wanted: WaitingFilter) -> waiting_pb2.WaitingFilter:
    """A filter, checked before."""
    wire = waiting_pb2.WaitingFilter(
        sequences=wanted.sequences or (),
        message_ids=wanted.message_ids or (),
        channel=wanted.channel or "",
        message_type=wanted.message_type or "",
        sender_id=wanted.sender_id or "",
        ordering_key=wanted.ordering_key or "",
    )
    if wanted.since is not None:
        wire.since.FromDatetime(wanted.since)
    if wanted.before is not None:
        wire.before.FromDatetime(wanted.before)
    return wire


def waiting_from_wire(wire: waiting_pb2.WaitingMessage, *, brief: bool = False) -> WaitingMessage:
    """A waiting message as Python users have it; brief: the service left the payload out."""
    message = decode_message(wire.message, wire.channel, wire.sequence)
    if brief:
        del message.__dict__["payload"]
    return WaitingMessage(
        channel=wire.channel,
        sequence=wire.sequence,
        published_at=_time(wire.published_at),
        attempts=wire.attempts,
        due_at=_time(wire.due_at) if wire.HasField("due_at") else None,
        blocked_by_key=wire.blocked_by_key,
        error=wire.error,
        message=message,
    )


def durable_from_wire(wire: durable_pb2.DurableSubscription) -> DurableInfo:
    """A durable subscription as Python users have it."""
    settings, backoff = wire.settings, wire.settings.backoff
    return DurableInfo(
        name=wire.name,
        pattern=wire.pattern,
        settings=DurableSettings(
            ack_wait=_seconds(settings.ack_wait),
            max_deliveries=settings.max_deliveries,
            backoff=Backoff(_seconds(backoff.initial), backoff.multiplier, _seconds(backoff.maximum)),
            **{name: getattr(settings, name) for name in _LIMITS},
        ),
        created_at=_time(wire.created_at),
        waiting=wire.waiting,
        leased=wire.leased,
        retrying=wire.retrying,
        subscribers=wire.subscribers,
        acked=wire.acked,
        redelivered=wire.redelivered,
        dead_lettered=wire.dead_lettered,
        next_sequence=wire.next_sequence,
        paused=wire.paused,
        replica=wire.replica,
    )


def subscription_from_wire(wire: inspection_pb2.Subscription) -> SubscriptionInfo:
    """A registered interest as Python users have it."""
    return SubscriptionInfo(
        id=wire.subscription_id,
        pattern=wire.pattern,
        group=wire.group,
        peer=wire.peer,
        queued_messages=wire.queued_messages,
        queued_bytes=wire.queued_bytes,
        delivered=wire.delivered,
        dropped=wire.dropped,
        credit=wire.credit if wire.HasField("credit") else None,
        started_at=_time(wire.started_at),
        replica=wire.replica,
        durable=wire.durable,
        observer=wire.observer,
        responder=wire.responder,
        leased=wire.leased,
    )


def statistics_from_wire(wire: bus_pb2.GetStatsResponse) -> BusStatistics:
    """The figures of a bus as Python users have them: its fields by the same names."""
    figures = {field.name: getattr(wire, field.name) for field in fields(BusStatistics)}
    figures["started_at"] = _time(wire.started_at)
    figures["dropped"] = dict(wire.dropped)
    figures["other_replicas"] = tuple(wire.other_replicas)
    figures["others"] = tuple(map(statistics_from_wire, wire.others))
    return BusStatistics(**figures)


def _seconds(span: Duration) -> float:
    return span.ToNanoseconds() / 1e9


def _time(stamp: Timestamp) -> datetime:
    return to_datetime(stamp.seconds, stamp.nanos)  # rounds down: whoever starts at a receipt's time gets its message
