"""`trunkline subscribe`: the messages of a pattern as they pass, or those that a durable subscription keeps."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import click

from trunkline.cli.bus.durables import POSITION
from trunkline.cli.bus.following import Following
from trunkline.cli.bus.message_lines import Printer
from trunkline.cli.moments import read_start
from trunkline.cli.outcome import INTERRUPTED, TIMED_OUT, run
from trunkline.cli.settings import Settings, settings, with_settings
from trunkline.errors import SubscriptionNotFoundError

if TYPE_CHECKING:
    from trunkline.delivery import Start

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
    told = settings()
    if durable is not None and group is not None:
        raise click.UsageError("--group and --durable do not go together: all who name the same --durable share it")
    if durable is None and (start is not None or no_ack):
        raise click.UsageError(f"{'--no-ack' if no_ack else '--start'} needs --durable")
    printer = Printer(told, full=full)

    async def main() -> int:
        following: Following
        if durable is None:
            following = LiveFollowing(pattern or EVERYTHING, group or "", count, printer)
        else:
            from trunkline.cli.bus.durable_following import DurableFollowing

            known = pattern or await _pattern_of(told, durable)
            following = DurableFollowing(known, durable, start or "new", count, printer, acks=not no_ack)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, following.stop, INTERRUPTED)
        if timeout is not None:
            loop.call_later(timeout, following.stop, TIMED_OUT if count is not None else 0)
        return await following.run(told.bus)

    run(main(), told)


async def _pattern_of(told: Settings, durable: str) -> str:
    from trunkline.cli.wire import call_bus
    from trunkline.v1 import durable_pb2

    request = durable_pb2.GetDurableSubscriptionRequest(name=durable)
    try:
        found: durable_pb2.GetDurableSubscriptionResponse = await call_bus(told.bus, "GetDurableSubscription", request)
    except SubscriptionNotFoundError as error:
        raise SubscriptionNotFoundError(f"{error.message}: say a PATTERN to make it", details=error.details) from error
    return found.subscription.pattern


class LiveFollowing(Following):
    """A live subscription: what passes from now on."""

    def __init__(self, pattern: str, group: str, count: int | None, printer: Printer) -> None:
        super().__init__(printer)
        self._pattern = pattern
        self._group = group
        self._left = count

    async def _live(self, stub: Any) -> None:
        from trunkline.v1 import bus_pb2

        # With a count, credit takes no more than that from the others of a group.
        start = bus_pb2.SubscribeRequest.Start(
            pattern=self._pattern, group=self._group, credit=self._left, observer=True
        )
        call = stub.Subscribe()
        try:
            await call.write(bus_pb2.SubscribeRequest(start=start))
            async for response in call:
                kind = response.WhichOneof("frame")
                if kind == "started":
                    self._started()
                elif kind == "lagged":
                    self._printer.lagged(response.lagged.dropped)
                elif kind == "deliveries":
                    deliveries = response.deliveries
                    for sequence, message in enumerate(deliveries.messages, deliveries.first_sequence):
                        self._printer.message(message, deliveries.channel, sequence)
                    self._count(len(deliveries.messages))
        finally:
            call.cancel()

    def _count(self, shown: int) -> None:
        if self._left is not None:
            self._left -= shown
            if self._left <= 0:
                self.stop(0)

    def _say_started(self) -> None:
        self._printer.started(self._pattern)
