"""What people and scripts see: tables, JSON lines, and text made safe for a terminal."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from trunkline.errors import TrunklineError
from trunkline.text import safe_json, safe_text

if TYPE_CHECKING:
    from rich.table import Table

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
    write_line(safe_json(value, default=str))


def write_line(line: str) -> None:
    """A line on standard output, there at once: pipes and terminals follow live. What UTF-8 cannot say is escaped."""
    click.echo(safe_text(line))


def print_lines(lines: Sequence[str]) -> None:
    """Lines on standard output: what does not fit on a terminal goes through a pager."""
    text = safe_text("\n".join(lines))
    if sys.stdout.isatty() and sys.stdin.isatty() and len(lines) >= shutil.get_terminal_size().lines:
        click.echo_via_pager(text)
    else:
        click.echo(text)


def columns_of(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A title, a rule, and the rows as lines, in columns as wide as their widest cell: plain text that scripts cut up.
    Cells are made safe."""
    table = [[safe(cell) for cell in row] for row in (titles, *rows)]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell + " " * (w - _width(cell)) for cell, w in zip(row, widths, strict=True)) for row in table]
    return [lines[0].rstrip(), "-" * (sum(widths) + 2 * len(widths) - 2), *(line.rstrip() for line in lines[1:])]


def _width(text: str) -> int:
    """The columns of a terminal that it takes: those of East Asia take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def print_note(text: str, facts: dict[str, Any], colour: str, *, as_json: bool) -> None:
    """Prints a note beside the output, on standard error, so that a script's input stays clean: for people a text, for
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
) -> None:
    """A table of plain cells. On a terminal it is fitted to its width, and long cells are folded."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 10_000)
    console.print(make_table(columns, rows, right=right))


def print_section(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: frozenset[str] = frozenset()
) -> None:
    """A table under its title."""
    write_line(click.style(title, bold=True))
    print_table(columns, rows, right=right)
    write_line("")


def make_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: frozenset[str] = frozenset(),
    is_tight: bool = False,
) -> Table:
    """The same, to be drawn elsewhere; a tight one leaves less room between columns, and cuts cells that do not fit."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 0) if is_tight else (0, 1))
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="ellipsis" if is_tight else "fold",
            no_wrap=is_tight,
        )
    for row in rows:
        table.add_row(*(Text(text, style=colour) for text, colour in map(_cell, row)))
    return table


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
    return safe(safe_json(value, default=str))
