"""What a sidecar holds for its bus, as `trunkline stuck` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline.cli.output import Marked, counted, print_facts, print_section, write_line
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
        columns = ("channel", "messages", "size", "oldest")
        print_section("Channels of which most waits", columns, rows, right=frozenset({"messages"}))
    if held.last_refused:
        refusals = [
            (local_time(each.refused_at), each.channel, each.message_id, each.reason, each.error)
            for each in held.last_refused
        ]
        told = ("refused at", "channel", "message", "reason", "error")
        print_section("Refused for good, the last ones", told, refusals)
