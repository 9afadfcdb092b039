"""`trunkline subscribe`: the messages of a channel or pattern as they pass.

It reads the service's stream itself: a line shows the channel that a message came on, and says where messages were
dropped, which the public client's callback is not told.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
from datetime import UTC
from typing import TYPE_CHECKING, Any

import click

from trunkline.cli.outcome import TIMED_OUT, run
from trunkline.cli.output import note_back, note_lost, print_json, print_note, safe, write_line
from trunkline.cli.settings import Settings, settings, with_settings
from trunkline.errors import BusDisconnectedError, TrunklineError
from trunkline.limits import RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN

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

    A lost connection is told on standard error and restored by itself; what was published meanwhile is not shown. Exit
    code 5 where the bus cannot be reached at the start.
    """
    told = settings()
    printer = _Printer(told, full=full)

    async def main() -> int:
        try:
            async with asyncio.timeout(timeout):
                await _Following(pattern, group or "", count, printer).run(told.bus)
        except TimeoutError:
            return TIMED_OUT if count is not None else 0
        return 0

    run(main(), told)


class _Following:
    """One subscription, which outlives its connection once it has started."""

    def __init__(self, pattern: str, group: str, count: int | None, printer: _Printer) -> None:
        self._pattern = pattern
        self._group = group
        self._left = count
        self._printer = printer
        self._bound = RECONNECT_DELAY_MIN
        self._begun = False
        self._lost = False

    async def run(self, address: str) -> None:
        """Returns when as many messages came as were asked for.

        Raises:
            TrunklineError: the service cannot be reached at the start, or refuses the subscription.
        """
        from trunkline.cli.wire import bus_stub

        while True:
            try:
                async with bus_stub(address) as stub:
                    if await self._stream(stub):
                        return
                    raise BusDisconnectedError("the service ended the stream")
            except BusDisconnectedError as error:
                if not self._begun:
                    raise
                if not self._lost:
                    self._printer.lost(error)
                self._lost = True
            await asyncio.sleep(random.uniform(0, self._bound))
            self._bound = min(self._bound * 2, RECONNECT_DELAY_MAX)

    async def _stream(self, stub: Any) -> bool:
        """One life of the stream; whether all came that was asked for."""
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
                    self._printer.deliveries(response.deliveries)
                    if self._left is not None:
                        self._left -= len(response.deliveries.messages)
                        if self._left <= 0:
                            return True
        finally:
            call.cancel()
        return False

    def _started(self) -> None:
        if self._begun:
            self._printer.back()
        else:
            self._printer.started(self._pattern)
        self._begun, self._lost, self._bound = True, False, RECONNECT_DELAY_MIN


class _Printer:
    """One line for each message. Notes go to standard error, so that a script's input stays clean."""

    def __init__(self, told: Settings, *, full: bool) -> None:
        self._as_json = told.as_json
        terminal = sys.stdout.isatty()
        self._width = shutil.get_terminal_size().columns if terminal and not full else None

    def started(self, pattern: str) -> None:
        """Nothing published after this is missed."""
        self._note(f"subscribed to {safe(pattern)}", {"event": "subscribed", "pattern": pattern}, "bright_black")

    def lost(self, error: TrunklineError) -> None:
        """The connection is gone; it comes back by itself."""
        note_lost(error, as_json=self._as_json)

    def back(self) -> None:
        """Subscribed again."""
        note_back(as_json=self._as_json)

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
        print_note(text, facts, colour, as_json=self._as_json)

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
