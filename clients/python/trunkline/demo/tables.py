"""Tables: the report for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trunkline.cli.output import safe
from trunkline.demo.report import COUNTS, Report

_NAME_WIDTH: Final = 40


def show(report: Report, console: Console) -> None:
    """Prints all of it."""
    _show_found(report, console)
    _show_agents(report, console)
    _show_traffic(report, console)
    _show_outcome(report, console)


def _show_found(report: Report, console: Console) -> None:
    columns = ("language", "files", *COUNTS)
    rows = [[row[name] for name in columns] for row in report.languages]
    totals = ["total", *(report.totals[name] for name in columns[1:])]
    _print(console, f"What was found in {report.folder}", columns, rows, totals)
    if report.most_complex:
        worst = [
            (row["max_complexity"], f"{row['mean_complexity']:.1f}", row["functions"], row["most_complex"], row["path"])
            for row in report.most_complex
        ]
        _print(console, "Most complex", ("max", "mean", "functions", "function", "file"), worst)


def _show_agents(report: Report, console: Console) -> None:
    columns = ("agent", "runs as", "speaks to", "files", "published", "received", "saves", "status")
    rows = [
        (each.name, each.kind, each.way, each.files, each.published, each.received, each.saves, each.status)
        for each in report.agents
    ]
    _print(console, "Who did it", columns, rows)


def _show_traffic(report: Report, console: Console) -> None:
    traffic = report.traffic
    behind = [each for each in report.agents if each.way == "sidecar"]
    messages, saves = sum(each.published + each.received for each in behind), sum(each.saves for each in behind)
    lines = (traffic.lines_in or 0) + (traffic.lines_out or 0)
    external = "lines of its socket not known" if traffic.lines_in is None else f"{lines:,} lines on its UNIX socket"
    streams = "" if traffic.streams is None else f"{traffic.streams:,} streams, "
    rows: list[tuple[Any, ...]] = [
        (
            "bus",
            traffic.published + traffic.delivered,
            None,
            f"{traffic.published:,} published, {traffic.delivered:,} copies delivered, {traffic.dropped:,} dropped, "
            f"{traffic.requests:,} requests",
        ),
        ("state", None, traffic.saves, f"in {traffic.commits:,} commits; {traffic.reads:,} reads"),
        ("sidecar", messages + lines, saves, f"{streams}{external}; also counted above"),
    ]
    _print(console, "What flowed through each program", ("program", "messages", "state writes", ""), rows)
    console.print()
    console.print(_speed(report), soft_wrap=True)


def _speed(report: Report) -> str:
    traffic, speed = report.traffic, report.speed
    work = speed.work_seconds
    flow = (traffic.published + traffic.delivered) / work
    waited = f", {speed.waited_seconds:.1f} s of it waiting for what was lost" if speed.waited_seconds >= 0.1 else ""
    return (
        f"{report.files:,} files in {work:.1f} s{waited}: {report.files / work:,.0f} files/s, {flow:,.0f} messages/s, "
        f"{traffic.saves / work:,.0f} state writes/s. The whole run took {speed.total_seconds:.1f} s, "
        f"{speed.start_seconds:.1f} s of it to start three programs and all agents."
    )


def _show_outcome(report: Report, console: Console) -> None:
    if report.killed is not None:
        killed = report.killed
        over = ", ".join(f"{each.path} by {_short(report, each.done_by)}" for each in report.handovers if each.done_by)
        line = f"{killed.name} (pid {killed.pid}) was killed while it held {killed.path}. Done anew: {over}."
        console.print(Text(safe(line), "yellow"), soft_wrap=True)
    notes = f"{report.duplicates_refused} duplicates refused, {report.rejections} rejected by review."
    if report.is_good:
        verdict = f"Every one of {report.files:,} files was done exactly once in the stored results; "
        console.print(Text.assemble(("✔ ", "bold green"), (verdict, "green"), notes), soft_wrap=True)
        return
    for problem in report.problems:
        console.print(Text.assemble(("✘ ", "bold red"), (safe(problem), "red")), soft_wrap=True)
    console.print(notes)


def _short(report: Report, agent_id: str | None) -> str:
    return (agent_id or "nobody").removeprefix(f"{report.workflow_id}.")


def _print(
    console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], totals: Sequence[Any] = ()
) -> None:
    rows = list(rows)
    table = Table(
        box=SIMPLE_HEAD,
        title=Text(f"\n{safe(title)}", "bold"),
        title_justify="left",
        pad_edge=False,
        show_edge=False,
        show_footer=bool(totals),
        footer_style="bold",
    )
    for number, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], int | None) for row in rows)
        table.add_column(
            column,
            _cell(totals[number]) if totals else "",
            justify="right" if numeric else "left",
            max_width=_NAME_WIDTH if column == "function" else None,
            no_wrap=column == "function",
        )
    for row in rows:
        table.add_row(*map(_cell, row))
    console.print(table)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("-", "dim")
    return Text(f"{value:,}" if isinstance(value, int) else safe(str(value)))
