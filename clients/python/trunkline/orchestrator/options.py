"""The arguments of commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trunkline.orchestrator.errors import CommandError
from trunkline.orchestrator.limits import DEFAULT_PS_PAGE, MAX_AGENTS, MAX_EVENTS_SHOWN


def no_arguments(args: Sequence[str]) -> None:
    """Checks that there are none."""
    if args:
        raise CommandError(f"the command takes no argument, not {args[0]!r}")


def one_name(args: Sequence[str]) -> str:
    """The name of an agent."""
    if len(args) != 1 or not args[0]:
        raise CommandError(f"the command takes the name of one agent, not {list(args)!r}")
    return args[0]


def perhaps_a_name(args: Sequence[str]) -> str | None:
    """The name of an agent, or None where none is named."""
    return one_name(args) if args else None


def history_options(args: Sequence[str]) -> dict[str, Any]:
    """`--last N`, `--agent NAME`, `--type TYPE`, `--after-seq N`; also as `last=N`."""
    given = _options(args, ("last", "agent", "type", "after-seq"))
    return {
        "last": _number(given, "last", 1, MAX_EVENTS_SHOWN),
        "agent": given.get("agent"),
        "type": given.get("type"),
        "after_seq": _number(given, "after-seq", 0, 2**63 - 1) or 0,
    }


def page_options(args: Sequence[str]) -> dict[str, Any]:
    """`--page-size N` and `--page-token NAME`; without any of them, all in one."""
    given = _options(args, ("page-size", "page-token"))
    size = _number(given, "page-size", 1, MAX_AGENTS)
    return {"page_size": size or (DEFAULT_PS_PAGE if given else None), "page_token": given.get("page-token", "")}


def _options(args: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    words = iter(args)
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("_", "-")
        if name not in names:
            raise CommandError(f"there is no option {word!r}; there are {', '.join('--' + each for each in names)}")
        if not equals:
            value = next(words, "")
        if not value:
            raise CommandError(f"option --{name} needs a value")
        given[name] = value
    return given


def _number(given: dict[str, str], name: str, lowest: int, highest: int) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or not lowest <= int(text) <= highest:
        raise CommandError(f"--{name} is {text[:40]!r}, it must be a whole number between {lowest} and {highest}")
    return int(text)
