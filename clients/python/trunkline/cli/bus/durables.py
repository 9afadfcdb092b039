"""`trunkline durable`: durable subscriptions listed, shown, created, changed, paused, moved and deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import click

from trunkline.cli import confirmation
from trunkline.cli.bus.durable_view import (
    COLUMNS,
    WAITING_COLUMNS,
    describe,
    describe_waiting,
    facts_of,
    in_a_line,
    table_of,
    waiting_row,
)
from trunkline.cli.clients import bus_client
from trunkline.cli.exit_codes import answer, run
from trunkline.cli.output import counted, print_facts, print_json, print_table, safe, write_line
from trunkline.cli.settings import Command, settings, with_settings
from trunkline.cli.times import read_past, read_span, read_start
from trunkline.delivery import Backoff, DurableSettings, Start

if TYPE_CHECKING:
    from trunkline import DurableInfo, WaitingFilter

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
            print_table(*table_of(found), right=frozenset(COLUMNS[2:]))
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


_WAITING: Final = {
    "sequences": click.option(
        "--sequence", "sequences", type=click.IntRange(1), multiple=True, help="With this sequence; may be repeated."
    ),
    "message_ids": click.option(
        "--message-id", "message_ids", metavar="ID", multiple=True, help="With this message id; may be repeated."
    ),
    "channel": click.option("--channel", metavar="PATTERN", help="Published on a channel that matches."),
    "message_type": click.option("--type", "message_type", help="Of this type."),
    "sender_id": click.option("--sender", "sender_id", help="From this sender."),
    "ordering_key": click.option("--key", "ordering_key", help="With this ordering key."),
    "since": click.option("--since", type=read_past, metavar="TIME", help="Waits at most so long (2h), or since then."),
    "before": click.option("--before", type=read_past, metavar="TIME", help="Waits longer than that (2h)."),
}
_all = click.option("--all", "all_", is_flag=True, help="All that waits.")
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


def _waiting_options(command: Command) -> Command:
    for option in reversed(_WAITING.values()):
        command = option(command)
    return command


def _waiting_filter(options: dict[str, Any], all_: bool, verb: str) -> WaitingFilter:
    from trunkline import WaitingFilter

    chosen = {name: options[name] for name in _WAITING if options[name]}
    if bool(chosen) == all_:
        raise click.UsageError(f"say what to {verb}: a filter such as --channel PATTERN, or --all, and not both")
    return WaitingFilter(**chosen)


@durable.command()
@click.argument("name")
@_waiting_options
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Show at most so many.")
@with_settings
def peek(name: str, limit: int, **options: Any) -> None:
    """Shows what waits, in order of sequences, and takes nothing.

    With --format json one object each, with payload.
    """
    chosen = settings()
    wanted = {field: options[field] or None for field in _WAITING}

    async def main() -> None:
        shown = []
        async with (
            bus_client(chosen) as bus,
            aclosing(bus.waiting_messages(name, limit=limit, brief=not chosen.as_json, **wanted)) as waiting,
        ):
            async for each in waiting:
                if chosen.as_json:
                    print_json(describe_waiting(each))
                else:
                    shown.append(waiting_row(each))
        if shown:
            print_table(WAITING_COLUMNS, shown, right=frozenset({"sequence", "attempts"}))
        elif not chosen.as_json:
            write_line("nothing waits" if not any(wanted.values()) else "nothing that waits matches")

    run(main(), chosen)


@durable.command()
@click.argument("name")
@_waiting_options
@_all
@_dry_run
@confirmation.yes_option
@with_settings
def cancel(name: str, all_: bool, dry_run: bool, yes: bool, **options: Any) -> None:
    """Cancels messages that wait, after it asked: they are never handed out.

    Other durable subscriptions keep theirs; what is leased is left out. Without a terminal --yes must say so.
    """
    chosen = settings()
    which = _waiting_filter(options, all_, "cancel")

    async def call(dry: bool) -> Any:
        async with bus_client(chosen) as bus:
            return await bus.cancel_waiting(name, which, dry_run=dry)

    if not dry_run and not yes:
        confirmation.check_can_ask("cancel", yes=yes)
        if count := answer(call(True), chosen).cancelled:
            confirmation.ask(f"Cancel {counted(count, 'message')} of {safe(name)} for good?", yes=yes)
    done = answer(call(dry_run), chosen)
    if chosen.as_json:
        print_json({"cancelled": done.cancelled, "leased": done.leased, "dry_run": dry_run})
        return
    write_line(f"{'would cancel' if dry_run else 'cancelled'} {counted(done.cancelled, 'message')}{_leased(done)}")


@durable.command()
@click.argument("name")
@click.argument("to")
@_waiting_options
@_all
@_dry_run
@with_settings
def move(name: str, to: str, all_: bool, dry_run: bool, **options: Any) -> None:
    """Moves messages that wait to the durable subscription TO, behind what waits there.

    What is leased is left out, and so is what the pattern of TO does not match.
    """
    chosen = settings()
    which = _waiting_filter(options, all_, "move")

    async def main() -> None:
        async with bus_client(chosen) as bus:
            done = await bus.move_waiting(name, which, to, dry_run=dry_run)
        if chosen.as_json:
            print_json({"moved": done.moved, "leased": done.leased, "unmatched": done.unmatched, "dry_run": dry_run})
            return
        verb = "would move" if dry_run else "moved"
        stays = f"; {done.unmatched:,} stay, whose channel {safe(to)} does not want" if done.unmatched else ""
        write_line(f"{verb} {counted(done.moved, 'message')} to {safe(to)}{_leased(done)}{stays}")

    run(main(), chosen)


def _leased(done: Any) -> str:
    return f"; {done.leased:,} leased, which stay" if done.leased else ""


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
