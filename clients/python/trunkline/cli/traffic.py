"""`trunkline subscribe`: the messages of a channel or pattern as they pass.

It reads the service's stream itself: a line shows the channel that a message came on, and says where messages were
dropped, which the public client's callback is not told.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from datetime import UTC
from typing import TYPE_CHECKING, Any

import click

from trunkline.cli.outcome import TIMED_OUT, run
from trunkline.cli.output import print_json, safe, write_line
from trunkline.cli.settings import Settings, settings, with_settings

if TYPE_CHECKING:
    from trunkline.v1 import bus_pb2, message_pb2

_TYPE_COLOURS = {
    "task_assignment": "blue",
    "task_result": "green",
    "status_update": "white",
    "error": "red",
    "feedback": "magenta",
    "control": "yellow",
}


@click.command()
@click.argument("pattern", default=">")
@click.option("--group", help="Share the messages with other subscribers of this group.")
@click.option("--count", type=click.IntRange(1), help="End after so many messages.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="End after this time.")
@click.option("--full", is_flag=True, help="On a terminal: do not cut lines to its width.")
@with_settings
def subscribe(pattern: str, group: str | None, count: int | None, timeout: float | None, full: bool) -> None:
    """Shows each message of PATTERN on a line, until interrupted: time, channel, type, sender, payload.

    PATTERN is a channel, where `*` stands for one token and a last `>` for one or more; default `>`, everything. Exit
    code 4 where --timeout passes before --count messages came.
    """
    told = settings()
    printer = _Printer(told, full=full)

    async def main() -> int:
        try:
            async with asyncio.timeout(timeout):
                await _follow(told, pattern, group, count, printer)
        except TimeoutError:
            return TIMED_OUT if count is not None else 0
        return 0

    run(main(), told)


async def _follow(told: Settings, pattern: str, group: str | None, count: int | None, printer: _Printer) -> None:
    from trunkline.cli.wire import bus_stub
    from trunkline.v1 import bus_pb2

    # With a count, credit takes no more than that from the others of a group.
    start = bus_pb2.SubscribeRequest.Start(pattern=pattern, group=group or "", credit=count)
    async with bus_stub(told.bus) as stub:
        call = stub.Subscribe()
        try:
            await call.write(bus_pb2.SubscribeRequest(start=start))
            left = count
            async for response in call:
                kind = response.WhichOneof("frame")
                if kind == "started":
                    printer.started(pattern)
                elif kind == "lagged":
                    printer.lagged(response.lagged.dropped)
                elif kind == "deliveries":
                    printer.deliveries(response.deliveries)
                    if left is not None:
                        left -= len(response.deliveries.messages)
                        if left <= 0:
                            return
        finally:
            call.cancel()


class _Printer:
    """One line for each message. Notes go to standard error, so that a script's input stays clean."""

    def __init__(self, told: Settings, *, full: bool) -> None:
        self._as_json = told.as_json
        terminal = sys.stdout.isatty()
        self._width = shutil.get_terminal_size().columns if terminal and not full else None

    def started(self, pattern: str) -> None:
        """Nothing published after this is missed."""
        self._note(f"subscribed to {safe(pattern)}", {"event": "subscribed", "pattern": pattern}, "bright_black")

    def lagged(self, dropped: int) -> None:
        """This reader was too slow."""
        note = f"lagged: {dropped:,} message{'s' if dropped != 1 else ''} dropped, this reader was too slow"
        self._note(note, {"event": "lagged", "dropped": dropped}, "yellow")

    def deliveries(self, deliveries: bus_pb2.SubscribeResponse.Deliveries) -> None:
        """Messages."""
        for offset, message in enumerate(deliveries.messages):
            if self._as_json:
                from trunkline.cli.describe import describe_message

                print_json(describe_message(message, deliveries.channel, deliveries.first_sequence + offset))
            else:
                write_line(self._line(deliveries.channel, message))

    def _note(self, text: str, facts: dict[str, Any], colour: str) -> None:
        import json

        click.echo(json.dumps(facts) if self._as_json else click.style(f"-- {text}", fg=colour), err=True)

    def _line(self, channel: str, message: message_pb2.Message) -> str:
        from trunkline.cli.describe import payload_text

        kind = message.message_type
        sender = message.sender_id or "-"
        if message.recipient_id:
            sender += f" -> {message.recipient_id}"
        parts = [
            (_clock(message), "bright_black"),
            (channel, "cyan"),
            (kind or "-", _TYPE_COLOURS.get(kind, "white")),
            (sender, "green"),
            (payload_text(message), None),
        ]
        room = self._width
        shown = []
        for text, colour in parts:
            piece = safe(text)
            if room is not None:
                piece = piece if len(piece) <= room else piece[: max(room - 1, 0)] + "…"
                room = max(room - len(piece) - 2, 0)
            shown.append(click.style(piece, fg=colour) if colour else piece)
        return "  ".join(shown)


def _clock(message: message_pb2.Message) -> str:
    """The message's time of day here, to the millisecond."""
    if not message.HasField("timestamp"):
        return "-"
    try:
        time = message.timestamp.ToDatetime(tzinfo=UTC).astimezone()
    except (ValueError, OverflowError):  # a sender's figure beyond the calendar
        return "?"
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03d}"
