"""Lanes: a queue for each priority, the highest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

LANES = 4
MEDIUM_LANE = 1
HIGH_LANE = 2


class Lanes(Generic[T]):
    """First in, first out within a lane; `head` and `pop` serve the highest lane that has something.

    Lanes are numbered 0 (low) to 3 (critical). It knows no bound: whoever fills it does.
    """

    __slots__ = ("_lanes",)

    def __init__(self) -> None:
        self._lanes: tuple[deque[T], ...] = tuple(deque() for _ in range(LANES))

    def push(self, lane: int, item: T) -> None:
        """Puts an item last in its lane."""
        self._lanes[lane].append(item)

    def highest(self) -> deque[T] | None:
        """The highest lane that is not empty; its left end is what goes next. None if all are empty."""
        for lane in reversed(self._lanes):
            if lane:
                return lane
        return None

    def occupied(self) -> Iterator[deque[T]]:
        """The lanes that are not empty, lowest first."""
        return (lane for lane in self._lanes if lane)

    def clear(self) -> None:
        """Forgets everything."""
        for lane in self._lanes:
            lane.clear()

    def __bool__(self) -> bool:
        return any(self._lanes)
