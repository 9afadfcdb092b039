"""`trunkline durable`: durable subscriptions listed, shown, created, moved and deleted."""

from __future__ import annotations

from typing import Any

import click

from trunkline.cli import confirmation
from trunkline.cli.bus.durable_view import COLUMNS, describe, facts_of, in_a_line, row_of
from trunkline.cli.clients import bus_client
from trunkline.cli.exit_codes import answer, run
from trunkline.cli.output import print_facts, print_json, print_table, safe, write_line
from trunkline.cli.settings import Command, settings, with_settings
from trunkline.cli.times import read_span, read_start
from trunkline.delivery import Backoff, DurableSettings, Start

POSITION = "`new`, `all`, a sequence, a time (2026-01-31T03:00), or an age (2h)."


@click.group()
@with_settings
def durable() -> None:
    """Keeps the durable subscriptions: by its name each keeps every stored message that matches until it is acked."""


@durable.command("list")
@with_settings
def list_() -> None:
    """Lists the durable subscriptions in order of their names.

    `dead` counts what became a dead letter since it was made. Marked is what nobody takes (messages wait and no
    subscriber is connected), and where messages died.
    """
    chosen = settings()

    async def main() -> None:
        async with bus_client(chosen) as bus:
            found = [each async for each in bus.durables()]
        if chosen.as_json:
            for each in found:
                print_json(describe(each))
        elif found:
            print_table(COLUMNS, map(row_of, found), right=frozenset(COLUMNS[2:]))
        else:
            write_line("there are no durable subscriptions")

    run(main(), chosen)


@durable.command()
@click.argument("name")
@with_settings
def show(name: str) -> None:
    """Shows one with its settings, and how many dead letters it has now.

    Exit code 3 where there is none of this name.
    """
    chosen = settings()

    async def main() -> None:
        async with bus_client(chosen) as bus:
            found = await bus.durable(name)
            dead_letters = await bus.count_dead_letters(durable=name)
        if chosen.as_json:
            print_json({**describe(found), "dead_letters": dead_letters})
        else:
            print_facts(facts_of(found, dead_letters), title=name)

    run(main(), chosen)


def _delivery_options(command: Command) -> Command:
    for option in reversed(
        [
            click.option("--ack-wait", type=read_span, metavar="SECONDS", help="How long a message is leased. [30s]"),
            click.option("--max-deliveries", type=int, help="After so many a message becomes a dead letter. [5]"),
            click.option(
                "--backoff-initial", type=read_span, metavar="SECONDS", help="Wait after the first failed attempt. [1s]"
            ),
            click.option("--backoff-multiplier", type=float, help="With each further attempt. [2]"),
            click.option("--backoff-maximum", type=read_span, metavar="SECONDS", help="Longest wait. [60s]"),
        ]
    ):
        command = option(command)
    return command


@durable.command()
@click.argument("name")
@click.argument("pattern")
@click.option(
    "--start", type=read_start, metavar="POSITION", default="new", show_default=True, help=f"From where: {POSITION}"
)
@_delivery_options
@with_settings
def create(name: str, pattern: str, start: Start, **options: Any) -> None:
    """Makes a durable subscription: from now on it keeps what is stored on PATTERN.

    One that is there with the same pattern and settings is left as it is; with others it is refused.
    """
    chosen = settings()

    async def main() -> None:
        async with bus_client(chosen) as bus:
            created = await bus.create_durable(name, pattern, start=start, settings=_delivery_settings(**options))
            found = await bus.durable(name)
        if chosen.as_json:
            print_json({**describe(found), "created": created})
        else:
            write_line(f"{'created' if created else 'there was already'} {in_a_line(found)}")

    run(main(), chosen)


def _delivery_settings(
    ack_wait: float | None,
    max_deliveries: int | None,
    backoff_initial: float | None,
    backoff_multiplier: float | None,
    backoff_maximum: float | None,
) -> DurableSettings | None:
    """Returns the settings of which one was given at least, the others by default; None where none was."""
    if backoff_maximum is None and backoff_initial is not None:
        backoff_maximum = max(Backoff().maximum, backoff_initial)  # else a long first wait would need a second option
    backoff = {"initial": backoff_initial, "multiplier": backoff_multiplier, "maximum": backoff_maximum}
    figures: dict[str, Any] = {"ack_wait": ack_wait, "max_deliveries": max_deliveries}
    if any(figure is not None for figure in backoff.values()):
        figures["backoff"] = Backoff(**{name: figure for name, figure in backoff.items() if figure is not None})
    given = {name: figure for name, figure in figures.items() if figure is not None}
    return DurableSettings(**given) if given else None


@durable.command()
@click.argument("name")
@click.option("--to", "position", type=read_start, metavar="POSITION", required=True, help=f"Where to: {POSITION}")
@with_settings
def seek(name: str, position: Start) -> None:
    """Moves a durable subscription forwards or back: it hands out what comes from there on.

    What is leased or waits for another attempt is given up: acks for it are refused as stale.
    """
    chosen = settings()

    async def main() -> None:
        async with bus_client(chosen) as bus:
            await bus.seek_durable(name, position)
            found = await bus.durable(name)
        if chosen.as_json:
            print_json(describe(found))
        else:
            write_line(f"moved {in_a_line(found)}")

    run(main(), chosen)


@durable.command()
@click.argument("name")
@confirmation.yes_option
@with_settings
def delete(name: str, yes: bool) -> None:
    """Deletes a durable subscription and everything that waits for it, after it asked; its dead letters stay.

    Without a terminal --yes must say so. Exit code 1 where the answer is no, 3 where there is none.
    """
    chosen = settings()
    confirmation.check_can_ask("delete", yes=yes)

    async def question() -> str:
        async with bus_client(chosen) as bus:
            found = await bus.durable(name)
        waits = f"{found.waiting:,} waiting, {found.leased:,} leased, {found.retrying:,} retrying"
        return f"Delete {safe(name)} on {safe(found.pattern)} for good ({waits})?"

    if not yes:
        confirmation.ask(answer(question(), chosen), yes=yes)

    async def main() -> None:
        async with bus_client(chosen) as bus:
            await bus.delete_durable(name)
        if chosen.as_json:
            print_json({"name": name, "deleted": True})
        else:
            write_line(f"deleted {safe(name)}")

    run(main(), chosen)
