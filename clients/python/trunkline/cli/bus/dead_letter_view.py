"""How dead letters are shown: a line each, or one with all that is known of it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from trunkline.cli.describe import describe_message, json_text, message_facts, payload_text
from trunkline.cli.output import Marked, print_facts, safe, write_line
from trunkline.cli.times import age_of, json_time, local_time, span

if TYPE_CHECKING:
    from trunkline import AgentMessage, Attempt, DeadLetter

_COLUMNS: Final = ("id", "died", "subscription", "channel", "type", "reason")
_INDENT: Final = 4
_SHOWN_CHARACTERS: Final = 4_000
"""Of a payload on a terminal; a pipe gets all of it."""


def print_list(letters: Sequence[DeadLetter]) -> None:
    """Prints one below the other. On a terminal the error gets a line of its own, cut to its width; in a pipe it ends
    the letter's line, uncut."""
    terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    rows = [_row(letter) for letter in letters]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    write_line(click.style(_aligned(_COLUMNS, widths) + ("" if terminal else "  error"), bold=True))
    for letter, row in zip(letters, rows, strict=True):
        error = safe(" ".join(letter.error.split())) or "-"
        if terminal:
            room = terminal - _INDENT
            error = "\n" + " " * _INDENT + (error if len(error) <= room else error[: room - 1] + "…")
        else:
            error = "  " + error
        write_line(_aligned(row, widths) + click.style(error, fg="red"))


def _row(letter: DeadLetter) -> list[str]:
    """Returns the cells under the columns."""
    reason = letter.reason.value + (f", redriven {_times(letter.redrives)}" if letter.redrives else "")
    kind = str(letter.message.message_type) or "-"
    age = f"{age_of(letter.dead_at)} ago"
    return [safe(each) for each in (f"{letter.id}", age, letter.durable, letter.channel, kind, reason)]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].rjust(first[1]), *(cell.ljust(width) for cell, width in others)])


def describe(letter: DeadLetter) -> dict[str, Any]:
    """Returns all of it, for scripts."""
    return {
        "dead_letter_id": letter.id,
        "durable": letter.durable,
        "pattern": letter.pattern,
        "channel": letter.channel,
        "sequence": letter.sequence,
        "published_at": json_time(letter.published_at),
        "dead_at": json_time(letter.dead_at),
        "reason": letter.reason.value,
        "error": letter.error,
        "redrives": letter.redrives,
        "attempts": [
            {
                "number": attempt.number,
                "delivered_at": json_time(attempt.delivered_at),
                "ended_at": json_time(attempt.ended_at),
                "seconds": _took(attempt),
                "peer": attempt.peer,
                "error": attempt.error,
            }
            for attempt in letter.attempts
        ],
        "message": describe_message(letter.message),
    }


def print_whole(letter: DeadLetter) -> None:
    """Prints all of it, for people: what died and why, what it carries, who tried, and what can be done."""
    id = letter.id
    write_line(click.style(f"dead letter {id}", bold=True) + f": {_why(letter)}")
    _section("where")
    print_facts(
        [
            ("subscription", f"{letter.durable} (pattern {letter.pattern})"),
            ("channel", letter.channel),
            ("sequence", letter.sequence),
            ("published", f"{local_time(letter.published_at)} ({age_of(letter.published_at)} ago)"),
            ("died", f"{local_time(letter.dead_at)} ({age_of(letter.dead_at)} ago)"),
            ("redriven", Marked(f"{_times(letter.redrives)} before", "yellow") if letter.redrives else "never"),
        ]
    )
    _section("error")
    _print_text(letter.error or "-", "  ", colour="red")
    _section(f"attempts: {len(letter.attempts)}")
    for attempt in letter.attempts:
        _print_attempt(attempt, letter.error)
    _section("message")
    print_facts(message_facts(letter.message))
    _section("payload")
    _print_payload(letter.message)
    write_line("")
    write_line(click.style(f"trunkline dead-letters redrive {id}  or  trunkline dead-letters purge {id}", dim=True))


def _section(title: str) -> None:
    write_line("")
    click.secho(title, bold=True)


def _why(letter: DeadLetter) -> str:
    reason = letter.reason.value
    words = {
        "max_deliveries": f"handed out {_times(len(letter.attempts))} and never done",
        "terminated": "a subscriber said that it can never be done",
        "expired": "its TTL was over before it was done",
    }[reason]
    return f"{click.style(reason, fg='red', bold=True)}, {words}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _took(attempt: Attempt) -> float:
    """Returns the seconds of an attempt."""
    return round(max((attempt.ended_at - attempt.delivered_at).total_seconds(), 0.0), 3)


def _print_attempt(attempt: Attempt, last_error: str) -> None:
    """Prints an attempt; a traceback that was printed as the letter's error is not repeated."""
    number = click.style(f"{attempt.number:>4}", fg="cyan")
    took = f"held {span(_took(attempt))}"
    write_line(f"{number}  {local_time(attempt.delivered_at)}  {took:<14}  by {safe(attempt.peer) or '-'}")
    if "\n" in attempt.error and attempt.error == last_error:
        _print_text("the error above", " " * 6)
    else:
        _print_text(attempt.error or "-", " " * 6, colour="red")


def _print_text(text: str, indent: str, colour: str | None = None) -> None:
    """Prints text of others, such as a traceback, over as many lines as it has."""
    for line in text.splitlines() or [""]:
        write_line(indent + click.style(safe(line), fg=colour))


def _print_payload(message: AgentMessage) -> None:
    text = json_text(message)
    if text is None:
        write_line(f"{safe(payload_text(message))}; --format json shows them")
        return
    text = _pretty(text)
    left = len(text) - _SHOWN_CHARACTERS if sys.stdout.isatty() else 0
    if left > 0:
        text = text[:_SHOWN_CHARACTERS]
    _print_text(text, "")
    if left > 0:
        click.secho(f"… {left:,} characters more; --format json shows all", fg="yellow")


def _pretty(text: str) -> str:
    """Returns JSON text over several lines, malformed text as it is. What could steer a terminal stays escaped."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def ids(numbers: Iterable[int], most: int = 12) -> str:
    """Returns ids in one line, at most `most` of them."""
    listed = [*numbers]
    shown = ", ".join(map(str, listed[:most]))
    return shown + (f" and {len(listed) - most:,} more" if len(listed) > most else "")
