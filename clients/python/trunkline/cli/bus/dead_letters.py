"""`trunkline dead-letters`: the messages that no subscriber finished, listed, shown, redriven and purged."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from trunkline.cli import confirmation
from trunkline.cli.bus.dead_letter_filter import describe, filter_options, filters_of, no_match, selection
from trunkline.cli.clients import bus_client
from trunkline.cli.exit_codes import FAILED, answer, run
from trunkline.cli.output import counted, print_json, print_note, write_line
from trunkline.cli.settings import Settings, settings, with_settings
from trunkline.limits import MAX_REDRIVES

if TYPE_CHECKING:
    from trunkline import DeadLetter, Redriven

_id = click.IntRange(1, 2**63 - 1)
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
_all = click.option("--all", "all_", is_flag=True, help="All there are.")


@click.group("dead-letters")
@with_settings
def dead_letters() -> None:
    """Finds the messages that no subscriber could finish, and gives them back or removes them.

    At night: `list` says what died, `show ID` why, `redrive` gives it back to the subscription that it comes from.
    """


@dead_letters.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Show at most so many.")
@with_settings
def list_(limit: int, **options: Any) -> None:
    """Lists the dead letters that match, the newest first.

    With --format json one object each, with payload and attempts; how many match is told on standard error.
    """
    chosen = settings()
    filters = filters_of(options)

    async def main() -> None:
        from trunkline.cli.bus.dead_letter_view import describe as whole

        letters: list[DeadLetter] = []
        shown = 0
        async with bus_client(chosen) as bus:
            total = await bus.count_dead_letters(**filters)
            async with aclosing(bus.dead_letters(limit=limit, brief=not chosen.as_json, **filters)) as found:
                async for letter in found:
                    shown += 1
                    if chosen.as_json:
                        print_json(whole(letter))
                    else:
                        letters.append(letter)
        _print_list(chosen, letters, filters, shown, total)

    run(main(), chosen)


def _print_list(
    chosen: Settings, letters: list[DeadLetter], filters: Mapping[str, Any], shown: int, total: int
) -> None:
    from trunkline.cli.bus.dead_letter_view import print_list

    if not chosen.as_json and not shown:
        write_line(no_match(filters))
        return
    if not chosen.as_json:
        print_list(letters)
    text = f"showing {shown:,} of {total:,}" + (f", the newest; --limit {total} shows all" if shown < total else "")
    print_note(text, {"event": "listed", "shown": shown, "total": total}, "bright_black", as_json=chosen.as_json)


@dead_letters.command()
@click.argument("id", type=_id)
@with_settings
def show(id: int) -> None:
    """Shows one with all that is known of it.

    Why it died, every attempt with its time, duration, peer and error, the message and its payload. Exit code 3 where
    there is none with this id.
    """
    chosen = settings()

    async def main() -> None:
        from trunkline.cli.bus import dead_letter_view

        async with bus_client(chosen) as bus:
            letter = await bus.dead_letter(id)
        if chosen.as_json:
            print_json(dead_letter_view.describe(letter))
        else:
            dead_letter_view.print_whole(letter)

    run(main(), chosen)


@dead_letters.command()
@click.argument("ids", type=_id, nargs=-1, metavar="[ID]...")
@filter_options
@_all
@_dry_run
@click.option("--force", is_flag=True, help=f"Also what was redriven {MAX_REDRIVES} times before.")
@click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest first. Default: 1,000.")
@with_settings
def redrive(ids: tuple[int, ...], all_: bool, dry_run: bool, force: bool, limit: int | None, **options: Any) -> None:
    """Gives dead letters back to where they come from.

    Each goes to its durable subscription alone, behind what waits there, and may be handed out as often as a new
    message; its attempts count on, so that who gets it sees that somebody had it before. What was redriven often
    before stays, so that a message that can never be done does not go in circles. Exit code 1 where one that was named
    by its id stays, 3 where there is none with an id or its subscription was deleted.
    """
    chosen = settings()
    filters = filters_of(options)
    which = selection(ids, filters, all_, "redrive")

    async def main() -> int:
        async with bus_client(chosen) as bus:
            done = await bus.redrive(which, dry_run=dry_run, force=force, limit=limit)
        _print_redriven(chosen, done, filters, dry_run)
        return FAILED if ids and done.guarded else 0

    run(main(), chosen)


def _print_redriven(chosen: Settings, done: Redriven, filters: Mapping[str, Any], dry_run: bool) -> None:
    if chosen.as_json:
        counts = {name: getattr(done, name) for name in ("redriven", "guarded", "orphaned", "remaining")}
        print_json({**counts, "dead_letter_ids": [*done.ids], "dry_run": dry_run})
        return
    if not (done.redriven or done.guarded or done.orphaned or done.remaining):
        write_line(no_match(filters))
        return
    from trunkline.cli.bus.dead_letter_view import ids

    which = f": {ids(done.ids)}" if done.ids else ""
    verb = "would redrive" if dry_run else "redriven"
    click.secho(f"{verb} {counted(done.redriven, 'dead letter')}{which}", fg="green" if done.redriven else None)
    stay = "would stay" if dry_run else "stay"
    if done.guarded:
        text = f"{done.guarded:,} {stay}, guarded: redriven {MAX_REDRIVES} times before; --force redrives them too"
        click.secho(text, fg="yellow")
    if done.orphaned:
        text = f"{done.orphaned:,} {stay}, orphaned: their durable subscription was deleted; create it again, or purge"
        click.secho(text, fg="yellow")
    if done.remaining:
        click.secho(f"{done.remaining:,} more match, beyond the limit; run it again", fg="yellow")


@dead_letters.command()
@click.argument("ids", type=_id, nargs=-1, metavar="[ID]...")
@filter_options
@_all
@_dry_run
@confirmation.yes_option
@with_settings
def purge(ids: tuple[int, ...], all_: bool, dry_run: bool, yes: bool, **options: Any) -> None:
    """Removes dead letters for good, after it asked. Without a terminal --yes must say so.

    Exit code 1 where the answer is no, 3 where there is none with an id.
    """
    chosen = settings()
    filters = filters_of(options)
    which = selection(ids, filters, all_, "purge")

    async def call(dry: bool) -> int:
        async with bus_client(chosen) as bus:
            return await bus.purge(which, dry_run=dry)

    if not dry_run and not yes:
        confirmation.check_can_ask("purge", yes=yes)
        count = answer(call(True), chosen)
        if count:
            what = describe(filters) or ("all there are" if all_ else "as named")
            confirmation.ask(f"Purge {counted(count, 'dead letter')} for good ({what})?", yes=yes)
    purged = answer(call(dry_run), chosen)
    if chosen.as_json:
        print_json({"purged": purged, "dry_run": dry_run})
    elif not purged:
        write_line(no_match(filters))
    else:
        write_line(f"{'would purge' if dry_run else 'purged'} {counted(purged, 'dead letter')}")
