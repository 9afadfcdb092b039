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
    _show_kept(report, console)
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


def _show_kept(report: Report, console: Console) -> None:
    columns = ("durable subscription", "handed out", "of that again", "acked", "dead letters", "left")
    rows = [
        (each.name, each.delivered, each.redelivered, each.acked, each.dead_letters, each.open) for each in report.kept
    ]
    _print(console, "What the bus kept until it was done", columns, rows)


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
            f"{traffic.published:,} published, {traffic.stored:,} stored, {traffic.delivered:,} copies delivered, "
            f"{traffic.dropped:,} dropped, {traffic.requests:,} requests",
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
    waited = f", {speed.waited_seconds:.1f} s of it without any news" if speed.waited_seconds >= 0.1 else ""
    return (
        f"{report.files:,} files in {work:.1f} s{waited}: {report.files / work:,.0f} files/s, {flow:,.0f} messages/s, "
        f"{traffic.saves / work:,.0f} state writes/s. The whole run took {speed.total_seconds:.1f} s, "
        f"{speed.start_seconds:.1f} s of it to start three programs and all agents."
    )


def _show_outcome(report: Report, console: Console) -> None:
    for line in _accident(report):
        console.print(Text(safe(line), "yellow"), soft_wrap=True)
    again, dead = sum(each.redelivered for each in report.kept), sum(each.dead_letters for each in report.kept)
    notes = (
        f"lost: {report.lost} of {report.receipts:,} receipts; handed out again: {again}; published twice and stored "
        f"once: {report.traffic.duplicates}; second results refused: {report.duplicates_refused}; "
        f"dead letters: {dead}; rejected by review: {report.rejections}."
    )
    if report.is_good:
        verdict = f"Every one of {report.files:,} files was done exactly once in the stored results; "
        console.print(Text.assemble(("✔ ", "bold green"), (verdict, "green"), notes), soft_wrap=True)
        return
    for problem in report.problems:
        console.print(Text.assemble(("✘ ", "bold red"), (safe(problem), "red")), soft_wrap=True)
    console.print(notes)


def _accident(report: Report) -> list[str]:
    """Who was killed when, and what that came to."""
    lines = []
    for killed in report.killed:
        back = "" if killed.away_seconds is None else f", and was back {killed.away_seconds:.1f} s later"
        lines.append(f"{killed.name} (pid {killed.pid}) was killed after {killed.after_seconds:.1f} s of work{back}.")
    if report.handed_out_again:
        over = ", ".join(f"{each.path} to {each.done_by} (attempt {each.attempt})" for each in report.handed_out_again)
        lines.append(f"Handed out again: {over}.")
    return lines


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
