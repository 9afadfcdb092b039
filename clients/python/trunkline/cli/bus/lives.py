"""The lives of requests and tasks, as `trunkline request --stream` and `trunkline tasks` show them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from trunkline import (
    Accepted,
    Cancellation,
    Failure,
    LifeEvent,
    Part,
    Postponed,
    Progress,
    RequestCancelledError,
    RequestFailedError,
    Result,
)
from trunkline.cli.describe import describe_message, payload_text
from trunkline.cli.output import print_json, safe, write_line
from trunkline.cli.times import json_time, local_time


async def show_life(events: AsyncGenerator[LifeEvent, None], request_id: str, *, as_json: bool) -> None:
    """Shows each event on a line of its own.

    Raises:
        RequestFailedError, RequestCancelledError: that is how it ended.
    """
    async with aclosing(events):
        async for event in events:
            if as_json:
                print_json(describe_event(event))
            else:
                write_line(safe(line_of(event)))
            match event:
                case Failure():
                    details = {"request_id": request_id, "type": event.type, "text": event.text, "code": event.code}
                    raise RequestFailedError(f"{event.type}: {event.text}", details=details)
                case Cancellation():
                    details = {"request_id": request_id, "by": event.by, "reason": event.reason}
                    raise RequestCancelledError(line_of(event), details=details)


def describe_event(event: LifeEvent) -> dict[str, Any]:
    """An event as JSON: its number, time and kind, and what it says."""
    said: dict[str, Any]
    match event:
        case Accepted():
            said = {"responder": event.responder, "attempt": event.attempt}
        case Progress():
            said = {"fraction": event.fraction, "text": event.text}
        case Part():
            said = {"message": describe_message(event.message)}
        case Result():
            message = describe_message(event.message) if event.has_message else None
            said = {"message": message, "channel": event.channel}
        case Failure():
            said = {"type": event.type, "text": event.text, "code": event.code, "retryable": event.retryable}
        case Cancellation():
            said = {"by": event.by, "reason": event.reason}
        case Postponed():
            said = {"attempt": event.attempt, "error": event.error, "until": json_time(event.until)}
        case _:
            said = {}
    return {"number": event.number, "time": json_time(event.time), "event": _name_of(event), **said}


def _name_of(event: LifeEvent) -> str:
    return "cancelled" if isinstance(event, Cancellation) else type(event).__name__.lower()


def line_of(event: LifeEvent) -> str:
    """An event in a line for people."""
    said = ""
    match event:
        case Accepted():
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            said = f"by {event.responder or 'somebody'}{again}"
        case Progress():
            fraction = "" if event.fraction is None else f"{event.fraction:.0%}"
            said = f"{fraction} {event.text}".strip()
        case Part() | Result(has_message=True):
            said = payload_text(event.message)
        case Failure():
            said = f"{event.type}: {event.text}"
        case Cancellation():
            said = f"by {event.by or 'somebody'}: {event.reason or 'no reason was given'}"
        case Postponed():
            said = f"attempt {event.attempt} ended: {event.error}; the next from {local_time(event.until)}"
    return f"{_name_of(event)} {said}".rstrip()
