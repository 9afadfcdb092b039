"""How durable subscriptions are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from trunkline.cli.output import Marked, safe
from trunkline.cli.times import age_of, json_time, local_time, span

if TYPE_CHECKING:
    from trunkline import DurableInfo

COLUMNS: Final = ("name", "pattern", "waiting", "leased", "retrying", "subscribers", "acked", "redelivered", "dead")


def row_of(each: DurableInfo) -> Sequence[Any]:
    """Returns the cells under COLUMNS."""
    return (
        each.name,
        each.pattern,
        _waiting(each),
        each.leased,
        each.retrying,
        each.subscribers,
        each.acked,
        each.redelivered,
        Marked(each.dead_lettered, "red") if each.dead_lettered else 0,
    )


def _waiting(each: DurableInfo) -> Any:
    untaken = each.waiting + each.retrying and not each.subscribers
    return Marked(each.waiting, "yellow") if untaken else each.waiting


def describe(each: DurableInfo) -> dict[str, Any]:
    """Returns one for scripts; spans in seconds."""
    backoff = each.settings.backoff
    return {
        "name": each.name,
        "pattern": each.pattern,
        "created_at": json_time(each.created_at),
        "waiting": each.waiting,
        "leased": each.leased,
        "retrying": each.retrying,
        "subscribers": each.subscribers,
        "acked": each.acked,
        "redelivered": each.redelivered,
        "dead_lettered": each.dead_lettered,
        "next_sequence": each.next_sequence,
        "settings": {
            "ack_wait": each.settings.ack_wait,
            "max_deliveries": each.settings.max_deliveries,
            "backoff_initial": backoff.initial,
            "backoff_multiplier": backoff.multiplier,
            "backoff_maximum": backoff.maximum,
        },
    }


def facts_of(each: DurableInfo, dead_letters: int) -> list[tuple[str, Any]]:
    """Returns all of it for people, with how many of its messages are dead letters now."""
    backoff = each.settings.backoff
    dead = f"{dead_letters:,}; trunkline dead-letters list --durable {each.name}"
    return [
        ("pattern", each.pattern),
        ("created", f"{local_time(each.created_at)} ({age_of(each.created_at)} ago)"),
        ("subscribers", each.subscribers),
        ("waiting", _waiting(each)),
        ("leased", each.leased),
        ("retrying", each.retrying),
        ("dead letters", Marked(dead, "red") if dead_letters else 0),
        ("since created", f"{each.acked:,} acked, {each.redelivered:,} redelivered, {each.dead_lettered:,} died"),
        ("next sequence", each.next_sequence),
        ("lease", span(each.settings.ack_wait)),
        ("max deliveries", each.settings.max_deliveries),
        (
            "backoff",
            f"{span(backoff.initial)}, times {backoff.multiplier:g} with each attempt, at most {span(backoff.maximum)}",
        ),
    ]


def in_a_line(each: DurableInfo) -> str:
    """Returns its name, pattern and place in one line."""
    return f"{safe(each.name)} on {safe(each.pattern)}: {each.waiting:,} waiting, next sequence {each.next_sequence:,}"
