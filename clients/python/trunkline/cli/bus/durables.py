"""`trunkline durable`: durable subscriptions listed, shown, created, moved and deleted."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from trunkline.cli import confirmation
from trunkline.cli.bus.durable_view import COLUMNS, describe, facts_of, in_a_line, row_of
from trunkline.cli.moments import read_span, read_start, to_duration
from trunkline.cli.outcome import answer, run
from trunkline.cli.output import print_facts, print_json, print_table, safe, write_line
from trunkline.cli.settings import Command, Settings, settings, with_settings
from trunkline.limits import MAX_PAGE_SIZE

if TYPE_CHECKING:
    from trunkline.delivery import Start
    from trunkline.v1 import durable_pb2

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
    told = settings()

    async def main() -> None:
        from trunkline.cli.wire import bus_pages
        from trunkline.v1 import durable_pb2

        request = durable_pb2.ListDurableSubscriptionsRequest(page_size=MAX_PAGE_SIZE)
        async with aclosing(bus_pages(told.bus, "ListDurableSubscriptions", request)) as pages:
            found = [each async for page in pages for each in page.subscriptions]
        if told.as_json:
            for each in found:
                print_json(describe(each))
        elif found:
            print_table(COLUMNS, map(row_of, found), right=frozenset(COLUMNS[2:]))
        else:
            write_line("there are no durable subscriptions")

    run(main(), told)


@durable.command()
@click.argument("name")
@with_settings
def show(name: str) -> None:
    """Shows one with its settings, and how many dead letters it has now.

    Exit code 3 where there is none of this name.
    """
    told = settings()

    async def main() -> None:
        from trunkline.cli.wire import call_bus
        from trunkline.v1 import dead_letter_pb2

        found = await _get(told, name)
        request = dead_letter_pb2.ListDeadLettersRequest(page_size=1, brief=True)
        request.filter.durable = name
        letters: dead_letter_pb2.ListDeadLettersResponse = await call_bus(told.bus, "ListDeadLetters", request)
        if told.as_json:
            print_json({**describe(found), "dead_letters": letters.total})
        else:
            print_facts(facts_of(found, letters.total), title=name)

    run(main(), told)


async def _get(told: Settings, name: str) -> durable_pb2.DurableSubscription:
    from trunkline.cli.wire import call_bus
    from trunkline.v1 import durable_pb2

    request = durable_pb2.GetDurableSubscriptionRequest(name=name)
    found: durable_pb2.GetDurableSubscriptionResponse = await call_bus(told.bus, "GetDurableSubscription", request)
    return found.subscription


def _how_it_delivers(command: Command) -> Command:
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
@_how_it_delivers
@with_settings
def create(name: str, pattern: str, start: Start, **options: Any) -> None:
    """Makes a durable subscription: from now on it keeps what is stored on PATTERN.

    One that is there with the same pattern and settings is left as it is; with others it is refused.
    """
    told = settings()

    async def main() -> None:
        from trunkline.bus.durable_codec import position_to_wire
        from trunkline.cli.wire import call_bus
        from trunkline.v1 import durable_pb2

        request = durable_pb2.CreateDurableSubscriptionRequest(
            name=name, pattern=pattern, position=position_to_wire(start), settings=_settings_to_wire(**options)
        )
        made: durable_pb2.CreateDurableSubscriptionResponse = await call_bus(
            told.bus, "CreateDurableSubscription", request
        )
        if told.as_json:
            print_json({**describe(made.subscription), "created": made.created})
        else:
            did = "created" if made.created else "there was already"
            write_line(f"{did} {in_a_line(made.subscription)}")

    run(main(), told)


def _settings_to_wire(
    ack_wait: float | None,
    max_deliveries: int | None,
    backoff_initial: float | None,
    backoff_multiplier: float | None,
    backoff_maximum: float | None,
) -> durable_pb2.DurableSettings | None:
    """What was said; the service knows the defaults. None where nothing was."""
    from trunkline.v1 import durable_pb2

    wire = durable_pb2.DurableSettings(max_deliveries=max_deliveries)
    if ack_wait is not None:
        wire.ack_wait.CopyFrom(to_duration(ack_wait))
    if backoff_initial is not None:
        wire.backoff.initial.CopyFrom(to_duration(backoff_initial))
    if backoff_multiplier is not None:
        wire.backoff.multiplier = backoff_multiplier
    if backoff_maximum is not None:
        wire.backoff.maximum.CopyFrom(to_duration(backoff_maximum))
    return wire if wire.ByteSize() else None


@durable.command()
@click.argument("name")
@click.option("--to", "position", type=read_start, metavar="POSITION", required=True, help=f"Where to: {POSITION}")
@with_settings
def seek(name: str, position: Start) -> None:
    """Moves a durable subscription forwards or back: it hands out what comes from there on.

    What is leased or waits for another attempt is given up: acks for it are refused as stale.
    """
    told = settings()

    async def main() -> None:
        from trunkline.bus.durable_codec import position_to_wire
        from trunkline.cli.wire import call_bus
        from trunkline.v1 import durable_pb2

        request = durable_pb2.SeekDurableSubscriptionRequest(name=name, position=position_to_wire(position))
        moved: durable_pb2.SeekDurableSubscriptionResponse = await call_bus(
            told.bus, "SeekDurableSubscription", request
        )
        if told.as_json:
            print_json(describe(moved.subscription))
        else:
            write_line(f"moved {in_a_line(moved.subscription)}")

    run(main(), told)


@durable.command()
@click.argument("name")
@confirmation.yes_option
@with_settings
def delete(name: str, yes: bool) -> None:
    """Deletes a durable subscription and everything that waits for it, after it asked; its dead letters stay.

    Without a terminal --yes must say so. Exit code 1 where the answer is no, 3 where there is none.
    """
    told = settings()
    confirmation.check_can_ask("delete", yes=yes)
    if not yes:
        found = answer(_get(told, name), told)
        waits = f"{found.waiting:,} waiting, {found.leased:,} leased, {found.retrying:,} retrying"
        confirmation.ask(f"Delete {safe(name)} on {safe(found.pattern)} for good ({waits})?", yes=yes)

    async def main() -> None:
        from trunkline.cli.wire import call_bus
        from trunkline.v1 import durable_pb2

        request = durable_pb2.DeleteDurableSubscriptionRequest(name=name)
        await call_bus(told.bus, "DeleteDurableSubscription", request)
        if told.as_json:
            print_json({"name": name, "deleted": True})
        else:
            write_line(f"deleted {safe(name)}")

    run(main(), told)
