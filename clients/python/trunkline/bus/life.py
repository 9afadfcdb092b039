"""The life of a request, as who asked sees it: accepted, progress and parts in any number, then exactly one end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trunkline.models import AgentMessage


@dataclass(frozen=True, slots=True)
class LifeEvent:
    """One event in a life.

    Args:
        number: its place, from 1, rising. Where one is left out, a progress was replaced by a newer one before it was
            read.
        time: when the bus took it.
    """

    number: int
    time: datetime

    @property
    def is_end(self) -> bool:
        """Whether nothing comes behind it."""
        return False


@dataclass(frozen=True, slots=True)
class Accepted(LifeEvent):
    """Somebody began with it. A second one says that another began anew: its parts follow from the first.

    Args:
        responder: who, by a name of its own choice.
        attempt: the how many-th attempt it is, from 1.
    """

    responder: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Progress(LifeEvent):
    """How far it is.

    Args:
        fraction: from 0 to 1, rising within an attempt. None: unknown.
        text: for people.
    """

    fraction: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Part(LifeEvent):
    """A piece of the outcome, in order."""

    message: AgentMessage

    @property
    def payload(self) -> dict[str, Any]:
        """The JSON object that it is; raises InvalidMessageError where it is none."""
        return self.message.payload

    @property
    def text(self) -> str:
        """The text that it is."""
        return (self.message.data or b"").decode()


@dataclass(frozen=True, slots=True)
class Result(LifeEvent):
    """The end: it is done.

    Args:
        message: what came of it.
        channel: where it was published; empty: it was an answer to who asked alone.
    """

    message: AgentMessage
    channel: str

    @property
    def payload(self) -> dict[str, Any]:
        """The JSON object that it is; raises InvalidMessageError where it is none."""
        return self.message.payload

    @property
    def is_end(self) -> bool:
        """Whether nothing comes behind it."""
        return True


@dataclass(frozen=True, slots=True)
class Failure(LifeEvent):
    """The end: it failed.

    Args:
        type: what kind of error, such as "ValueError".
        text: what went wrong, for people.
        code: for programs. Empty: none.
        retryable: whether the same may be asked again with hope.
        traceback: where it was raised, if that was asked for.
    """

    type: str
    text: str
    code: str
    retryable: bool
    traceback: str

    @property
    def is_end(self) -> bool:
        """Whether nothing comes behind it."""
        return True


@dataclass(frozen=True, slots=True)
class Cancelled(LifeEvent):
    """The end: it was called off.

    Args:
        by: who did it, as far as it is known.
        reason: why.
    """

    by: str
    reason: str

    @property
    def is_end(self) -> bool:
        """Whether nothing comes behind it."""
        return True
