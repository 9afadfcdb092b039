"""OrderingKeys: of each ordering key, the message that is not done, and whether others wait behind it."""

from __future__ import annotations


class OrderingKeys:
    """While one message of a key is handed out or waits for another attempt, the cursor passes the others of that key
    over. So a key that has passed any over is a small cursor of its own, whose position is the message that is not
    done.

    Args:
        current: of each busy key, that message's sequence.
        passed_over: the keys that have others waiting.
    """

    __slots__ = ("_current", "_passed_over")

    def __init__(self, current: dict[str, int], passed_over: set[str]) -> None:
        self._current = current
        self._passed_over = {key for key in passed_over if key in current}

    def begin(self, key: str, sequence: int) -> bool:
        """A message of a key was looked at: True if it may be handed out, False if it waits behind another."""
        if key in self._current:
            self._passed_over.add(key)
            return False
        self._current[key] = sequence
        return True

    def is_current(self, key: str, sequence: int) -> bool:
        """Whether that is the message that the others of its key wait for."""
        return self._current.get(key) == sequence

    def waits(self, key: str, sequence: int) -> bool:
        """Whether a message of a key was passed over."""
        return key in self._passed_over and self._current[key] < sequence

    def has_passed_over(self, key: str) -> bool:
        """Whether others of a key were passed over."""
        return key in self._passed_over

    def go_on(self, key: str, sequence: int) -> None:
        """The next message of a key is the one that is not done."""
        self._current[key] = sequence

    def free(self, key: str) -> None:
        """Nothing of a key waits any more."""
        del self._current[key]
        self._passed_over.discard(key)

    def oldest_waiting(self, unless: int) -> int:
        """A sequence below which nothing that was passed over lies; `unless` where nothing was."""
        return min((self._current[key] for key in self._passed_over), default=unless)
