"""The outbox of the StateService: as a line of `trunkline services`, and as `trunkline state outbox` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trunkline.cli.output import Marked, counted, print_facts, print_table
from trunkline.cli.times import age_of, json_time, local_time

if TYPE_CHECKING:
    from trunkline import OutboxStatistics


def describe(outbox: OutboxStatistics) -> dict[str, Any]:
    """Returns the figures for scripts."""
    return {
        "bus_address": outbox.bus_address,
        "bus_connected": outbox.bus_connected,
        "waiting": outbox.waiting,
        "waiting_bytes": outbox.waiting_bytes,
        "oldest_at": json_time(outbox.oldest_at) if outbox.oldest_at is not None else None,
        "stuck": outbox.stuck,
        "relayed": outbox.relayed,
        "possible_duplicates": outbox.possible_duplicates,
        "last_stuck": [
            {
                "channel": each.channel,
                "message_id": each.message_id,
                "refused_at": json_time(each.refused_at),
                "reason": each.reason,
                "error": each.error,
            }
            for each in outbox.last_stuck
        ],
    }


def line_of(outbox: OutboxStatistics) -> Marked | str:
    """Returns the figures in one line, marked where somebody has to look."""
    parts = [_waiting(outbox)]
    if not outbox.bus_connected:
        parts.append(f"the bus {outbox.bus_address} is away")
    if outbox.stuck:
        parts.append(f"{counted(outbox.stuck, 'message')} stuck; see trunkline state outbox")
    line = "; ".join(parts)
    return Marked(line, "red" if outbox.stuck else "yellow") if len(parts) > 1 else line


def print_outbox(outbox: OutboxStatistics) -> None:
    """Prints the figures for people, and what is stuck."""
    connected = "connected" if outbox.bus_connected else Marked("away", "yellow")
    print_facts(
        [
            ("bus", outbox.bus_address),
            ("bus is", connected),
            ("waiting", _waiting(outbox)),
            ("relayed", outbox.relayed),
            ("stuck", Marked(outbox.stuck, "red") if outbox.stuck else 0),
            ("possible duplicates", outbox.possible_duplicates),
        ]
    )
    if outbox.last_stuck:
        click.echo()
        print_table(
            ("refused at", "channel", "message", "reason", "error"),
            [
                (local_time(each.refused_at), each.channel, each.message_id, each.reason, each.error)
                for each in outbox.last_stuck
            ],
        )


def _waiting(outbox: OutboxStatistics) -> str:
    waiting = f"{counted(outbox.waiting, 'message')}"
    return waiting if outbox.oldest_at is None else f"{waiting}, the oldest for {age_of(outbox.oldest_at)}"
