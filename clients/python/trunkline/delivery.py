"""The words of durable delivery: where it starts, how it delivers, and what a publisher gets back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple

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
    MAX_MAX_DELIVERIES,
    MAX_NAK_DELAY,
    MAX_REDRIVEN,
    MIN_ACK_WAIT,
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
    """How a durable subscription delivers.

    Args:
        ack_wait: seconds that a message is leased, 0.1 to 1 day; the client extends the lease of what it holds.
        max_deliveries: after so many attempts a message becomes a dead letter, 1 to 1,000.
        backoff: how long a failed message waits for its next attempt.
    """

    ack_wait: float = DEFAULT_ACK_WAIT
    max_deliveries: int = DEFAULT_MAX_DELIVERIES
    backoff: Backoff = field(default_factory=Backoff)

    def check(self) -> DurableSettings:
        """Returns itself.

        Raises:
            InvalidMessageError: a figure is out of bounds; details field and value.
        """
        check_between("settings.ack_wait", self.ack_wait, MIN_ACK_WAIT, MAX_ACK_WAIT, " s")
        check_between("settings.max_deliveries", self.max_deliveries, 1, MAX_MAX_DELIVERIES)
        check_between("settings.backoff.initial", self.backoff.initial, 0, MAX_NAK_DELAY, " s")
        check_between("settings.backoff.multiplier", self.backoff.multiplier, 1, MAX_BACKOFF_MULTIPLIER)
        check_between("settings.backoff.maximum", self.backoff.maximum, self.backoff.initial, MAX_NAK_DELAY, " s")
        return self


def check_between(field: str, value: float, lowest: float, highest: float, unit: str = "") -> None:
    """Raises InvalidMessageError where a figure is out of bounds, or no number at all."""
    if not lowest <= value <= highest:  # also true of NaN
        raise InvalidMessageError(
            f"{field} is {value:g}{unit}, it must be between {lowest:g} and {highest:g}{unit}",
            details={"field": field, "value": f"{value:g}"},
        )


def check_limit(limit: int | None) -> int:
    """How many dead letters may be redriven at once. Raises InvalidMessageError where that is out of bounds."""
    if limit is None:
        return DEFAULT_REDRIVEN
    if not 1 <= limit <= MAX_REDRIVEN:
        raise InvalidMessageError(
            f"limit is {limit}, it must be 1 to {MAX_REDRIVEN}", details={"field": "limit", "value": str(limit)}
        )
    return limit
