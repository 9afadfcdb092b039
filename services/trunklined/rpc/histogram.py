"""Histogram: durations counted by bucket in plain integers, cheap enough for every call."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts durations by bucket.

    Args:
        bounds: upper bounds of the buckets in seconds, ascending; one more bucket has no bound.
    """

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """Sum of all durations, in seconds."""

    def observe(self, seconds: float) -> None:
        """Counts one duration; a duration equal to a bound belongs to that bucket."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Returns the buckets for Prometheus: the upper bound as text, and the count of durations up to it. Safe in any
        thread."""
        buckets: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts.copy(), strict=True):
            below += count
            buckets.append((bound, below))
        return buckets
