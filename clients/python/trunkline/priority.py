"""Lanes: a queue for each priority, the highest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

PRIORITY_LEVELS = 4
MEDIUM_LEVEL = 1
HIGH_LEVEL = 2


class PriorityQueue(Generic[T]):
    """First in, first out within a lane; `head` and `pop` serve the highest lane that has something.

    Lanes are numbered 0 (low) to 3 (critical). It knows no bound: whoever fills it does.
    """

    __slots__ = ("_levels",)

    def __init__(self) -> None:
        self._levels: tuple[deque[T], ...] = tuple(deque() for _ in range(PRIORITY_LEVELS))

    def push(self, level: int, item: T) -> None:
        """Puts an item last in its lane."""
        self._levels[level].append(item)

    def highest(self) -> deque[T] | None:
        """The highest lane that is not empty; its left end is what goes next. None if all are empty."""
        for level in reversed(self._levels):
            if level:
                return level
        return None

    def occupied(self) -> Iterator[deque[T]]:
        """The lanes that are not empty, lowest first."""
        return (level for level in self._levels if level)

    def clear(self) -> None:
        """Forgets everything."""
        for level in self._levels:
            level.clear()

    def __bool__(self) -> bool:
        return any(self._levels)
