"""The words of what waits in a durable subscription: was not handed out yet, or waits for another attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from trunkline.channels import check_pattern
from trunkline.errors import InvalidMessageError
from trunkline.limits import MAX_SETTLED_MESSAGES
from trunkline.models import AgentMessage


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message that waits.

    Attributes:
        channel, sequence: where the message was published, and its place in the order of the bus.
        published_at: when the bus took it.
        attempts: how often it was handed out before.
        due_at: when it may be handed out again. None: as soon as it is its turn.
        blocked_by_key: it waits until an earlier message of its ordering key is done.
        error: what was said of its last attempt.
        message: the message.
    """

    channel: str
    sequence: int
    published_at: datetime
    attempts: int
    due_at: datetime | None
    blocked_by_key: bool
    error: str
    message: AgentMessage


@dataclass(frozen=True, slots=True)
class WaitingFilter:
    """Chooses waiting messages: all that is set must match; nothing set means all.

    Args:
        sequences, message_ids: one of these; at most 10,000 of each.
        channel: channel or pattern of where the message was published.
        message_type, sender_id, ordering_key: equal to these.
        since, before: when the bus took it: from the one, before the other; with a time zone.
    """

    sequences: Sequence[int] | None = None
    message_ids: Sequence[str] | None = None
    channel: str | None = None
    message_type: str | None = None
    sender_id: str | None = None
    ordering_key: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    def check(self) -> WaitingFilter:
        """Returns itself.

        Raises:
            InvalidChannelError: the channel's pattern is malformed.
            InvalidMessageError: sequences or ids are empty, or too many; a time has no time zone, or the span ends
                before it begins.
        """
        for name, entries in (("sequences", self.sequences), ("message_ids", self.message_ids)):
            if entries is not None and not 1 <= len(entries) <= MAX_SETTLED_MESSAGES:
                raise InvalidMessageError(
                    f"{name} has {len(entries)} entries, it must have 1 to {MAX_SETTLED_MESSAGES}",
                    details={"field": name, "value": str(len(entries))},
                )
        if self.channel is not None:
            check_pattern(self.channel)
        check_span(self.since, self.before)
        return self


def check_span(since: datetime | None, before: datetime | None) -> None:
    """Raises InvalidMessageError where a time has no time zone, or a span ends before it begins."""
    for name, time in (("since", since), ("before", before)):
        if time is not None and time.tzinfo is None:
            raise InvalidMessageError(
                f"{name} is {time.isoformat()}, which has no time zone", details={"field": name, "value": str(time)}
            )
    if since is not None and before is not None and before <= since:
        raise InvalidMessageError(
            f"before is {before.isoformat()}, which is not after since, {since.isoformat()}",
            details={"field": "before", "value": str(before)},
        )


class WaitingChoice(TypedDict, total=False):
    """The fields of a `WaitingFilter`, as keyword arguments."""

    sequences: Sequence[int] | None
    message_ids: Sequence[str] | None
    channel: str | None
    message_type: str | None
    sender_id: str | None
    ordering_key: str | None
    since: datetime | None
    before: datetime | None


@dataclass(frozen=True, slots=True)
class CancelledMessages:
    """What a cancel did, or would do."""

    cancelled: int
    """How many are handed out no more."""
    leased: int
    """How many that match are leased, and stay with their subscribers."""


@dataclass(frozen=True, slots=True)
class MovedMessages:
    """What a move did, or would do."""

    moved: int
    """How many wait in the other durable subscription now."""
    leased: int
    """How many that match are leased, and stay with their subscribers."""
    unmatched: int
    """How many stay since the other one's pattern does not match their channel."""
