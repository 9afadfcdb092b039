"""Which dead letters a command means: by id, by filter, or all of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from trunkline.cli.moments import read_past, to_timestamp
from trunkline.cli.settings import Command

if TYPE_CHECKING:
    from trunkline.v1 import dead_letter_pb2

REASONS: Final = ("max_deliveries", "terminated", "expired")

_OPTIONS: Final = {
    "durable": click.option("--durable", metavar="NAME", help="Of this durable subscription."),
    "channel": click.option("--channel", metavar="PATTERN", help="Published on a channel that matches."),
    "reason": click.option("--reason", type=click.Choice(REASONS), help="Why no subscriber finished it."),
    "message_id": click.option("--message-id", metavar="ID", help="Of the message with this id."),
    "message_type": click.option("--type", "message_type", help="Of messages of this type."),
    "sender_id": click.option("--sender", "sender_id", help="Of messages from this sender."),
    "error_contains": click.option("--error", "error_contains", metavar="TEXT", help="Whose error contains this text."),
    "since": click.option(
        "--since", type=read_past, metavar="TIME", help="Dead since this time, or for at most so long (2h)."
    ),
    "before": click.option(
        "--before", type=read_past, metavar="TIME", help="Dead before this time, or for longer than that (2h)."
    ),
}
_WORDS: Final = {"message_type": "type", "sender_id": "sender", "error_contains": "error", "message_id": "message-id"}


def filter_options(command: Command) -> Command:
    """Adds the filters; a command gets them as keywords, and `given` picks them out."""
    for option in reversed(_OPTIONS.values()):
        command = option(command)
    return command


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The filters that were given."""
    return {name: options[name] for name in _OPTIONS if options[name] is not None}


def chosen(ids: Sequence[int], filters: Mapping[str, Any], all_: bool, verb: str) -> dict[str, Any]:
    """How a request names what is to be redriven or purged: its fields `dead_letter_ids` or `filter`.

    Raises:
        click.UsageError: it is not exactly one of ids, filters, and --all.
    """
    ways = [bool(ids), bool(filters), all_]
    if sum(ways) == 1:
        return {"dead_letter_ids": ids} if ids else {"filter": to_wire(filters)}
    if not any(ways):
        raise click.UsageError(f"say what to {verb}: ids, a filter such as --durable NAME, or --all")
    raise click.UsageError(f"say what to {verb} in one way: ids, filters or --all, not several of them")


def to_wire(filters: Mapping[str, Any]) -> dead_letter_pb2.DeadLetterFilter:
    """As the service takes it."""
    from trunkline.v1 import dead_letter_pb2

    fields = dict(filters)
    if "reason" in fields:
        fields["reason"] = f"DEAD_LETTER_REASON_{fields['reason'].upper()}"
    for name in fields.keys() & {"since", "before"}:
        fields[name] = to_timestamp(fields[name])
    return dead_letter_pb2.DeadLetterFilter(**fields)


def describe(filters: Mapping[str, Any]) -> str:
    """The filters as they may be said again: `--durable coders --reason expired`; empty: all."""
    return " ".join(
        f"--{_WORDS.get(name, name)} {shlex.quote(value if isinstance(value, str) else f'{value:%Y-%m-%dT%H:%M:%SZ}')}"
        for name, value in filters.items()
    )


def no_match(filters: Mapping[str, Any]) -> str:
    """What is said where there is none."""
    return f"no dead letter matches {describe(filters)}" if filters else "there are no dead letters"
