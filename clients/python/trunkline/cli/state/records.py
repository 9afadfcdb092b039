"""`trunkline state`: records got, listed, saved, deleted and watched."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

import click

from trunkline.cli.clients import state_client
from trunkline.cli.exit_codes import TIMED_OUT, run
from trunkline.cli.input import STDIN, read_object
from trunkline.cli.output import note_back, note_lost, print_json, print_table, safe, write_line
from trunkline.cli.settings import Command, Settings, settings, with_settings
from trunkline.cli.state.kinds import KINDS, describe, filters_of, id_of, row_of, written_of
from trunkline.cli.state.leases import agents, leases
from trunkline.cli.state.outbox import describe as describe_outbox
from trunkline.cli.state.outbox import print_outbox
from trunkline.errors import RecordNotFoundError, StateError

if TYPE_CHECKING:
    from trunkline import Change, Record

_kind = click.argument("kind", type=click.Choice(list(KINDS)))
_expected = click.option(
    "--expected-revision", type=click.IntRange(0), help="Only if the record has this revision (0: does not exist)."
)


def _filters(command: Command) -> Command:
    for name, text in (
        ("--agent", "Only of this agent."),
        ("--phase", "Only in this phase (workflows)."),
        ("--type", "Only of this type (agents)."),
        ("--status", "Only with this status."),
    ):
        command = click.option(name, help=text)(command)
    return command


@click.group()
@with_settings
def state() -> None:
    """Reads and changes the records of the StateService. A KIND is agent, workflow or task."""


@state.command()
@_kind
@click.argument("id")
@with_settings
def get(kind: str, id: str) -> None:
    """Shows one record as JSON. Exit code 3 where there is none."""
    chosen = settings()

    async def main() -> None:
        async with state_client(chosen, wait_for_ready=True) as manager:
            record = await KINDS[kind].get(manager, id)
        if record is None:
            raise RecordNotFoundError(f"there is no {kind} {id!r}", details={"kind": kind, "id": id})
        _print_record(chosen, record)

    run(main(), chosen)


def _print_record(chosen: Settings, record: Record) -> None:
    if chosen.as_json:
        print_json(describe(record))
        return
    import json

    from rich.console import Console
    from rich.json import JSON

    Console(soft_wrap=True).print(JSON(json.dumps(describe(record)), ensure_ascii=True))


@state.command("list")
@_kind
@_filters
@with_settings
def list_(kind: str, **filters: str | None) -> None:
    """Lists the records of a kind that match, in order of their ids."""
    chosen = settings()
    given = filters_of(kind, filters)

    async def main() -> None:
        async with state_client(chosen, wait_for_ready=True) as manager:
            records = await KINDS[kind].list(manager, given)
        if chosen.as_json:
            for record in records:
                print_json(describe(record))
        else:
            print_table(KINDS[kind].columns, map(row_of, records), right=frozenset({"revision"}))

    run(main(), chosen)


@state.command()
@_kind
@click.argument("record", metavar="[JSON|-]", default=STDIN)
@_expected
@with_settings
def save(kind: str, record: str, expected_revision: int | None) -> None:
    """Saves one record whole, from JSON as `state get` shows it: an argument, or standard input."""
    chosen = settings()
    text = sys.stdin.read() if record == STDIN else record

    async def main() -> None:
        from pydantic import ValidationError

        try:
            made = KINDS[kind].make(read_object(text, "the record"))
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            raise click.UsageError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error
        async with state_client(chosen, wait_for_ready=True) as manager:
            revision = await KINDS[kind].save(manager, made, expected_revision)
        if chosen.as_json:
            print_json({"kind": kind, "id": id_of(made), "revision": revision})
        else:
            write_line(f"saved {kind} {safe(id_of(made))} at revision {revision}")

    run(main(), chosen)


@state.command()
@_kind
@click.argument("id")
@_expected
@with_settings
def delete(kind: str, id: str, expected_revision: int | None) -> None:
    """Deletes one record. Exit code 3 where there is none."""
    chosen = settings()

    async def main() -> None:
        async with state_client(chosen, wait_for_ready=True) as manager:
            deleted = await KINDS[kind].delete(manager, id, expected_revision)
        if not deleted:
            raise RecordNotFoundError(f"there is no {kind} {id!r}", details={"kind": kind, "id": id})
        if chosen.as_json:
            print_json({"kind": kind, "id": id, "deleted": True})
        else:
            write_line(f"deleted {kind} {safe(id)}")

    run(main(), chosen)


@state.command()
@with_settings
def outbox() -> None:
    """Shows the messages of writes that wait for the bus, and those that it refused.

    Exit code 1 where some are stuck.
    """
    chosen = settings()

    async def main() -> int:
        async with state_client(chosen, wait_for_ready=True) as manager:
            figures = (await manager.statistics()).outbox
        if figures is None:
            raise StateError(f"the state service {chosen.state} was given no bus (TRUNKLINE_STATE_BUS_ADDRESS)")
        if chosen.as_json:
            print_json(describe_outbox(figures))
        else:
            print_outbox(figures)
        return 1 if figures.stuck else 0

    run(main(), chosen)


@state.command()
@click.argument("kind", type=click.Choice(list(KINDS)), required=False)
@click.option("--id", help="Only this record.")
@_filters
@click.option("--after-revision", type=click.IntRange(0), help="Begin with the changes after it.")
@click.option("--count", type=click.IntRange(1), help="End after so many records and changes.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="End after this time.")
@with_settings
def watch(
    kind: str | None,
    id: str | None,
    after_revision: int | None,
    count: int | None,
    timeout: float | None,
    **filters: str | None,
) -> None:
    """Shows the records that match (of all kinds where none is named), then each change, until interrupted.

    Exit code 4 where --timeout passes before --count changes came.

    A lost connection is told on standard error and restored by itself; then come the changes since. Exit code 5 where
    the service cannot be reached at the start.
    """
    chosen = settings()
    given = filters_of(kind, filters)
    kinds = [KINDS[kind].name] if kind else []

    async def follow() -> None:
        left = count
        async with (
            state_client(
                chosen,
                wait_for_ready=True,
                on_disconnected=partial(note_lost, as_json=chosen.as_json),
                on_reconnected=partial(note_back, as_json=chosen.as_json),
            ) as manager,
            aclosing(manager.watch(*kinds, id=id, after_revision=after_revision, **given)) as changes,  # type: ignore[type-var]
        ):
            async for change in changes:
                _print_change(chosen, change)
                if left is not None and change.kind is not None:
                    left -= 1
                    if left <= 0:
                        return

    async def main() -> int:
        try:
            async with asyncio.timeout(timeout):
                await follow()
        except TimeoutError:
            return TIMED_OUT if count is not None else 0
        return 0

    run(main(), chosen)


_CHANGE_COLOURS = {"saved": "green", "deleted": "red", "left": "yellow", "synced": "bright_black"}


def _print_change(chosen: Settings, change: Change) -> None:
    if chosen.as_json:
        facts: dict[str, object] = {
            "change": change.type.value,
            "revision": change.revision,
            "kind": change.kind,
            "id": change.id,
        }
        facts |= {"reason": change.reason.value} if change.reason is not None else {}
        if change.record is not None:
            facts["record"] = describe(change.record)
        elif change.kind is not None:
            facts |= written_of(change)
        print_json(facts)
        return
    what = click.style(f"{change.type.value:<7}", fg=_CHANGE_COLOURS.get(change.type.value))
    parts = [f"{change.revision:>8}", what]
    if change.kind is not None:
        parts += [change.kind, safe(change.id or "")]
    if change.reason is not None and change.reason.value != "deleted":
        parts.append(change.reason.value.replace("_", " "))
    if change.record is not None:
        parts += [safe(str(cell)) for cell in row_of(change.record)[2:]]
    elif change.written_by:
        parts.append(f"by {safe(change.written_by)}")
    write_line("  ".join(parts))


state.add_command(leases)
state.add_command(agents)
