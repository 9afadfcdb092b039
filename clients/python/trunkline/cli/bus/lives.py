"""The life of a request, as `trunkline request --stream` shows it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from trunkline import (
    Accepted,
    Cancelled,
    Failure,
    LifeEvent,
    Part,
    Progress,
    RequestCancelledError,
    RequestFailedError,
    Result,
)
from trunkline.cli.describe import describe_message, payload_text
from trunkline.cli.output import print_json, safe, write_line


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
                write_line(safe(_line(event)))
            match event:
                case Failure():
                    details = {"request_id": request_id, "type": event.type, "text": event.text, "code": event.code}
                    raise RequestFailedError(f"{event.type}: {event.text}", details=details)
                case Cancelled():
                    details = {"request_id": request_id, "by": event.by, "reason": event.reason}
                    raise RequestCancelledError(_line(event), details=details)


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
            said = {"message": describe_message(event.message), "channel": event.channel}
        case Failure():
            said = {"type": event.type, "text": event.text, "code": event.code, "retryable": event.retryable}
        case Cancelled():
            said = {"by": event.by, "reason": event.reason}
        case _:
            said = {}
    return {"number": event.number, "time": event.time.isoformat(), "event": type(event).__name__.lower(), **said}


def _line(event: LifeEvent) -> str:
    match event:
        case Accepted():
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            return f"accepted by {event.responder or 'somebody'}{again}"
        case Progress():
            return " ".join(
                ["progress", *([f"{event.fraction:.0%}"] if event.fraction is not None else []), event.text]
            )
        case Part() | Result():
            return f"{type(event).__name__.lower()} {payload_text(event.message)}"
        case Failure():
            return f"failed: {event.type}: {event.text}"
        case Cancelled():
            return f"cancelled by {event.by or 'somebody'}: {event.reason or 'no reason was given'}"
    return type(event).__name__.lower()
