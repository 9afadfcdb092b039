"""Promise: figures of our own that stay within a bound, whatever the peers do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure and the most that it may be, or the least.

    Args:
        title: what was measured, for people.
        unit: of the value and the bound.
        value: what came of it.
        bound: the largest value that keeps the promise.
        more_is_better: the bound is the smallest one instead.
    """

    title: str
    unit: str
    value: float
    bound: float
    more_is_better: bool = False

    @property
    def held(self) -> bool:
        """Whether the promise was kept."""
        return self.value >= self.bound if self.more_is_better else self.value <= self.bound


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised of us alone.

    Args:
        name: what `--only` takes.
        measure: measures it with real processes; gets how many runs to take the median of, where one run is short.
    """

    name: str
    measure: Callable[[int], Awaitable[Sequence[Figure]]]
