"""The command `trunkline bench`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from trunkline.bench import report
from trunkline.bench.comparison import Row, compare
from trunkline.bench.contender import Contender, of_peer, on_grpcio
from trunkline.bench.peers import OURS, PEERS
from trunkline.bench.processes import RunFailedError
from trunkline.bench.works import WORKS

PLAIN_WIDTH = 130
"""Columns of the table where there is no terminal to ask."""

_WORK_NAMES = [work.name for work in WORKS]
_PEER_NAMES = [name for name in PEERS if name != OURS]


@click.command(name="bench")
@click.option("--only", multiple=True, type=click.Choice(_WORK_NAMES), help="This work alone; may be repeated.")
@click.option(
    "--peer", "peers", multiple=True, type=click.Choice(_PEER_NAMES), help="This peer alone; may be repeated."
)
@click.option("--grpcio", "versions", multiple=True, help="Us on this version of grpcio, then no peer unless named.")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(min=1), help="Interleaved runs of each.")
@click.option(
    "--json",
    "path",
    default="bench-results.json",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the results are written.",
)
@click.option("--markdown", is_flag=True, help="Print the table as Markdown, for README.md.")
def command(
    only: tuple[str, ...], peers: tuple[str, ...], versions: tuple[str, ...], runs: int, path: Path, markdown: bool
) -> None:
    """Measures Trunkline beside its peers, in the same run.

    Needs the extra `bench`, nats-server and redis-server: `make bench` brings them. Exit 1 if a run failed or a message
    of ours was lost.
    """
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    progress = Console(stderr=True, style="dim", highlight=False)
    try:
        with TemporaryDirectory(prefix="trunkline-bench-") as folder:
            rivals = [of_peer(name) for name in peers or (() if versions else _PEER_NAMES)]
            rivals += [on_grpcio(version, Path(folder)) for version in versions]
            rows = asyncio.run(_compare(only or tuple(_WORK_NAMES), rivals, runs, progress))
    except (RunFailedError, ImportError) as error:
        raise click.ClickException(str(error)) from error
    if markdown:
        click.echo(report.markdown(rows))
    else:
        console.print(report.table(rows))
    report.write(rows, path)
    progress.print(f"written to {path}")
    lost = sum(row.ours_lost for row in rows)
    if lost:
        raise click.ClickException(f"{lost:,} messages of ours were lost")


async def _compare(only: tuple[str, ...], rivals: list[Contender], runs: int, progress: Console) -> list[Row]:
    rows: list[Row] = []
    for work in (work for work in WORKS if work.name in only):
        able = [rival for rival in rivals if rival.peer == OURS or rival.name in work.goals]
        rows += await compare(work, able, runs, progress.print)
    return rows


def main() -> None:
    """Entry for `python -m trunkline.bench` and the command line's lazy loading."""
    command()
