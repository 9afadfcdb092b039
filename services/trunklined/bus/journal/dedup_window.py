"""Window: the message ids that were stored lately, so that the same message is stored once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple


class Place(NamedTuple):
    """Where and when a batch of messages was stored."""

    first_sequence: int
    time: float
    known_at: float
    """From when on its ids are known for a while: when it was stored, or when the journal was opened."""


class Known(NamedTuple):
    """A message that is there already."""

    place: Place
    offset: int

    @property
    def sequence(self) -> int:
        """Its sequence."""
        return self.place.first_sequence + self.offset


class DedupWindow:
    """Bounded in time and in number.

    Args:
        seconds: how long an id is known.
        maximum: how many ids at the most; beyond it the oldest are forgotten sooner.
    """

    def __init__(self, seconds: float, maximum: int) -> None:
        self.seconds = seconds
        self._maximum = maximum
        self._known: dict[str, tuple[Place, int]] = {}
        self._order: deque[tuple[float, Sequence[str]]] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, message_id: str, now: float) -> Known | None:
        """The message that was stored under an id."""
        known = self._known.get(message_id)
        return Known(*known) if known is not None and known[0].known_at >= now - self.seconds else None

    def learn(self, message_ids: Sequence[str], first_sequence: int, time: float, known_at: float) -> None:
        """Messages whose sequences follow each other were stored."""
        place = Place(first_sequence, time, known_at)
        self._known.update(zip(message_ids, zip(repeat(place), range(len(message_ids)), strict=False), strict=True))
        self._order.append((known_at, message_ids))
        while self._order and (len(self._known) > self._maximum or self._order[0][0] < known_at - self.seconds):
            self._drop(*self._order.popleft())

    def forget(self, message_ids: Sequence[str]) -> None:
        """They were not stored after all."""
        for message_id in message_ids:
            self._known.pop(message_id, None)

    def _drop(self, known_at: float, message_ids: Sequence[str]) -> None:
        for message_id in message_ids:
            known = self._known.get(message_id)
            if known is not None and known[0].known_at <= known_at:  # else it is known again, from later
                del self._known[message_id]
