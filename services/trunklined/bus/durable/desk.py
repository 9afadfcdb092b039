"""Desk: what durable subscriptions work with, and their settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from trunklined.bus.engines.engine import JournalEngine
from trunklined.bus.staging import Staging

if TYPE_CHECKING:
    from trunklined.bus.durable.subscription import DurableSubscription


class Settings(NamedTuple):
    """How one delivers; times in seconds."""

    ack_wait: float
    max_deliveries: int
    backoff_initial: float
    backoff_multiplier: float
    backoff_maximum: float

    def delay(self, attempt: int) -> float:
        """How long a message waits after an attempt, from 1."""
        if not self.backoff_initial:
            return 0.0
        try:
            return float(min(self.backoff_maximum, self.backoff_initial * self.backoff_multiplier ** (attempt - 1)))
        except OverflowError:
            return self.backoff_maximum


class Description(NamedTuple):
    """What an encoded message says of itself."""

    message_id: str
    message_type: str
    sender_id: str
    correlation_id: str


@dataclass(slots=True)
class Desk:
    """What a durable subscription works with; one for all of them."""

    engine: JournalEngine
    staging: Staging
    clock: Callable[[], float]
    describe: Callable[[bytes], Description]
    want: Callable[[DurableSubscription], None]
    """Gives a subscription its turn: it may have something to hand out."""
    kick: Callable[[], None]
    """Something was staged."""
    last_parcel: int = 0
    acked: int = 0
    redelivered: int = 0
    dead_lettered: int = 0
    lost_to_limits: int = 0

    def next_parcel(self) -> int:
        """The number of a new parcel."""
        self.last_parcel += 1
        return self.last_parcel
