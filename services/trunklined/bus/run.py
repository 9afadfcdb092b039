"""Run: the unit in which messages travel through the bus."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import NamedTuple

from trunkline.limits import FRAME_BYTES
from trunklined.bus.attempts import AttemptRecord


class Redriven(NamedTuple):
    """What a run that was a dead letter brings along."""

    durable: int
    """The only durable subscription that it is for, by its number in the journal."""
    attempts: int
    """How often it was handed out before."""
    redrives: int
    """How often it was redriven, this time included."""
    log: tuple[AttemptRecord, ...] = ()
    """What became of it before."""


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
    key: str | None = None
    """The ordering key; a stored run that has one has one message."""
    time: float = 0.0
    """When the bus took it, in UNIX time; of a stored run."""
    redriven: Redriven | None = None
    attempt: int = 0
    """The how many-th time it is handed out; 0: to a live subscription."""

    @property
    def target(self) -> int | None:
        """The only durable subscription that it is for, by its number; None: it is for all."""
        return None if self.redriven is None else self.redriven.durable

    @property
    def end(self) -> int:
        """The sequence behind its last message."""
        return self.first_sequence + len(self.messages)

    def is_followed_by(self, other: Run) -> bool:
        """Whether the two could be one run: same channel, sequences without a gap, and nothing special about either."""
        return (
            other.first_sequence == self.first_sequence + len(self.messages)
            and other.channel == self.channel
            and other.attempt == self.attempt
            and other.is_plain
            and self.is_plain
        )

    @property
    def is_plain(self) -> bool:
        """Whether its messages are as good as those of any other run of its channel and lane."""
        return self.expires_at is None and self.key is None and self.redriven is None

    def split(self, count: int) -> tuple[Run, Run]:
        """The first `count` messages and the rest; both have at least one."""
        return self.part(0, count), self.part(count, len(self.messages))

    def part(self, start: int, stop: int) -> Run:
        """The messages from one index to before another, as a run."""
        messages = self.messages[start:stop]
        return replace(
            self, messages=messages, size=sum(map(len, messages)), first_sequence=self.first_sequence + start
        )


def fitting(run: Run, most: int) -> int:
    """How many messages of a run fit a frame, at most so many; at least one."""
    count = min(most, len(run.messages))
    if run.size <= FRAME_BYTES:
        return count
    room = FRAME_BYTES
    for index, message in enumerate(run.messages[:count]):
        room -= len(message)
        if room < 0:
            return max(1, index)
    return count


def joined(run: Run, others: deque[Run], most: int) -> Run:
    """A run with those that follow it without a gap, taken from others: at most so many messages, and FRAME_BYTES. Many
    small runs cost far more than one."""
    messages, size = list(run.messages), run.size
    last = run
    while others and last.is_followed_by(others[0]) and len(messages) + len(others[0].messages) <= most:
        if size + others[0].size > FRAME_BYTES:
            break
        last = others.popleft()
        messages += last.messages
        size += last.size
    return replace(run, messages=messages, size=size)


def next_of(runs: deque[Run], most: int) -> Run:
    """Takes from the left what can be sent at once: one run, part of one, or several as one; at most so many messages,
    and FRAME_BYTES (or one message)."""
    run = runs.popleft()
    count = fitting(run, most)
    if count < len(run.messages):
        run, rest = run.split(count)
        runs.appendleft(rest)
        return run
    if runs and run.is_followed_by(runs[0]):
        return joined(run, runs, most)
    return run
