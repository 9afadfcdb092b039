"""Between the wire and the life of tasks: what subscribers report, and what they are told."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.v1 import bus_pb2, life_pb2, task_pb2
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.durable.task_life import CalledOff, Event, EventKind
from trunklined.bus.wire.settling import attempt_of
from trunklined.bus.wire.translation import check_between, check_events, cut_text
from trunklined.rpc.errors import to_item


def report(durable: DurableSubscription, frame: task_pb2.Report) -> None:
    """Takes what a subscriber tells of the life of a task; an end settles its message.

    Raises:
        InvalidMessageError: something cannot be said, and nothing was taken; or progress below what was said, and what
            stands before it was taken.
        StaleAckError: the message is not leased with that attempt.
    """
    attempt = attempt_of("report", frame)
    sequences = [int(check_between("report.sequence", frame.sequence, 1, 2**63 - 1, ""))]
    events = _events_of(frame.events)
    offset = None
    if frame.HasField("offset"):
        offset = int(check_between("report.offset", frame.offset, 0, 2**63 - 1, ""))
    if stale := durable.check(sequences, attempt):
        raise stale[0].error(durable.name, attempt)
    durable.report(sequences, attempt, events, offset)


def report_all_but_refused(
    durable: DurableSubscription, frame: task_pb2.Report
) -> list[bus_pb2.SubscribeResponse.Refused]:
    """As `report`; returns what is refused."""
    try:
        report(durable, frame)
    except TrunklineError as error:
        return [
            bus_pb2.SubscribeResponse.Refused(
                sequences=[frame.sequence], attempt=frame.attempt or 1, error=to_item(error)
            )
        ]
    return []


def _events_of(events: Sequence[life_pb2.LifeEvent]) -> list[Event]:
    """Translates what is reported, in order.

    Raises:
        InvalidMessageError: there is nothing, an event that only the bus says, a fraction beyond 0 to 1, or something
            behind an end.
    """
    if not events:
        raise InvalidMessageError("report.events is empty: at least one is needed", details={"field": "report.events"})
    check_events("report.events", len(events))
    found = [_event_of(each, f"report.events[{index}]") for index, each in enumerate(events)]
    for index, each in enumerate(found[:-1]):
        if each.kind.is_end:
            raise InvalidMessageError(
                f"report.events[{index}] is the end ({each.kind.name.lower()}), and others follow it",
                details={"field": "report.events", "value": each.kind.name.lower()},
            )
    return found


def task_cancelled(told: CalledOff) -> bus_pb2.SubscribeResponse:
    """The frame that tells the holder of a task that it was cancelled."""
    return bus_pb2.SubscribeResponse(
        task_cancelled=bus_pb2.SubscribeResponse.TaskCancelled(
            sequence=told.sequence, attempt=told.attempt, by=told.by, reason=told.reason
        )
    )


def _event_of(event: life_pb2.LifeEvent, field: str) -> Event:
    name = event.WhichOneof("event")
    if name is None or name == "postponed":
        raise InvalidMessageError(
            f"{field} is {name or 'empty'}: accepted, progress, part, result, failure or cancelled",
            details={"field": field, "value": name or ""},
        )
    event.ClearField("number")
    event.ClearField("time")
    kind, text, fraction, retryable = EventKind[name.upper()], "", None, False
    match name:
        case "accepted":
            text = cut_text(event.accepted.responder)
        case "progress":
            event.progress.text = cut_text(event.progress.text)
            if event.progress.HasField("fraction"):
                fraction = event.progress.fraction
                if not (math.isfinite(fraction) and 0 <= fraction <= 1):
                    raise InvalidMessageError(
                        f"{field}.progress.fraction is {fraction:g}, it must be from 0 to 1",
                        details={"field": f"{field}.progress.fraction", "value": f"{fraction:g}"},
                    )
        case "failure":
            said = event.failure
            for part in ("type", "text", "code", "traceback"):
                setattr(said, part, cut_text(getattr(said, part)))
            text = f"{said.type}: {said.text}" if said.type else said.text
            retryable = said.retryable
        case "cancelled":
            event.cancelled.by = cut_text(event.cancelled.by)
            event.cancelled.reason = cut_text(event.cancelled.reason)
    return Event(kind, event.SerializeToString(), text, fraction, retryable)
