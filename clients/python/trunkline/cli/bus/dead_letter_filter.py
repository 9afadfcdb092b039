"""The options that choose dead letters: by id, by filter, or all of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from trunkline.cli.settings import Command
from trunkline.cli.times import read_past

if TYPE_CHECKING:
    from trunkline import DeadLetterFilter

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
    """Adds the filters to a command, which gets them as keywords; `filters_of` picks them out."""
    for option in reversed(_OPTIONS.values()):
        command = option(command)
    return command


def filters_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the filters that were given: fields of a `DeadLetterFilter`."""
    return {name: options[name] for name in _OPTIONS if options[name] is not None}


def selection(
    ids: Sequence[int], filters: Mapping[str, Any], all_: bool, verb: str
) -> DeadLetterFilter | Sequence[int]:
    """Returns what is to be redriven or purged, as the bus takes it.

    Raises:
        click.UsageError: it is not exactly one of ids, filters, and --all.
    """
    ways = [bool(ids), bool(filters), all_]
    if sum(ways) == 1:
        from trunkline import DeadLetterFilter

        return ids or DeadLetterFilter(**filters)
    if not any(ways):
        raise click.UsageError(f"say what to {verb}: ids, a filter such as --durable NAME, or --all")
    raise click.UsageError(f"say what to {verb} in one way: ids, filters or --all, not several of them")


def describe(filters: Mapping[str, Any]) -> str:
    """Returns the filters as options: `--durable coders --reason expired`; empty for none."""
    return " ".join(
        f"--{_WORDS.get(name, name)} {shlex.quote(value if isinstance(value, str) else f'{value:%Y-%m-%dT%H:%M:%SZ}')}"
        for name, value in filters.items()
    )


def no_match(filters: Mapping[str, Any]) -> str:
    """Returns the text for no match."""
    return f"no dead letter matches {describe(filters)}" if filters else "there are no dead letters"
