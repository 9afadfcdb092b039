"""What a sidecar holds for its bus, as `trunkline stuck` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from trunkline.cli.output import Marked, counted, print_facts, print_table, write_line
from trunkline.cli.services.services import size
from trunkline.cli.times import age_of, local_time

if TYPE_CHECKING:
    from trunkline import HeldBySidecar


def print_held(held: HeldBySidecar) -> None:
    """Prints it in figures, and by channel; and what the bus refused last."""
    waiting = f"{counted(held.messages, 'message')}, {size(held.bytes)}"
    if held.oldest_at is not None:
        waiting += f", the oldest for {age_of(held.oldest_at)}"
    refused = f"{counted(held.refused, 'message')}, {size(held.refused_bytes)}"
    print_facts(
        [
            ("bus", held.bus_address),
            ("bus is", "connected" if held.bus_connected else Marked("away", "yellow")),
            ("waiting", Marked(waiting, "yellow") if held.messages else 0),
            ("refused for good", Marked(refused, "red") if held.refused else 0),
            ("both at most", f"{counted(held.max_messages, 'message')}, {size(held.max_bytes)}"),
            ("forwarded", held.forwarded),
            ("possible duplicates", held.possible_duplicates),
        ],
        title="What this sidecar holds for the bus",
    )
    write_line("")
    if held.channels:
        rows = [(each.channel, each.messages, size(each.bytes), age_of(each.oldest_at)) for each in held.channels]
        _table("Channels of which most waits", ("channel", "messages", "size", "oldest"), rows, frozenset({"messages"}))
    if held.last_refused:
        columns = ("refused at", "channel", "message", "reason", "error")
        refusals = [
            (local_time(each.refused_at), each.channel, each.message_id, each.reason, each.error)
            for each in held.last_refused
        ]
        _table("Refused for good, the last ones", columns, refusals)


def _table(
    title: str,
    columns: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    right: frozenset[str] = frozenset(),
) -> None:
    write_line(click.style(title, bold=True))
    print_table(columns, rows, right=right)
    write_line("")
