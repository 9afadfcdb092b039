"""`trunkline bench`: how fast a deployment is, seen from here."""

from __future__ import annotations

from typing import Any, Final

import click

from trunkline.cli.exit_codes import run
from trunkline.cli.output import print_json, print_table
from trunkline.cli.settings import settings, with_settings

WORKS: Final = {"live": "bus", "request": "bus", "stored": "bus", "save": "state", "get": "state"}
"""What is measured, each with its service."""
COLUMNS: Final = ("work", "per second", "CPU µs", "median ms", "p99 ms", "done", "lost")
MAX_SIZE: Final = 1_000_000


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(WORKS)), help="This work alone; may be repeated.")
@click.option(
    "--count",
    type=click.IntRange(1, 10_000_000),
    default=20_000,
    show_default=True,
    help="Operations of each work at the most.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 3600, min_open=True),
    default=5.0,
    show_default=True,
    help="How long each work goes on at the most.",
)
@click.option(
    "--in-flight", type=click.IntRange(1, 1_000), default=64, show_default=True, help="Calls that wait at once."
)
@click.option(
    "--size", type=click.IntRange(0, MAX_SIZE), default=256, show_default=True, help="Bytes of a payload as JSON."
)
@with_settings
def bench(only: tuple[str, ...], count: int, seconds: float, in_flight: int, size: int) -> None:
    """Measures the bus and the state service that --bus and --state name, with this process as their only client.

    live: messages published and received by a subscriber's callback. request: requests and their replies. stored:
    messages published with a receipt. save, get: records written and read. Calls wait for their answers, --in-flight
    of them at once. CPU is what this process takes for an operation, both of its sides together. With --format json
    each work is an object on a line of its own.

    Channels, records and the durable subscription have names of their own and are deleted at the end. Subscribers to
    '>' get the messages too.
    """
    chosen = settings()

    async def main() -> None:
        from trunkline.cli.services import measuring

        load = measuring.Load(count, seconds, in_flight, size)
        rows = []
        for name, service in WORKS.items():
            if only and name not in only:
                continue
            address = chosen.bus if service == "bus" else chosen.state
            measured = (await measuring.WORKS[name](address, load)).to_dict()
            if chosen.as_json:
                print_json(measured)
            rows.append(_row(measured))
        if not chosen.as_json:
            print_table(COLUMNS, rows, right=frozenset(COLUMNS[1:]))

    run(main(), chosen)


def _row(measured: dict[str, Any]) -> tuple[Any, ...]:
    cpu = measured["cpu_us"]
    return (
        measured["work"],
        f"{measured['per_second']:,.0f}",
        None if cpu is None else f"{cpu:,.1f}",
        measured["median_ms"],
        measured["p99_ms"],
        f"{measured['done']:,}",
        measured["lost"],
    )
