"""Limits of an identity, and Quota: what it has used of them.

What happens is limited by a rate: a token bucket, which is full at first, holds the burst, and fills at the rate. What
stays is limited by a number. Each replica counts for itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

RATES: Final = ("messages", "bytes", "stored_bytes")
"""What is limited a second: `messages_per_second` and `messages_burst` in the file, and so on."""
NUMBERS: Final = ("streams", "subscriptions", "requests")
"""What is limited in number: what is open at once."""
ASK_AGAIN_SECONDS: Final = 1.0
"""When to try again where nobody can know when something that is open will end."""
MAX_QUOTAS: Final = 4_096
"""Identities whose use is remembered; beyond it those are forgotten that use nothing."""
_EXACT: Final = 1e-9
"""Of a burst: what is missing by rounding alone."""


class Rate(NamedTuple):
    """So much a second, and so much at once."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What an identity may use.

    Args:
        rates: by names of RATES; others are free.
        numbers: by names of NUMBERS; the same. In both, what is infinite is free.
    """

    rates: Mapping[str, Rate] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)


NONE: Final = Limits()


class Cost(NamedTuple):
    """What a call, or an item of a stream, uses of the rates, in their order."""

    messages: int
    bytes: int
    stored_bytes: int = 0


FREE_OF_COST: Final = Cost(0, 0)


def cost_of_messages(encoded: Sequence[bytes], *, stored: bool) -> Cost:
    """Returns what it costs to publish messages."""
    size = sum(map(len, encoded))
    return Cost(len(encoded), size, size if stored else 0)


class Excess(NamedTuple):
    """What was too much.

    Args:
        limit: its name in the file.
        maximum: its value there.
        retry_after: seconds.
    """

    limit: str
    maximum: float
    retry_after: float


class Bucket:
    """A token bucket, in which more than it holds can be owed: what is larger than the burst passes when it is full."""

    __slots__ = ("_filled_at", "_tokens", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._tokens = rate.burst
        self._filled_at = now

    def wait_for(self, amount: float, now: float) -> float:
        """Returns the seconds until so much may be taken; 0: it may be now."""
        per_second, burst = self.rate
        self._tokens = tokens = min(burst, self._tokens + (now - self._filled_at) * per_second)
        self._filled_at = now
        missing = min(amount, burst) - tokens
        return missing / per_second if missing > burst * _EXACT else 0.0

    def take(self, amount: float) -> None:
        """Takes so much, which may leave it owing."""
        self._tokens -= amount

    @property
    def is_full(self) -> bool:
        """Whether it was full when it was asked last."""
        return self._tokens >= self.rate.burst


class Slots:
    """What an identity has open of one kind, and how much of it may be."""

    __slots__ = ("held", "maximum", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.maximum: float | None = None
        self.held = 0

    def excess(self) -> Excess | None:
        """Returns what would be too much with one more; None: there is room."""
        if self.maximum is not None and self.held >= self.maximum:
            return Excess(self.name, self.maximum, ASK_AGAIN_SECONDS)
        return None

    def take(self) -> Excess | None:
        """Counts one more where there is room; else returns what would be too much."""
        excess = self.excess()
        if excess is None:
            self.held += 1
        return excess

    def give_back(self) -> None:
        """Is called when one ends."""
        self.held -= 1


class Quota:
    """What one identity has used, in all its calls and streams.

    Args:
        limits: of now; see `change`.
        clock: seconds.
    """

    __slots__ = ("_buckets", "_clock", "requests", "streams", "subscriptions")

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self.streams, self.subscriptions, self.requests = map(Slots, NUMBERS)
        self.change(limits)

    def change(self, limits: Limits) -> None:
        """Takes up other limits. What is used stays so: what is open beyond them goes on, and no more comes."""
        now, before = self._clock(), self._buckets
        self._buckets = {name: before.get(name) or Bucket(rate, now) for name, rate in limits.rates.items()}
        for name, rate in limits.rates.items():
            self._buckets[name].rate = rate
        for slots in (self.streams, self.subscriptions, self.requests):
            slots.maximum = limits.numbers.get(slots.name)

    @property
    def is_metered(self) -> bool:
        """Whether something is limited by a rate: else `spend` need not be asked."""
        return bool(self._buckets)

    @property
    def is_unused(self) -> bool:
        """Whether a new one would be the same."""
        now = self._clock()
        for bucket in self._buckets.values():
            bucket.wait_for(0, now)
        held = self.streams.held or self.subscriptions.held or self.requests.held
        return not held and all(bucket.is_full for bucket in self._buckets.values())

    def spend(self, cost: Cost) -> Excess | None:
        """Takes what something costs; nothing of it where one of the rates does not allow it, and returns that one: of
        several, the one to wait for longest."""
        now = self._clock()
        due = [
            (bucket, name, amount)
            for name, amount in zip(RATES, cost, strict=True)
            if amount and (bucket := self._buckets.get(name)) is not None
        ]
        excess: Excess | None = None
        for bucket, name, amount in due:
            wait = bucket.wait_for(amount, now)
            if wait and (excess is None or wait > excess.retry_after):
                excess = Excess(f"{name}_per_second", bucket.rate.per_second, wait)
        if excess is None:
            for bucket, _, amount in due:
                bucket.take(amount)
        return excess


class Quotas:
    """The quotas of all identities, by name.

    Args:
        limits_of: returns the limits of an identity, as they are now.
    """

    def __init__(self, limits_of: Callable[[str], Limits]) -> None:
        self._limits_of = limits_of
        self._known: dict[str, Quota] = {}

    def of(self, name: str) -> Quota:
        """Returns the quota of an identity."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= MAX_QUOTAS:
                self._forget()
            found = self._known[name] = Quota(self._limits_of(name))
        return found

    def look(self) -> None:
        """Takes up the limits that are in force now."""
        for name, quota in self._known.items():
            quota.change(self._limits_of(name))

    def _forget(self) -> None:
        """Forgets those that use nothing; where all do, those that have nothing open: memory stays bounded by what is
        open, which has a bound of its own."""
        for is_needed in (lambda quota: not quota.is_unused, _has_open):
            self._known = {name: quota for name, quota in self._known.items() if is_needed(quota)}
            if len(self._known) < MAX_QUOTAS:
                return


def _has_open(quota: Quota) -> bool:
    return bool(quota.streams.held or quota.subscriptions.held or quota.requests.held)
