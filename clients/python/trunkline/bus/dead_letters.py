"""The words of dead letters: messages that no subscriber of a durable subscription could finish."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypedDict

from trunkline.bus.waiting import check_span
from trunkline.channels import check_name, check_pattern
from trunkline.errors import InvalidMessageError
from trunkline.limits import MAX_REDRIVEN
from trunkline.models import AgentMessage


class DeadLetterReason(StrEnum):
    """Why no subscriber finished a message."""

    MAX_DELIVERIES = "max_deliveries"
    """It was handed out as often as allowed."""
    TERMINATED = "terminated"
    """A subscriber said that it can never be done."""
    EXPIRED = "expired"
    """Its TTL was over before it was done."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time that a message was handed out."""

    number: int
    """From 1."""
    delivered_at: datetime
    ended_at: datetime
    peer: str
    """The subscriber as the service saw it: its address, and before it the name in its certificate where it had one;
    empty in memory."""
    error: str
    """What it said, or "lease expired"."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that no subscriber could finish, and why."""

    id: int
    """The bus's name of it, from 1."""
    durable: str
    """The durable subscription that it was for, and below its pattern."""
    pattern: str
    channel: str
    """Where the message was published, and below its sequence then."""
    sequence: int
    published_at: datetime
    dead_at: datetime
    reason: DeadLetterReason
    error: str
    """What was said last: the reason of a terminate, the error of the last attempt."""
    attempts: tuple[Attempt, ...]
    redrives: int
    """How often it was redriven before."""
    message: AgentMessage


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Chooses dead letters: all that is set must match; nothing set means all.

    Args:
        durable: name of the durable subscription.
        channel: channel or pattern of where the message was published.
        reason, message_id, message_type, sender_id: equal to these.
        error_contains: text that the error contains.
        since, before: when it became one: from the one, before the other; with a time zone.
    """

    durable: str | None = None
    channel: str | None = None
    reason: DeadLetterReason | None = None
    message_id: str | None = None
    message_type: str | None = None
    sender_id: str | None = None
    error_contains: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    def check(self) -> DeadLetterFilter:
        """Returns itself.

        Raises:
            InvalidChannelError: the durable name or the channel's pattern is malformed.
            InvalidMessageError: a time has no time zone, or the span ends before it begins.
        """
        if self.durable is not None:
            check_name("durable", self.durable)
        if self.channel is not None:
            check_pattern(self.channel)
        check_span(self.since, self.before)
        return self


class DeadLetterChoice(TypedDict, total=False):
    """The fields of a `DeadLetterFilter`, as keyword arguments."""

    durable: str | None
    channel: str | None
    reason: DeadLetterReason | None
    message_id: str | None
    message_type: str | None
    sender_id: str | None
    error_contains: str | None
    since: datetime | None
    before: datetime | None


WhichDeadLetters = DeadLetterFilter | Iterable[int]
"""Dead letters by a filter, or by their ids."""


@dataclass(frozen=True, slots=True)
class Redriven:
    """What a redrive did, or would do."""

    redriven: int
    """How many were given back."""
    guarded: int
    """How many stay since they were redriven too often."""
    orphaned: int
    """How many stay since their durable subscription was deleted."""
    remaining: int
    """How many that match are beyond the limit."""
    ids: tuple[int, ...]
    """Of those that were given back."""


def check_ids(ids: Iterable[int]) -> tuple[int, ...]:
    """Each id once, in order. Raises InvalidMessageError where there is none, or too many."""
    chosen = tuple(dict.fromkeys(ids))
    if not 1 <= len(chosen) <= MAX_REDRIVEN:
        raise InvalidMessageError(
            f"{len(chosen)} dead letters are named, it must be 1 to {MAX_REDRIVEN}",
            details={"field": "ids", "value": str(len(chosen))},
        )
    return chosen
