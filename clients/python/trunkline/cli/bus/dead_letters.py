"""`trunkline dead-letters`: the messages that no subscriber finished, listed, shown, redriven and purged."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from trunkline.cli import confirmation
from trunkline.cli.bus.dead_letter_filter import chosen, describe, filter_options, given, no_match, to_wire
from trunkline.cli.outcome import FAILED, answer, run
from trunkline.cli.output import counted, print_json, print_note, write_line
from trunkline.cli.settings import Settings, settings, with_settings
from trunkline.limits import MAX_PAGE_SIZE, MAX_REDRIVES

if TYPE_CHECKING:
    from trunkline.v1 import dead_letter_pb2

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
    told = settings()
    filters = given(options)

    async def main() -> None:
        from trunkline.cli.bus.dead_letter_view import describe as whole
        from trunkline.cli.wire import bus_pages
        from trunkline.v1 import dead_letter_pb2

        letters: list[dead_letter_pb2.DeadLetter] = []
        shown = total = 0
        request = dead_letter_pb2.ListDeadLettersRequest(
            filter=to_wire(filters), page_size=min(limit, MAX_PAGE_SIZE), brief=not told.as_json
        )
        async with aclosing(bus_pages(told.bus, "ListDeadLetters", request)) as pages:
            async for page in pages:
                total = total or page.total
                shown += len(page.dead_letters)
                if told.as_json:
                    for letter in page.dead_letters:
                        print_json(whole(letter))
                else:
                    letters += page.dead_letters
                if shown >= limit:
                    break
                request.page_size = min(limit - shown, MAX_PAGE_SIZE)
        _print_list(told, letters, filters, shown, total)

    run(main(), told)


def _print_list(
    told: Settings, letters: list[dead_letter_pb2.DeadLetter], filters: Mapping[str, Any], shown: int, total: int
) -> None:
    from trunkline.cli.bus.dead_letter_view import print_list

    if not told.as_json and not total:
        write_line(no_match(filters))
        return
    if not told.as_json:
        print_list(letters)
    text = f"showing {shown:,} of {total:,}" + (f", the newest; --limit {total} shows all" if shown < total else "")
    print_note(text, {"event": "listed", "shown": shown, "total": total}, "bright_black", as_json=told.as_json)


@dead_letters.command()
@click.argument("id", type=_id)
@with_settings
def show(id: int) -> None:
    """Shows one with all that is known of it.

    Why it died, every attempt with its time, duration, peer and error, the message and its payload. Exit code 3 where
    there is none with this id.
    """
    told = settings()

    async def main() -> None:
        from trunkline.cli.bus import dead_letter_view
        from trunkline.cli.wire import call_bus
        from trunkline.v1 import dead_letter_pb2

        request = dead_letter_pb2.GetDeadLetterRequest(dead_letter_id=id)
        found: dead_letter_pb2.GetDeadLetterResponse = await call_bus(told.bus, "GetDeadLetter", request)
        if told.as_json:
            print_json(dead_letter_view.describe(found.dead_letter))
        else:
            dead_letter_view.print_whole(found.dead_letter)

    run(main(), told)


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
    told = settings()
    filters = given(options)
    which = chosen(ids, filters, all_, "redrive")

    async def main() -> int:
        from trunkline.cli.wire import WORK_SECONDS, call_bus
        from trunkline.v1 import dead_letter_pb2

        request = dead_letter_pb2.RedriveDeadLettersRequest(**which, dry_run=dry_run, force=force, limit=limit)
        done: dead_letter_pb2.RedriveDeadLettersResponse = await call_bus(
            told.bus, "RedriveDeadLetters", request, WORK_SECONDS
        )
        _print_redriven(told, done, filters, dry_run)
        return FAILED if ids and done.guarded else 0

    run(main(), told)


def _print_redriven(
    told: Settings, done: dead_letter_pb2.RedriveDeadLettersResponse, filters: Mapping[str, Any], dry_run: bool
) -> None:
    if told.as_json:
        counts = {name: getattr(done, name) for name in ("redriven", "guarded", "orphaned", "remaining")}
        print_json({**counts, "dead_letter_ids": [*done.dead_letter_ids], "dry_run": dry_run})
        return
    if not (done.redriven or done.guarded or done.orphaned or done.remaining):
        write_line(no_match(filters))
        return
    from trunkline.cli.bus.dead_letter_view import ids

    which = f": {ids(done.dead_letter_ids)}" if done.dead_letter_ids else ""
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
    told = settings()
    filters = given(options)
    which = chosen(ids, filters, all_, "purge")

    async def call(dry: bool) -> int:
        from trunkline.cli.wire import WORK_SECONDS, call_bus
        from trunkline.v1 import dead_letter_pb2

        request = dead_letter_pb2.PurgeDeadLettersRequest(**which, dry_run=dry)
        done: dead_letter_pb2.PurgeDeadLettersResponse = await call_bus(
            told.bus, "PurgeDeadLetters", request, WORK_SECONDS
        )
        return done.purged

    if not dry_run and not yes:
        confirmation.check_can_ask("purge", yes=yes)
        count = answer(call(True), told)
        if count:
            what = describe(filters) or ("all there are" if all_ else "as named")
            confirmation.ask(f"Purge {counted(count, 'dead letter')} for good ({what})?", yes=yes)
    purged = answer(call(dry_run), told)
    if told.as_json:
        print_json({"purged": purged, "dry_run": dry_run})
    elif not purged:
        write_line(no_match(filters))
    else:
        write_line(f"{'would purge' if dry_run else 'purged'} {counted(purged, 'dead letter')}")
