"""How durable subscriptions are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from trunkline.cli.describe import describe_message
from trunkline.cli.output import Marked, safe
from trunkline.cli.times import age_of, json_time, local_time, span

if TYPE_CHECKING:
    from trunkline import DurableInfo, DurableSettings, WaitingMessage

COLUMNS: Final = ("name", "pattern", "waiting", "leased", "retrying", "subscribers", "acked", "redelivered", "dead")

WAITING_COLUMNS: Final = ("sequence", "channel", "type", "published", "attempts", "next")


def waiting_row(each: WaitingMessage) -> Sequence[Any]:
    """Returns the cells under WAITING_COLUMNS."""
    if each.blocked_by_key:
        due = f"behind its key {each.message.ordering_key}"
    else:
        due = local_time(each.due_at) if each.due_at else "now"
    kind = str(each.message.message_type) or "-"
    return each.sequence, each.channel, kind, f"{age_of(each.published_at)} ago", each.attempts, due


def describe_waiting(each: WaitingMessage) -> dict[str, Any]:
    """Returns a waiting message for scripts."""
    return {
        "sequence": each.sequence,
        "channel": each.channel,
        "published_at": json_time(each.published_at),
        "attempts": each.attempts,
        "due_at": json_time(each.due_at) if each.due_at else None,
        "blocked_by_key": each.blocked_by_key,
        "error": each.error,
        "message": describe_message(each.message),
    }


def table_of(found: Sequence[DurableInfo]) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    """Returns the titles and the rows of a table; where there are several replicas, with the one that has each."""
    if any(each.replica for each in found):
        return (*COLUMNS, "replica"), [(*row_of(each), each.replica) for each in found]
    return COLUMNS, [*map(row_of, found)]


def row_of(each: DurableInfo) -> Sequence[Any]:
    """Returns the cells under COLUMNS."""
    return (
        Marked(f"{each.name} (paused)", "yellow") if each.paused else each.name,
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
        "paused": each.paused,
        "replica": each.replica,
        "settings": each.settings.figures(),
    }


def facts_of(each: DurableInfo, dead_letters: int) -> list[tuple[str, Any]]:
    """Returns all of it for people, with how many of its messages are dead letters now."""
    backoff = each.settings.backoff
    dead = f"{dead_letters:,}; trunkline dead-letters list --durable {each.name}"
    return [
        ("pattern", each.pattern),
        *([("paused", Marked("yes; trunkline durable resume " + each.name, "yellow"))] if each.paused else []),
        ("created", f"{local_time(each.created_at)} ({age_of(each.created_at)} ago)"),
        *([("replica", each.replica)] if each.replica else []),
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
        *_limits_of(each.settings),
    ]


def _limits_of(settings: DurableSettings) -> list[tuple[str, Any]]:
    """Returns the limits that there are."""
    limits: list[tuple[str, Any]] = []
    if settings.max_leased:
        limits.append(("most leased", settings.max_leased))
    if settings.rate:
        burst = f", {settings.burst:,} at once" if settings.burst else ""
        limits.append(("rate", f"{settings.rate:g} messages a second{burst}"))
    if settings.key_concurrency > 1:
        limits.append(("of a key at once", settings.key_concurrency))
    return limits


def in_a_line(each: DurableInfo) -> str:
    """Returns its name, pattern and place in one line."""
    place = f"{each.waiting:,} waiting, next sequence {each.next_sequence:,}{', paused' if each.paused else ''}"
    return f"{safe(each.name)} on {safe(each.pattern)}: {place}"
