"""The rights there are, and Need: what a call asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple


class Form(Enum):
    """What the entries of a right are."""

    PATTERNS = "patterns of channels"
    NAMES = "names, where * stands for any text"
    RECORDS = "KIND/ID, where * stands for any kind, and in an id for any text"
    WORDS = "words"


INSPECTED: Final = ("list", "stats", "reflection", "explain", "tail", "trace", "stuck")

RIGHTS: Final[Mapping[str, Form]] = {
    **dict.fromkeys(("publish", "subscribe", "request", "respond"), Form.PATTERNS),
    **dict.fromkeys(("tasks.submit", "tasks.see", "tasks.cancel"), Form.PATTERNS),
    **dict.fromkeys(
        [f"durable.{verb}" for verb in ("create", "join", "settle", "see", "seek", "manage", "delete")], Form.NAMES
    ),
    **dict.fromkeys([f"dead_letters.{verb}" for verb in ("see", "redrive", "purge")], Form.NAMES),
    **dict.fromkeys([f"records.{verb}" for verb in ("read", "write", "watch", "list")], Form.RECORDS),
    **dict.fromkeys(("leases.acquire", "leases.see"), Form.NAMES),
    "inspect": Form.WORDS,
}
"""What the access file can give, by name."""

ALL: Final = ""
"""As an object of a need: all there are. No name and no id is empty."""
EVERY_CHANNEL: Final = ">"


class Need(NamedTuple):
    """What a call asks for.

    Args:
        right: one of RIGHTS.
        object: of a channel's right a pattern, all of whose channels are meant; of another a name (ALL: all there are);
            of records `kind/id` (`kind/`: all of the kind).
    """

    right: str
    object: str

    def __str__(self) -> str:
        shown = self.object if self.object and not self.object.endswith("/") else f"{self.object}*"
        return f"{self.right} {shown}"


FREE: Final[tuple[Need, ...]] = ()
"""What needs no right: it is part of something that needed one."""

Rule = Callable[[Any], Iterable[Need]]
"""What a request, or an item of a stream, asks for."""
Rules = Mapping[str, Rule]
"""Rules by the full names of the wire's messages. What has no rule is denied."""
