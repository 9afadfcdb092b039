"""What came of it: a table for people, bench-results.json for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from rich.table import Table

from scripts.bench import peers
from scripts.bench.comparison import Row, Series
from scripts.bench.promise import Figure
from scripts.bench.questions import QUESTIONS
from scripts.bench.work import Work

ROLES: Final = ("publisher", "broker", "subscriber", "sum")
LEGEND: Final = (
    "256-byte payloads; medians; a ratio over 1: Trunkline is ahead. Publisher, broker, subscriber, sum: µs of one core"
    " for each message; who asks, saves or reads is the publisher, who answers the subscriber."
)


class Line(NamedTuple):
    """One contender in one work, under one question."""

    work: Work
    series: Series
    row: Row | None
    """How we stand against it; None: it is ourselves."""


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """The comparison, a table for each question; a ratio over 1 says that we are ahead."""
    for question, lines in _questions(rows):
        made = Table(title=question, title_justify="left", expand=True)
        made.add_column("who", ratio=1, no_wrap=True)
        made.add_column("median", justify="right")
        made.add_column("unit")
        for role in ROLES:
            made.add_column(role, justify="right")
        made.add_column("ratio", justify="right")
        made.add_column("asked", justify="right")
        for work, found in groupby(lines, lambda line: line.work):
            made.add_section()
            made.add_row(f"[bold]{work.title}[/]")
            for line in found:
                made.add_row(*_cells(line))
        yield made


def markdown(rows: Sequence[Row]) -> str:
    """The same as tables for docs/performance.md."""
    lines: list[str] = []
    for question, found in _questions(rows):
        lines += [f"**{question[0].upper()}{question[1:]}**", ""]
        lines += [
            "| work | who | figure | publisher | broker | subscriber | sum | ratio |",
            "|---|---|--:|--:|--:|--:|--:|--:|",
        ]
        for work, series, row in found:
            cpu = " | ".join(_costs(series))
            figure = f"{series.median:,.0f} {work.unit}{f', {series.lost:,} lost' if series.lost else ''}"
            ratio = f"{row.ratio:.2f}" if row is not None else ""
            lines.append(f"| {work.title} | {series.contender.title} | {figure} | {cpu} | {ratio} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def versions(rows: Sequence[Row]) -> list[str]:
    """What was measured: names and versions, each once."""
    found = [peers.load(each.contender.peer).versions() for row in rows for each in (row.ours, row.peers)]
    return sorted({version for some in found for version in some})


def promises(figures: Sequence[Figure]) -> Table:
    """Figures of our own as a table, each with what it may be."""
    made = Table(title="What is promised of Trunkline alone", title_justify="left")
    made.add_column("figure")
    made.add_column("unit")
    made.add_column("measured", justify="right")
    made.add_column("asked", justify="right")
    made.add_column("held")
    for figure in figures:
        held = "[green]yes[/]" if figure.held else "[red]no[/]"
        made.add_row(figure.title, figure.unit, _plain(figure.value), _bound(figure), held)
    return made


def promises_markdown(figures: Sequence[Figure]) -> str:
    """The same as a table for docs/performance.md."""
    lines = ["| figure | unit | measured | asked |", "|---|---|--:|--:|"]
    lines += [f"| {each.title} | {each.unit} | {_plain(each.value)} | {_bound(each)} |" for each in figures]
    return "\n".join(lines)


def write(rows: Sequence[Row], path: Path) -> None:
    """Writes the rows as JSON: a list of objects, each one peer in one work."""
    items = [
        {
            "question": row.question,
            "work": row.work.title,
            "unit": row.work.unit,
            "ours": round(row.ours.median, 1),
            "peer": row.peers.contender.name,
            "peer_value": round(row.peers.median, 1),
            "ratio": round(row.ratio, 3),
            "asked": row.goal,
            **_facts("ours", row.ours),
            **_facts("peer", row.peers),
        }
        for row in rows
    ]
    path.write_text(json.dumps(items, indent=2, ensure_ascii=False) + "\n")


def _facts(who: str, series: Series) -> dict[str, object]:
    return {
        f"{who}_cpu_us": {role: round(cost, 2) for role, cost in series.cpu.items()},
        f"{who}_runs": [round(run.value, 1) for run in series.runs],
        f"{who}_lost": series.lost,
        f"{who}_versions": list(peers.load(series.contender.peer).versions()),
    }


def _questions(rows: Sequence[Row]) -> Iterator[tuple[str, list[Line]]]:
    """The questions that have rows, each with its lines: ourselves in a work, then the peers."""
    for question in QUESTIONS:
        asked = [row for row in rows if row.question == question]
        if asked:
            yield question, list(_lines(asked))


def _lines(rows: Iterable[Row]) -> Iterator[Line]:
    for work, found in groupby(rows, lambda row: row.work):
        some = list(found)
        yield Line(work, some[0].ours, None)
        yield from (Line(work, row.peers, row) for row in some)


def _cells(line: Line) -> Iterator[str]:
    work, series, row = line
    yield f"  {series.contender.title}"
    yield f"{series.median:,.0f}" + (f" [red]({series.lost:,} lost)[/]" if series.lost else "")
    yield work.unit
    yield from _costs(series)
    if row is not None:
        yield f"[{'green' if row.ratio >= (row.goal or 0) else 'red'}]{row.ratio:.2f}[/]"
        yield f"{row.goal:.2f}" if row.goal is not None else ""


def _costs(series: Series) -> list[str]:
    cpu = series.cpu
    return [f"{cpu[role]:,.1f}" if role in cpu else "" for role in ROLES]


def _bound(figure: Figure) -> str:
    return f"{'at least' if figure.more_is_better else 'at most'} {_plain(figure.bound)}"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
