"""The command of `make bench`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from scripts.bench import report
from scripts.bench.comparison import Row, compare
from scripts.bench.contender import FEW, MANY_WAITING, Contender, few_waiting, of_peer, on_grpcio, ours
from scripts.bench.processes import RunFailedError
from scripts.bench.promise import Figure
from scripts.bench.promises import PROMISES
from scripts.bench.works import WORKS

PLAIN_WIDTH = 130
"""Columns of the table where there is no terminal to ask."""

QUICK = 300
"""Messages of a quick run, and how many wait at the most."""

_WORK_NAMES = [work.name for work in WORKS]
_PROMISE_NAMES = [promise.name for promise in PROMISES]
_PEER_NAMES = sorted({name for work in WORKS for name in work.names})


@click.command(name="bench")
@click.option(
    "--only", multiple=True, type=click.Choice(_WORK_NAMES + _PROMISE_NAMES), help="This alone; may be repeated."
)
@click.option(
    "--peer", "peers", multiple=True, type=click.Choice(_PEER_NAMES), help="This peer alone; may be repeated."
)
@click.option(
    "--grpcio", "versions", multiple=True, metavar="VERSION", help="Us on this version of grpcio in place of the peers."
)
@click.option("--alone", is_flag=True, help="Us without any peer: what each run came to, and no tables.")
@click.option("--runs", default=5, show_default=True, type=click.IntRange(min=1), help="Interleaved runs of each.")
@click.option(
    "--quick",
    is_flag=True,
    help=f"One run of {QUICK} messages each: it shows that everything works, and its figures say nothing.",
)
@click.option(
    "--waiting",
    default=MANY_WAITING,
    show_default=True,
    type=click.IntRange(min=0),
    help="Stored messages that wait in the works of the backlog; 10,000,000 take 5 GB of /tmp.",
)
@click.option(
    "--json",
    "path",
    default="bench-results.json",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the comparison is written.",
)
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown, for docs/performance.md.")
def command(
    only: tuple[str, ...],
    peers: tuple[str, ...],
    versions: tuple[str, ...],
    alone: bool,
    runs: int,
    quick: bool,
    waiting: int,
    path: Path,
    markdown: bool,
) -> None:
    """Measures Trunkline beside its peers in the same run, and what is promised of it alone.

    The latter is ready (the start of `trunkline up`), idle (memory and CPU of each program), memory (what each
    connection, subscription, waiting message and record adds to it), stalled (a subscriber that never reads while
    1,000,000 messages pass), waiting (memory and start of a bus for which 1,000,000 stored messages wait), kept (bytes
    of disk and of Redis for each stored message and record), commands (what a MessageChannel's UNIX socket answers),
    orchestrator (how soon an agent's event reaches a callback, and what waiting costs) and replicas (what messages that
    cross replicas cost, and what Redis does for what is kept there); it is left out where --peer, --grpcio, --alone or
    --quick is given.

    Needs the extra `bench`, nats-server, redis-server and AutoGen's environment: `make bench` brings them. Exit 1 if a
    run failed (a peer's is left out), a message of ours was lost or a promise was not held.
    """
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    progress = Console(stderr=True, style="dim", highlight=False)
    compared = only or tuple(_WORK_NAMES)
    if alone and (peers or versions):
        raise click.UsageError("--alone: nobody else is measured, so neither --peer nor --grpcio goes with it")
    promised = only or (() if peers or versions or alone or quick else tuple(_PROMISE_NAMES))
    try:
        with TemporaryDirectory(prefix="trunkline-bench-") as folder:
            # only what is compared with needs to be installed
            able = {name for work in WORKS if work.name in compared for name in work.names}
            if strange := [name for name in peers if name not in able]:
                raise click.UsageError(f"--peer {strange[0]}: nothing that is measured here is compared with it")
            named = [name for name in peers or (() if versions or alone else _PEER_NAMES) if name in able]
            most, few = None, few_waiting()
            if quick:
                most, few, runs, waiting = QUICK, few_waiting(QUICK), 1, min(waiting, QUICK)
            rivals = [replace(few if name == FEW else of_peer(name), most=most) for name in named]
            versioned = [replace(on_grpcio(version, Path(folder)), waiting=waiting, most=most) for version in versions]
            us = replace(ours(), waiting=waiting, most=most)
            failed: list[str] = []
            rows = asyncio.run(_compare(compared, us, rivals, versioned, runs, progress, Path(folder), failed))
            figures = asyncio.run(_promise(promised, runs, progress))
    except (RunFailedError, ImportError) as error:
        raise click.ClickException(str(error)) from error
    if rows:
        if markdown:
            click.echo(report.markdown(rows))
        else:
            console.print(*report.tables(rows), report.LEGEND, sep="\n")
        progress.print(f"measured: {', '.join(report.versions(rows))}")
        report.write(rows, path)
        progress.print(f"written to {path}")
    if figures:
        console.print(report.promises(figures)) if not markdown else click.echo(report.promises_markdown(figures))
    lost = sum({id(row.ours): row.ours.lost for row in rows}.values())
    if lost:
        raise click.ClickException(f"{lost:,} messages of ours were lost")
    if failed:
        raise click.ClickException("\n".join(("these runs failed:", *failed)))
    broken = [figure.title for figure in figures if not figure.held]
    if broken:
        raise click.ClickException(f"not held: {'; '.join(broken)}")


async def _compare(
    compared: Sequence[str],
    us: Contender,
    rivals: Sequence[Contender],
    versioned: Sequence[Contender],
    runs: int,
    progress: Console,
    folder: Path,
    failed: list[str],
) -> list[Row]:
    named = {rival.name: rival for rival in rivals}
    rows: list[Row] = []
    for work in (work for work in WORKS if work.name in compared):
        able = [*(named[name] for name in work.names if name in named), *versioned]
        rows += await compare(work, us, able, runs, progress.print, folder, failed)
    return rows


async def _promise(promised: Sequence[str], runs: int, progress: Console) -> list[Figure]:
    figures: list[Figure] = []
    for promise in (promise for promise in PROMISES if promise.name in promised):
        for figure in await promise.measure(runs):
            progress.print(f"{promise.name}: {figure.title}: {figure.value:,.4g} {figure.unit}")
            figures.append(figure)
    return figures


def main() -> None:
    """Runs the command."""
    command(prog_name="python -m scripts.bench")
