"""The words of durable delivery: where it starts, how it delivers, and what a publisher gets back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal, NamedTuple, TypedDict

from trunkline.errors import InvalidMessageError
from trunkline.limits import (
    DEFAULT_ACK_WAIT,
    DEFAULT_BACKOFF_INITIAL,
    DEFAULT_BACKOFF_MAXIMUM,
    DEFAULT_BACKOFF_MULTIPLIER,
    DEFAULT_MAX_DELIVERIES,
    DEFAULT_REDRIVEN,
    MAX_ACK_WAIT,
    MAX_BACKOFF_MULTIPLIER,
    MAX_BURST,
    MAX_DELIVER_AHEAD,
    MAX_KEY_CONCURRENCY,
    MAX_LEASED_MESSAGES,
    MAX_MAX_DELIVERIES,
    MAX_NAK_DELAY,
    MAX_ORDERING_KEY_BYTES,
    MAX_RATE,
    MAX_REDRIVEN,
    MIN_ACK_WAIT,
    MIN_RATE,
)

Start = Literal["new", "all"] | int | datetime
"""Where a durable subscription starts: at what is published from now on, at the oldest message that is kept, at a
sequence (from 1), or at a time (with a time zone)."""


class Durability(StrEnum):
    """What became of a published message, from the least to the most."""

    MEMORY = "memory"
    """In the memory of the service: gone when it ends."""
    STORED = "stored"
    """In the journal, synced to disk."""
    REPLICATED = "replicated"
    """Stored on more than one machine."""


class Receipt(NamedTuple):
    """What a publisher gets back for a stored message."""

    sequence: int
    """Its place in the order of what the service took, from 1; 0 if it was past its TTL and dropped, or if a sidecar
    holds it."""
    time: datetime
    """When the service took it."""
    durability: Durability
    """What was really reached."""
    duplicate: bool = False
    """The message id was stored already a short time ago, and nothing was stored again; sequence and time are the
    first one's."""
    held_by_sidecar: bool = False
    """The bus was away; the sidecar stored it, and hands it on in order when the bus is back."""
    matched: int = 0
    """How many subscriptions it was for when it was taken: live ones, a group counts once, and durable ones. Of several
    replicas, each other one with live subscriptions that match counts once. 0: nobody heard it; or nothing was
    published, as it was a duplicate, is held, was past its TTL, or waits for its time."""


