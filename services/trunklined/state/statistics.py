"""Counters of the state service: plain integers, cheap enough for every call."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from trunklined.rpc.histogram import Histogram

COMMIT_BOUNDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    10.0,
)
"""Upper bounds of the commit latency's buckets, in seconds."""


@dataclass(slots=True)
class Counts:
    """The counts since the start of the program. `saves` and `deletes` are committed writes."""

    saves: int = 0
    gets: int = 0
    lists: int = 0
    deletes: int = 0
    commits: int = 0
    leases_acquired: int = 0
    lease_renewals: int = 0
    expired: int = 0
    ended_with_lease: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """Failed operations, by reason."""
    commit_latency: Histogram = field(default_factory=lambda: Histogram(COMMIT_BOUNDS))

    def committed(self, seconds: float) -> None:
        """Counts one commit and the seconds it took."""
        self.commits += 1
        self.commit_latency.observe(seconds)
