"""What people and scripts see: tables, JSON lines, and text made safe for a terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from trunkline.errors import TrunklineError

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def safe(text: str) -> str:
    """Text of others for one line of a terminal: control characters, which could move the cursor, turn the direction of
    writing or hide what was written, become escapes."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def counted(count: int, noun: str) -> str:
    """`1 message`, `1,234 messages`."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def print_json(value: Any) -> None:
    """One JSON value on one line."""
    write_line(json.dumps(value, ensure_ascii=False, default=str))


def write_line(line: str) -> None:
    """A line on standard output, there at once: pipes and terminals follow live."""
    click.echo(line)


def print_note(text: str, facts: dict[str, Any], colour: str, *, as_json: bool) -> None:
    """What is said beside the output, on standard error, so that a script's input stays clean: for people a text, for
    scripts one JSON object."""
    click.echo(json.dumps(facts) if as_json else click.style(f"-- {text}", fg=colour), err=True)


def note_lost(error: TrunklineError, *, as_json: bool) -> None:
    """The connection is gone, and comes back by itself."""
    facts = {"event": "disconnected", "reason": error.message}
    print_note(f"connection lost: {safe(error.message)}", facts, "yellow", as_json=as_json)


def note_back(*, as_json: bool) -> None:
    """It has come back."""
    print_note("connected again", {"event": "reconnected"}, "bright_black", as_json=as_json)


def print_facts(rows: Iterable[tuple[str, Any]], title: str = "") -> None:
    """Names and values below each other."""
    pairs = [(name, *_cell(value)) for name, value in rows]
    width = max((len(name) for name, _, _ in pairs), default=0)
    if title:
        click.secho(safe(title), bold=True)
    for name, value, colour in pairs:
        shown = click.style(value, fg=colour, bold=True) if colour else value
        click.echo(f"{click.style(f'{safe(name):<{width}}', fg='cyan')}  {shown}")


@dataclass(frozen=True, slots=True)
class Marked:
    """A cell or a fact that shall catch the eye."""

    value: Any
    colour: str


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: frozenset[str] = frozenset(),
    cut: str | None = None,
) -> None:
    """A table of plain cells. On a terminal it is fitted to its width: the column `cut` gets what the others leave, the
    others are folded; in a pipe nothing is cut."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(text, style=colour) for text, colour in map(_cell, row)))
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 10_000)
    console.print(table)


def _cell(cell: Any) -> tuple[str, str]:
    if isinstance(cell, Marked):
        return _cell(cell.value)[0], cell.colour
    return (safe(cell) if isinstance(cell, str) else _compact(cell)), ""


def _compact(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}"
    return safe(json.dumps(value, ensure_ascii=False, default=str))
