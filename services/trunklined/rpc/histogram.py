"""Histogram: durations counted by bucket in plain integers, cheap enough for every call."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts durations by bucket.

    Args:
        bounds: upper bounds of the buckets in seconds, rising; what is above the last has a bucket of its own.
    """

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """Sum of all, in seconds."""

    def observe(self, seconds: float) -> None:
        """Counts one duration; one that equals a bound is in its bucket."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: upper bound as text, and how many were at most that. May be called in
        another thread."""
        buckets: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts.copy(), strict=True):
            below += count
            buckets.append((bound, below))
        return buckets
