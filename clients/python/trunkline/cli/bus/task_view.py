"""How tasks, and the events of their lives, are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from trunkline.cli.output import Marked, safe
from trunkline.cli.times import age_of, json_time, local_time

if TYPE_CHECKING:
    from trunkline import LifeEvent, TaskInfo

COLUMNS: Final = ("task", "channel", "durable", "state", "attempt", "progress", "age")
_COLOURS: Final = {"running": "cyan", "done": "green", "failed": "red", "cancelled": "yellow"}


def row_of(each: TaskInfo) -> Sequence[Any]:
    """Returns the cells under COLUMNS."""
    return (
        each.id,
        each.channel,
        each.durable,
        _state(each),
        each.attempt,
        _progress(each),
        age_of(each.created_at),
    )


def _state(each: TaskInfo) -> Any:
    state = f"{each.state}, being cancelled" if each.cancelling else each.state
    return Marked(state, _COLOURS[each.state]) if each.state in _COLOURS else state


def _progress(each: TaskInfo) -> str:
    if each.progress is None:
        return ""
    fraction = "" if each.progress.fraction is None else f"{each.progress.fraction:.0%}"
    return " ".join(part for part in (fraction, each.progress.text) if part)


def describe(each: TaskInfo) -> dict[str, Any]:
    """Returns one for scripts."""
    progress = None
    if each.progress is not None:
        progress = {"fraction": each.progress.fraction, "text": each.progress.text}
    return {
        "task_id": each.id,
        "channel": each.channel,
        "durable": each.durable,
        "state": each.state,
        "created_at": json_time(each.created_at),
        "updated_at": json_time(each.updated_at),
        "ended_at": None if each.ended_at is None else json_time(each.ended_at),
        "attempt": each.attempt,
        "responder": each.responder,
        "progress": progress,
        "cancelling": each.cancelling,
        "first_event": each.first_event,
        "last_event": each.last_event,
        "end": None if each.end is None else describe_event(each.end),
    }


def facts_of(each: TaskInfo) -> list[tuple[str, Any]]:
    """Returns all of it for people."""
    facts: list[tuple[str, Any]] = [
        ("state", _state(each)),
        ("channel", each.channel),
        ("durable", each.durable),
        ("submitted", f"{local_time(each.created_at)} ({age_of(each.created_at)} ago)"),
        ("attempt", each.attempt),
    ]
    if each.responder:
        facts.append(("responder", each.responder))
    if each.progress is not None:
        facts.append(("progress", _progress(each)))
    if each.ended_at is not None:
        facts.append(("ended", f"{local_time(each.ended_at)} ({age_of(each.ended_at)} ago)"))
    if each.end is not None:
        facts.append(("end", text_of(each.end)))
    return facts


def describe_event(event: LifeEvent) -> dict[str, Any]:
    """Returns an event for scripts: its kind, and what it says."""
    from trunkline import Accepted, Cancellation, Failure, Part, Postponed, Progress, Result
    from trunkline.cli.describe import describe_message

    said: dict[str, Any] = {}
    match event:
        case Accepted():
            said = {"responder": event.responder, "attempt": event.attempt}
        case Progress():
            said = {"fraction": event.fraction, "text": event.text}
        case Part():
            said = {"message": describe_message(event.message)}
        case Result():
            said = {"message": describe_message(event.message) if event.has_message else None}
        case Failure():
            said = {"type": event.type, "text": event.text, "code": event.code, "retryable": event.retryable}
        case Cancellation():
            said = {"by": event.by, "reason": event.reason}
        case Postponed():
            said = {"attempt": event.attempt, "error": event.error, "until": json_time(event.until)}
    return {"number": event.number, "time": json_time(event.time), "event": type(event).__name__.lower(), **said}


def text_of(event: LifeEvent) -> str:
    """Returns an event in a line for people."""
    from trunkline import Accepted, Cancellation, Failure, Part, Postponed, Progress, Result
    from trunkline.cli.describe import payload_text

    match event:
        case Accepted():
            said = f"by {event.responder or 'somebody'}, attempt {event.attempt}"
        case Progress():
            fraction = "" if event.fraction is None else f"{event.fraction:.0%}"
            said = " ".join(part for part in (fraction, event.text) if part)
        case Part():
            said = payload_text(event.message)
        case Result():
            said = payload_text(event.message) if event.has_message else ""
        case Failure():
            said = f"{event.type}: {event.text}" if event.type else event.text
        case Cancellation():
            said = " ".join(part for part in (f"by {event.by}" if event.by else "", event.reason) if part)
        case Postponed():
            said = f"attempt {event.attempt} ended: {event.error}; the next from {local_time(event.until)}"
        case _:
            said = ""
    return safe(f"{type(event).__name__.lower()}  {said}".rstrip())
