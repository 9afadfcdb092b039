"""Run: the unit in which messages travel through the bus."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Run:
    """Encoded messages of one channel, one priority and one expiry, whose sequences follow each other.

    What is common to many messages is said, checked and queued once. Runs are shared by all queues that hold them and
    are never changed after they were published; a part of one is a run of its own.
    """

    channel: str
    lane: int
    """Priority as a lane: 0 low, 1 medium, 2 high, 3 critical."""
    messages: list[bytes]
    size: int
    """Bytes of all messages."""
    expires_at: float | None = None
    """UNIX time in seconds at which they must not be delivered any more."""
    first_sequence: int = 0
    """Set by the broker."""

    def is_followed_by(self, other: Run) -> bool:
        """Whether the two could be one run: same channel, sequences without a gap, and neither expires."""
        return (
            other.first_sequence == self.first_sequence + len(self.messages)
            and other.channel == self.channel
            and other.expires_at is None
            and self.expires_at is None
        )

    def split(self, count: int) -> tuple[Run, Run]:
        """The first `count` messages and the rest; both have at least one."""
        head, tail = self.messages[:count], self.messages[count:]
        size = sum(map(len, head))
        return (
            Run(self.channel, self.lane, head, size, self.expires_at, self.first_sequence),
            Run(self.channel, self.lane, tail, self.size - size, self.expires_at, self.first_sequence + count),
        )
