"""`trunkline subscribe`: the messages of a pattern as they pass, or those that a durable subscription keeps."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from trunkline.cli.bus.durables import POSITION
from trunkline.cli.bus.followers import AckingFollower, Follower, HoldingFollower, LiveFollower
from trunkline.cli.bus.message_lines import Printer
from trunkline.cli.clients import bus_client
from trunkline.cli.exit_codes import run
from trunkline.cli.settings import settings, with_settings
from trunkline.cli.times import read_start
from trunkline.delivery import Start
from trunkline.errors import SubscriptionNotFoundError

if TYPE_CHECKING:
    from trunkline import MessageBus

EVERYTHING = ">"


@click.command()
@click.argument("pattern", required=False)
@click.option("--group", help="Share the messages with other subscribers of this group.")
@click.option("--durable", metavar="NAME", help="Take part in this durable subscription; made where there is none.")
@click.option("--start", type=read_start, metavar="POSITION", help=f"Where one that is made here starts: {POSITION}")
@click.option("--no-ack", is_flag=True, help="With --durable: only look; what was shown is given back at the end.")
@click.option("--count", type=click.IntRange(1), help="End after so many messages.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="End after this time.")
@click.option("--full", is_flag=True, help="On a terminal: do not cut lines to its width.")
@with_settings
def subscribe(
    pattern: str | None,
    group: str | None,
    durable: str | None,
    start: Start | None,
    no_ack: bool,
    count: int | None,
    timeout: float | None,
    full: bool,
) -> None:
    """Shows each message of PATTERN on a line, until interrupted: time, channel, type, sender, payload.

    PATTERN is a channel, where `*` stands for one token and a last `>` for one or more; default `>`, everything. Exit
    code 4 where --timeout passes before --count messages came.

    With --durable it works as one of the subscribers of that name: it takes messages from the others, acks each one
    that it has written out, and shows the attempt where it is not the first. PATTERN need not be said of one that is
    there. With --no-ack it holds what it shows, at most 1,024 messages, and gives it back when it ends, without an
    attempt counted; meanwhile nobody else gets it, nor what has the same ordering key. Without --durable it gets copies
    of what passes, and takes nothing from anybody.

    A lost connection is told on standard error and restored by itself; what was published meanwhile is not shown, but
    of a durable subscription it is. Exit code 5 where the bus cannot be reached at the start.
    """
    chosen = settings()
    if durable is not None and group is not None:
        raise click.UsageError("--group and --durable do not go together: all who name the same --durable share it")
    if durable is None and (start is not None or no_ack):
        raise click.UsageError(f"{'--no-ack' if no_ack else '--start'} needs --durable")
    printer = Printer(chosen, full=full)

    async def main() -> int:
        async with bus_client(chosen, on_disconnected=printer.lost, on_reconnected=printer.back) as bus:
            follower: Follower
            if durable is None:
                follower = LiveFollower(bus, pattern or EVERYTHING, count, printer, group)
            else:
                kind = HoldingFollower if no_ack else AckingFollower
                known = pattern or await _pattern_of(bus, durable)
                follower = kind(bus, known, count, printer, durable, "new" if start is None else start)
            return await follower.run(timeout)

    run(main(), chosen, log_level=logging.ERROR)  # what the client warns of, the printer says in its own words


async def _pattern_of(bus: MessageBus, durable: str) -> str:
    try:
        return (await bus.durable(durable)).pattern
    except SubscriptionNotFoundError as error:
        raise SubscriptionNotFoundError(f"{error.message}: say a PATTERN to make it", details=error.details) from error
