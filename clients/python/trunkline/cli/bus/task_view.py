"""How tasks are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from trunkline.cli.bus.lives import describe_event, line_of
from trunkline.cli.output import Marked
from trunkline.cli.times import age_of, json_time, local_time

if TYPE_CHECKING:
    from trunkline import TaskInfo

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
        facts.append(("end", line_of(each.end)))
    return facts
