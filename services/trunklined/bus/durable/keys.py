"""OrderingKeys: of each ordering key, the messages that are not done, and whether others wait behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class OrderingKeys:
    """While as many messages of a key as may be are handed out or wait for another attempt, the cursor passes the
    others of that key over. So a key that has passed any over is a small cursor of its own.

    Args:
        concurrency: how many messages of a key may be handed out at once.
    """

    __slots__ = ("_current", "_start", "concurrency")

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self._current: dict[str, tuple[int, ...]] = {}
        """Of each busy key, the sequences that are not done."""
        self._start: dict[str, int] = {}
        """Of each key that has others waiting, a sequence below which none of them is."""

    def load(self, busy: Iterable[tuple[str, int]], passed_over: Mapping[str, int]) -> None:
        """Takes up what was open: the sequences that are not done, in order, and from where on others wait."""
        for key, sequence in busy:
            self._current[key] = (*self._current.get(key, ()), sequence)
        for key, start in passed_over.items():
            if key in self._current:
                self._start[key] = max(start, self._current[key][-1] + 1)

    def clear(self) -> None:
        """Forgets everything."""
        self._current.clear()
        self._start.clear()

    def begin(self, key: str, sequence: int) -> bool:
        """A message of a key was looked at: True if it may be handed out, False if it waits behind others."""
        if key in self._start:
            return False
        if not self.has_room(key):
            self._start[key] = sequence
            return False
        self.go_on(key, sequence)
        return True

    def has_room(self, key: str) -> bool:
        """Whether one more of a key may be handed out."""
        return len(self._current.get(key, ())) < self.concurrency

    def go_on(self, key: str, sequence: int) -> None:
        """A message of a key is one that is not done; of those that were passed over, the first."""
        self._current[key] = (*self._current.get(key, ()), sequence)
        if key in self._start:
            self._start[key] = sequence + 1

    def end(self, key: str, sequence: int) -> bool:
        """A message of a key is done; False if the others of its key did not wait for it."""
        current = self._current.get(key, ())
        if sequence not in current:
            return False
        left = tuple(each for each in current if each != sequence)
        if left:
            self._current[key] = left
        else:
            del self._current[key]
        return True

    def waits(self, key: str, sequence: int) -> bool:
        """Whether a message of a key that was looked at was passed over."""
        return sequence >= self._start.get(key, sequence + 1)

    def start(self, key: str) -> int:
        """The sequence from which on messages of a key were passed over; 0: none was."""
        return self._start.get(key, 0)

    def none_waits(self, key: str) -> None:
        """None of a key waits that was passed over."""
        self._start.pop(key, None)

    def blocking(self) -> list[tuple[str, int]]:
        """Returns the keys behind which messages wait that were passed over, each with the first of it that is not
        done."""
        return [(key, self._current[key][0]) for key in self._start if self._current.get(key)]

    def with_room(self) -> list[str]:
        """Returns the keys that have passed messages over though one more may be handed out."""
        return [key for key in self._start if self.has_room(key)]

    def oldest_waiting(self, unless: int) -> int:
        """A sequence below which nothing that was passed over lies; `unless` where nothing was."""
        return min(self._start.values(), default=unless)
