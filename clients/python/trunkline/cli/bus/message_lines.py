"""Messages as they pass, a line each."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from trunkline.cli.output import counted, note_back, note_lost, print_json, print_note, safe, write_line
from trunkline.cli.settings import Settings
from trunkline.cli.times import time_of_day
from trunkline.errors import StaleAckError, TrunklineError

if TYPE_CHECKING:
    from trunkline import AgentMessage

_TYPE_COLOURS: Final = {
    "task_assignment": "blue",
    "task_result": "green",
    "status_update": "white",
    "error": "red",
    "feedback": "magenta",
    "control": "yellow",
}


class Printer:
    """One line for each message. Notes go to standard error, so that a script's input stays clean."""

    def __init__(self, chosen: Settings, *, full: bool) -> None:
        self._as_json = chosen.as_json
        terminal = sys.stdout.isatty()
        self._width = shutil.get_terminal_size().columns if terminal and not full else None

    def started(self, pattern: str, durable: str = "", what_becomes: str = "") -> None:
        """Says that it is subscribed: nothing published after this is missed."""
        text, facts = f"subscribed to {safe(pattern)}", {"event": "subscribed", "pattern": pattern}
        if durable:
            text, facts = f"{text} as {safe(durable)}: {what_becomes}", {**facts, "durable": durable}
        self.note(text, facts, "bright_black")

    def lost(self, error: TrunklineError) -> None:
        """Says that the connection is lost; it is restored by itself."""
        note_lost(error, as_json=self._as_json)

    def back(self) -> None:
        """Says that it is subscribed again."""
        note_back(as_json=self._as_json)

    def lagged(self, dropped: int) -> None:
        """Says how many messages were dropped because this reader was too slow."""
        note = f"lagged: {counted(dropped, 'message')} dropped, this reader was too slow"
        self.note(note, {"event": "lagged", "dropped": dropped}, "yellow")

    def left_out(self, messages: int, total: int) -> None:
        """Says how many messages the bus left out, which were beyond the rate."""
        text = f"left out {counted(messages, 'message')}, {total:,} in all"
        self.note(text, {"event": "left_out", "messages": messages, "total": total}, "yellow")

    def refused(self, error: StaleAckError) -> None:
        """Says which messages of a durable subscription were handed on to others."""
        sequences = error.details["sequences"]
        facts = {"event": "refused", "sequences": sequences, "reason": error.message}
        self.note(f"{counted(len(sequences), 'message')} lost to others: {safe(error.message)}", facts, "yellow")

    def message(self, message: AgentMessage, attempt: int = 0) -> None:
        """Shows a message; of a durable subscription with its attempt, from 1."""
        if self._as_json:
            from trunkline.cli.describe import describe_message

            print_json(describe_message(message) | ({"attempt": attempt} if attempt else {}))
        else:
            write_line(self._line(message, attempt))

    def note(self, text: str, facts: dict[str, Any], colour: str) -> None:
        """Says something beside the messages."""
        print_note(text, facts, colour, as_json=self._as_json)

    def _line(self, message: AgentMessage, attempt: int) -> str:
        from trunkline.cli.describe import payload_text

        kind = str(message.message_type)
        sender = message.sender_id or "-"
        if message.recipient_id:
            sender += f" -> {message.recipient_id}"
        parts = [
            (_clock(message), "bright_black"),
            (message.channel, "cyan"),
            (kind or "-", _TYPE_COLOURS.get(kind, "white")),
            (sender, "green"),
            *([(f"attempt {attempt}", "yellow")] if attempt > 1 else []),
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


def _clock(message: AgentMessage) -> str:
    """Returns the message's time of day here, to the millisecond."""
    try:
        return time_of_day(message.timestamp)
    except (ValueError, OverflowError):  # a sender's figure that is beyond the calendar here
        return "?"
