"""What came of it: a table for people, bench-results.json for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from scripts.bench.comparison import Row
from scripts.bench.promise import Figure


def table(rows: Sequence[Row]) -> Table:
    """The rows as a table; a ratio over 1 says that we are ahead."""
    made = Table(title="Trunkline beside its peers (256-byte payloads, medians)", title_justify="left")
    made.add_column("work")
    made.add_column("unit")
    made.add_column("ours", justify="right")
    made.add_column("peer")
    made.add_column("peer's", justify="right")
    made.add_column("ratio", justify="right")
    made.add_column("asked", justify="right")
    for row in rows:
        colour = "green" if row.ratio >= (row.goal or 0) else "red"
        made.add_row(
            row.work.title,
            row.work.unit,
            _figure(row.ours, row.ours_lost),
            row.peer.title,
            _figure(row.peer_value, row.peer_lost),
            f"[{colour}]{row.ratio:.2f}[/]",
            f"{row.goal:.2f}" if row.goal is not None else "",
        )
    return made


def markdown(rows: Sequence[Row]) -> str:
    """The same as a table for docs/performance.md."""
    lines = ["| work | unit | ours | peer | peer's | ratio |", "|---|---|--:|---|--:|--:|"]
    lines += [
        f"| {row.work.title} | {row.work.unit} | {row.ours:,.0f} "
        f"| {row.peer.title} | {row.peer_value:,.0f} | {row.ratio:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


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
    """Writes the rows as JSON: a list of work, unit, ours, peer, peer_value, ratio."""
    items = [
        {
            "work": row.work.title,
            "unit": row.work.unit,
            "ours": round(row.ours, 1),
            "peer": row.peer.name,
            "peer_value": round(row.peer_value, 1),
            "ratio": round(row.ratio, 3),
        }
        for row in rows
    ]
    path.write_text(json.dumps(items, indent=2, ensure_ascii=False) + "\n")


def _figure(value: float, lost: int) -> str:
    return f"{value:,.0f}" + (f" [red]({lost:,} lost)[/]" if lost else "")


def _bound(figure: Figure) -> str:
    return f"{'at least' if figure.more_is_better else 'at most'} {_plain(figure.bound)}"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