@dataclass(frozen=True, slots=True)
class RequestTerms:
    """What is wished of a request beside its timeout.

    Args:
        idle_timeout: seconds in which a sign of life must come from who holds it. None: none need come.
        wait_for_responder: wait where nobody can answer.
        repeatable: it may be begun again by another where who held it is gone.
        outlives_asker: it goes on where who asked does not wait any more.
        traceback: a failure shall bring its traceback.
    """

    idle_timeout: float | None = None
    wait_for_responder: bool = False
    repeatable: bool = False
    outlives_asker: bool = False
    traceback: bool = False


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a message waits for its next attempt: `initial` seconds, times `multiplier` with each attempt, at most
    `maximum` seconds. An initial 0 means at once."""

    initial: float = DEFAULT_BACKOFF_INITIAL
    multiplier: float = DEFAULT_BACKOFF_MULTIPLIER
    maximum: float = DEFAULT_BACKOFF_MAXIMUM

    def delay(self, attempt: int) -> float:
        """Seconds after the attempt of that number, from 1."""
        if not self.initial:
            return 0.0
        try:
            return min(self.maximum, self.initial * self.multiplier ** (attempt - 1))
        except OverflowError:
            return self.maximum


@dataclass(frozen=True, slots=True)
class DurableSettings:
    """How a durable subscription delivers. The limits hold over all its subscribers together; 0 means no limit.

    Args:
        ack_wait: seconds that a message is leased, 0.1 to 1 day; the client extends the lease of what it holds.
        max_deliveries: after so many attempts a message becomes a dead letter, 1 to 1,000.
        backoff: how long a failed message waits for its next attempt.
        max_leased: how many messages may be leased at once, at most 65,536.
        rate: how many messages are handed out a second, 0.001 to 1,000,000; further attempts count too.
        burst: how many may go at once where none went for a while, at most 1,000,000; 0: what the rate brings in a
            second, at least 1. Of no effect without a rate.
        key_concurrency: how many messages of one ordering key may be leased or wait for another attempt at once, 1 to
            1,000.
    """

    ack_wait: float = DEFAULT_ACK_WAIT
    max_deliveries: int = DEFAULT_MAX_DELIVERIES
    backoff: Backoff = field(default_factory=Backoff)
    max_leased: int = 0
    rate: float = 0.0
    burst: int = 0
    key_concurrency: int = 1

    def check(self) -> DurableSettings:
        """Returns itself.

        Raises:
            InvalidMessageError: a figure is out of bounds; details field and value.
        """
        for name, value in self.figures().items():
            check_setting(name, value)
        check_between("settings.backoff.maximum", self.backoff.maximum, self.backoff.initial, MAX_NAK_DELAY, " s")
        return self

    def figures(self) -> dict[str, float]:
        """Returns each figure by the name that `update_durable` has for it."""
        backoff = self.backoff
        return {
            "ack_wait": self.ack_wait,
            "max_deliveries": self.max_deliveries,
            "backoff_initial": backoff.initial,
            "backoff_multiplier": backoff.multiplier,
            "backoff_maximum": backoff.maximum,
            "max_leased": self.max_leased,
            "rate": self.rate,
            "burst": self.burst,
            "key_concurrency": self.key_concurrency,
        }


class DurableChanges(TypedDict, total=False):
    """The figures of `DurableSettings` and its `Backoff`, as keyword arguments; None: as it is."""

    ack_wait: float | None
    max_deliveries: int | None
    backoff_initial: float | None
    backoff_multiplier: float | None
    backoff_maximum: float | None
    max_leased: int | None
    rate: float | None
    burst: int | None
    key_concurrency: int | None


_BOUNDS: Final[Mapping[str, tuple[float, float, str]]] = {
    "ack_wait": (MIN_ACK_WAIT, MAX_ACK_WAIT, " s"),
    "max_deliveries": (1, MAX_MAX_DELIVERIES, ""),
    "backoff_initial": (0, MAX_NAK_DELAY, " s"),
    "backoff_multiplier": (1, MAX_BACKOFF_MULTIPLIER, ""),
    "backoff_maximum": (0, MAX_NAK_DELAY, " s"),
    "max_leased": (0, MAX_LEASED_MESSAGES, ""),
    "rate": (MIN_RATE, MAX_RATE, " messages/s"),
    "burst": (0, MAX_BURST, ""),
    "key_concurrency": (1, MAX_KEY_CONCURRENCY, ""),
}


def check_setting(name: str, value: float) -> None:
    """Raises InvalidMessageError where a figure of `DurableSettings` is out of bounds, whatever the others are."""
    if name != "rate" or value != 0:
        check_between(f"settings.{name.replace('backoff_', 'backoff.')}", value, *_BOUNDS[name])


def check_between(field: str, value: float, lowest: float, highest: float, unit: str = "") -> None:
    """Raises InvalidMessageError where a figure is out of bounds, or no number at all."""
    if not lowest <= value <= highest:  # also true of NaN
        raise InvalidMessageError(
            f"{field} is {value:g}{unit}, it must be between {lowest:g} and {highest:g}{unit}",
            details={"field": field, "value": f"{value:g}"},
        )


def check_delivery(ordering_key: str | None, deliver_at: datetime | None, deliver_after: float | None) -> None:
    """Raises InvalidMessageError where a stored message cannot be delivered as it is wished."""
    if ordering_key is not None and not 1 <= len(ordering_key.encode()) <= MAX_ORDERING_KEY_BYTES:
        raise InvalidMessageError(
            f"ordering_key has {len(ordering_key.encode())} bytes, it must have 1 to {MAX_ORDERING_KEY_BYTES}",
            details={"field": "ordering_key", "value": ordering_key[:64]},
        )
    if deliver_at is not None and deliver_after is not None:
        raise InvalidMessageError(
            "deliver_at and deliver_after are both set", details={"field": "deliver_after", "value": str(deliver_after)}
        )
    if deliver_at is not None:
        if deliver_at.tzinfo is None:
            raise InvalidMessageError(
                f"deliver_at is {deliver_at.isoformat()}, which has no time zone",
                details={"field": "deliver_at", "value": str(deliver_at)},
            )
        ahead = (deliver_at - datetime.now(UTC)).total_seconds()
        if ahead > MAX_DELIVER_AHEAD:
            check_between("deliver_at", ahead, 0, MAX_DELIVER_AHEAD, " s ahead")
    if deliver_after is not None:
        check_between("deliver_after", deliver_after, 0, MAX_DELIVER_AHEAD, " s")


def check_limit(limit: int | None) -> int:
    """How many dead letters may be redriven at once. Raises InvalidMessageError where that is out of bounds."""
    if limit is None:
        return DEFAULT_REDRIVEN
    if not 1 <= limit <= MAX_REDRIVEN:
        raise InvalidMessageError(
            f"limit is {limit}, it must be 1 to {MAX_REDRIVEN}", details={"field": "limit", "value": str(limit)}
        )
    return limit
