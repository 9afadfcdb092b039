"""Refusals: how often whom was refused what, for metrics."""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

OTHERS: Final = "other"
"""What all identities are called beyond those that have a name of their own."""
UNKNOWN: Final = "unknown"
"""What a caller is called that could not prove who it is."""

Why = Literal["identity", "permission", "limit"]


class Refusals:
    """Counts since the start. The first identities that are refused something are counted by name: a counter never
    falls, as it would where the most refused ones of each moment had a name.

    Args:
        names: how many.
    """

    def __init__(self, names: int) -> None:
        self._names = names
        self._known: set[str] = {UNKNOWN}
        self._counts: Counter[tuple[str, Why]] = Counter()

    def add(self, name: str, why: Why) -> None:
        """Counts one."""
        if name not in self._known:
            if len(self._known) > self._names:
                name = OTHERS
            else:
                self._known.add(name)
        self._counts[name, why] += 1

    def counts(self) -> list[tuple[str, Why, int]]:
        """Returns what was counted: identity, why, how often. May be called in any thread."""
        return [(name, why, count) for (name, why), count in self._counts.copy().items()]
