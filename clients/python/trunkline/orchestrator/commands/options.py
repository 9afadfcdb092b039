"""Parsing of the arguments of commands.

Options are given as `--last 5`, `--last=5` or `last=5`, or all together as one JSON object, `{"last": 5}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from trunkline.orchestrator.errors import CommandError
from trunkline.orchestrator.limits import DEFAULT_PS_PAGE, MAX_AGENTS, MAX_EVENTS_SHOWN

_MAX_SEQUENCE = 2**63 - 1


def no_arguments(args: Sequence[str]) -> None:
    """Checks that there are no arguments. Raises CommandError."""
    if args:
        raise CommandError(f"the command takes no argument, not {_short(args[0])}")


def one_name(args: Sequence[str]) -> str:
    """Returns the name of an agent. Raises CommandError."""
    if len(args) != 1 or not args[0]:
        given = ", ".join(map(_short, args)) or "none"
        raise CommandError(f"the command takes the name of one agent; given: {given}")
    return args[0]


def perhaps_a_name(args: Sequence[str]) -> str | None:
    """Returns the name of an agent, or None where there is no argument. Raises CommandError."""
    return one_name(args) if args else None


def history_options(args: Sequence[str]) -> dict[str, Any]:
    """Parses `--last N`, `--first N`, `--agent NAME`, `--type TYPE` and `--after-seq N`. Raises CommandError."""
    given = _options(args, ("last", "first", "agent", "type", "after-seq"))
    if "last" in given and "first" in given:
        raise CommandError("--last and --first do not go together")
    return {
        "last": _number(given, "last", 1, MAX_EVENTS_SHOWN),
        "first": _number(given, "first", 1, MAX_EVENTS_SHOWN),
        "agent": given.get("agent"),
        "type": given.get("type"),
        "after_seq": _number(given, "after-seq", 0, _MAX_SEQUENCE) or 0,
    }


def agent_option(args: Sequence[str]) -> dict[str, Any]:
    """Parses `--agent NAME`. Other options of `history` are accepted and ignored: older clients send them."""
    return {"agent": history_options(args)["agent"]}


def page_options(args: Sequence[str]) -> dict[str, Any]:
    """Parses `--page-size N` and `--page-token TOKEN`; a size of None means all in one page. Raises CommandError."""
    given = _options(args, ("page-size", "page-token"))
    size = _number(given, "page-size", 1, MAX_AGENTS)
    return {"page_size": size or (DEFAULT_PS_PAGE if given else None), "page_token": given.get("page-token", "")}


def _options(args: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    words = iter(args)
    for word in words:
        for name, value in _pairs(word):
            option = name.removeprefix("--").replace("_", "-")
            if option not in names:
                raise CommandError(
                    f"there is no option {_short(name)}; there are {', '.join('--' + each for each in names)}"
                )
            text = next(words, "") if value is None else value
            if not text:
                raise CommandError(f"option --{option} needs a value")
            given[option] = text
    return given


def _pairs(word: str) -> list[tuple[str, str | None]]:
    """Returns the options of one argument. A value of None means that the value is the next argument."""
    if word.startswith("{"):
        try:
            fields = json.loads(word)
        except (ValueError, RecursionError) as error:
            raise CommandError(f"the options {_short(word)} are no JSON: {error}") from None
        return [(name, _text(name, value)) for name, value in fields.items() if value is not None]
    name, equals, value = word.partition("=")
    return [(name, value if equals else None)]


def _text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise CommandError(f"{_short(name)} must be text or a whole number, not {_short(json.dumps(value))}")
    return str(value)


def _number(given: dict[str, str], name: str, lowest: int, highest: int) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(highest))
    if not is_number or not lowest <= int(text) <= highest:
        raise CommandError(f"--{name} is {_short(text)}, it must be a whole number between {lowest} and {highest}")
    return int(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
