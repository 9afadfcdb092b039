"""Window: the message ids that were stored lately, so that the same message is stored once on one channel."""

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
    """Bounded in time and in number. An id is one of its channel: on another channel it is another message.

    Args:
        seconds: how long an id is known.
        maximum: how many ids at the most; beyond it the oldest are forgotten sooner.
    """

    def __init__(self, seconds: float, maximum: int) -> None:
        self.seconds = seconds
        self._maximum = maximum
        self._known: dict[tuple[str, str], tuple[Place, int]] = {}
        """By channel and message id."""
        self._order: deque[tuple[float, str, Sequence[str]]] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, channel: str, message_id: str, now: float) -> Known | None:
        """Returns the message that was stored on a channel under an id."""
        known = self._known.get((channel, message_id))
        return Known(*known) if known is not None and known[0].known_at >= now - self.seconds else None

    def learn(
        self, channel: str, message_ids: Sequence[str], first_sequence: int, time: float, known_at: float
    ) -> None:
        """Notes messages of one channel, with sequences that follow each other, that were stored."""
        place = Place(first_sequence, time, known_at)
        places = zip(repeat(place), range(len(message_ids)), strict=False)
        self._known.update(zip(zip(repeat(channel), message_ids, strict=False), places, strict=True))
        self._order.append((known_at, channel, message_ids))
        while self._order and (len(self._known) > self._maximum or self._order[0][0] < known_at - self.seconds):
            self._drop(*self._order.popleft())

    def forget(self, channel: str, message_ids: Sequence[str]) -> None:
        """Forgets messages that were not stored after all."""
        for message_id in message_ids:
            self._known.pop((channel, message_id), None)

    def _drop(self, known_at: float, channel: str, message_ids: Sequence[str]) -> None:
        for key in zip(repeat(channel), message_ids, strict=False):
            known = self._known.get(key)
            if known is not None and known[0].known_at <= known_at:  # else it is known again, from later
                del self._known[key]
