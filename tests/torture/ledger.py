"""Ledger: what one agent of a torture run saw, in a file that only grows, and that a SIGKILL cannot take back.

A fact is in the file, by one `write` of the system, before its agent does anything else. The kernel keeps it when the
agent is killed; at most the last line is torn, and what a torn line would have said was not acted on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec


class Sent(msgspec.Struct, frozen=True, tag=True):
    """A publisher is about to publish this, for the first time."""

    message_id: str
    number: int
    """Its place in the publisher's order, from 1: of one ordering key, each comes after the one before has a
    receipt."""
    key: str | None


class Receipted(msgspec.Struct, frozen=True, tag=True):
    """A publisher has the receipt, which says that the message is stored."""

    message_id: str
    duplicate: bool


class Delivered(msgspec.Struct, frozen=True, tag=True):
    """A subscriber of a group was given a message, and is about to begin with it."""

    group: str
    message_id: str
    number: int
    key: str | None
    attempt: int
    at: int
    """Nanoseconds of the machine's monotonic clock, which is one for all processes."""
    intact: bool
    """It is what was published."""


class Done(msgspec.Struct, frozen=True, tag=True):
    """A subscriber has finished with a message, and is about to ack it."""

    group: str
    message_id: str
    at: int


class Saved(msgspec.Struct, frozen=True, tag=True):
    """A writer has the answer that its record is stored."""

    id: str
    revision: int
    value: int
    """Rises with each time that the record is saved."""


class Found(msgspec.Struct, frozen=True, tag=True):
    """What the state service has at the end."""

    id: str
    revision: int
    value: int


class Failing(msgspec.Struct, frozen=True, tag=True):
    """A handler of a group is about to end a message without having done it."""

    group: str
    message_id: str
    attempt: int
    way: str
    for_ever: bool
    """It would do so whenever the message comes."""


class Buried(msgspec.Struct, frozen=True, tag=True):
    """What the bus has as a dead letter of a group at the end."""

    group: str
    message_id: str
    reason: str
    errors: dict[int, str]
    """By attempt."""


class Probed(msgspec.Struct, frozen=True, tag=True):
    """A subscription got what was published after the storm."""

    member: str
    face: str
    """Which of the member's subscriptions."""


Fact = Sent | Receipted | Delivered | Done | Saved | Found | Failing | Buried | Probed

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Fact).decode


class Ledger:
    """Opened by one agent at a time; its next life goes on where the last one was killed."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        whole, _ = _split(path.read_bytes())
        os.ftruncate(self._descriptor, len(whole))

    def write(self, fact: Fact) -> None:
        """Returns when the kernel has it."""
        line = _encode(fact) + b"\n"
        written = os.write(self._descriptor, line)
        if written != len(line):
            raise OSError(f"{written} of {len(line)} bytes of a fact were written")

    def close(self) -> None:
        os.close(self._descriptor)


def read(path: Path, start: int = 0) -> list[Fact]:
    """The facts of a ledger from an offset on, without a torn last line; [] where there is none yet."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(start)
        whole, _ = _split(file.read())
    return [_decode(line) for line in whole.splitlines()]


def read_all(paths: Sequence[Path]) -> list[Fact]:
    """The facts of many ledgers."""
    return [fact for path in paths for fact in read(path)]


def _split(content: bytes) -> tuple[bytes, bytes]:
    """The whole lines, and what follows them."""
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]
