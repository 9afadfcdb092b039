"""`trunkline durable`: durable subscriptions listed, shown, created, changed, paused, moved and deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from trunkline.cli import confirmation
from trunkline.cli.bus.durable_view import COLUMNS, describe, facts_of, in_a_line, row_of
from trunkline.cli.clients import bus_client
from trunkline.cli.exit_codes import answer, run
from trunkline.cli.output import print_facts, print_json, print_table, safe, write_line
from trunkline.cli.settings import Command, settings, with_settings
from trunkline.cli.times import read_span, read_start
from trunkline.delivery import Backoff, DurableSettings, Start

if TYPE_CHECKING:
    from trunkline import DurableInfo

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
            click.option("--max-leased", type=int, help="Most messages leased over all subscribers; 0: no limit. [0]"),
            click.option(
                "--rate", type=float, help="Messages a second over all subscribers, such as 0.5; 0: no limit. [0]"
            ),
            click.option("--burst", type=int, help="Messages at once after a rest; 0: what a second brings. [0]"),
            click.option("--key-concurrency", type=int, help="Messages of one ordering key at once. [1]"),
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
    *,
    backoff_initial: float | None,
    backoff_multiplier: float | None,
    backoff_maximum: float | None,
    **figures: Any,
) -> DurableSettings | None:
    """Returns the settings of which one was given at least, the others by default; None where none was."""
    if backoff_maximum is None and backoff_initial is not None:
        backoff_maximum = max(Backoff().maximum, backoff_initial)  # else a long first wait would need a second option
    backoff = {"initial": backoff_initial, "multiplier": backoff_multiplier, "maximum": backoff_maximum}
    if any(figure is not None for figure in backoff.values()):
        figures["backoff"] = Backoff(**{name: figure for name, figure in backoff.items() if figure is not None})
    given = {name: figure for name, figure in figures.items() if figure is not None}
    return DurableSettings(**given) if given else None


@durable.command("set")
@click.argument("name")
@_delivery_options
@with_settings
def set_(name: str, **options: Any) -> None:
    """Changes how a durable subscription delivers, while it runs: what is named here, the rest stays.

    It counts for what is handed out next. A limit below what is leased now takes nothing away. Who subscribes with
    settings must say the new ones from then on.
    """
    if all(each is None for each in options.values()):
        raise click.UsageError("say what to change, such as --max-leased 10")
    _show_after(name, lambda bus: bus.update_durable(name, **options), "changed")


@durable.command()
@click.argument("name")
@with_settings
def pause(name: str) -> None:
    """Hands nothing more out until `resume`, also after a restart; what is leased can be settled as ever."""
    _show_after(name, lambda bus: bus.pause_durable(name), "paused")


@durable.command()
@click.argument("name")
@with_settings
def resume(name: str) -> None:
    """Lets a paused one go on where it was."""
    _show_after(name, lambda bus: bus.resume_durable(name), "resumed")


def _show_after(name: str, change: Callable[[Any], Awaitable[DurableInfo]], verb: str) -> None:
    """Changes a durable subscription, and shows how it is then."""
    chosen = settings()

    async def main() -> None:
        async with bus_client(chosen) as bus:
            found = await change(bus)
        if chosen.as_json:
            print_json(describe(found))
        else:
            write_line(f"{verb} {in_a_line(found)}")

    run(main(), chosen)


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
