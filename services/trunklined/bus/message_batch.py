"""Run: the unit in which messages travel through the bus."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from trunkline.limits import FRAME_BYTES, FRAME_MESSAGES
from trunklined.bus.attempts import AttemptRecord


class Redriven(NamedTuple):
    """What a batch that was a dead letter brings along."""

    durable: int
    """The only durable subscription that it is for, by its number in the journal."""
    attempts: int
    """How often it was handed out before."""
    redrives: int
    """How often it was redriven, this time included."""
    log: tuple[AttemptRecord, ...] = ()
    """What became of it before."""


class Share:
    """What a batch takes in memory, and how many queues are not done with it; see `QueueMemory`."""

    __slots__ = ("queues", "size")

    def __init__(self, size: int, queues: int) -> None:
        self.size = size
        self.queues = queues


@dataclass(slots=True)
class MessageBatch:
    """Encoded messages of one channel, one priority and one expiry, whose sequences follow each other.

    What is common to many messages is said, checked and queued once. Runs are shared by all queues that hold them and
    are never changed after they were published; a part of one is a batch of its own.
    """

    channel: str
    level: int
    """Priority as a level: 0 low, 1 medium, 2 high, 3 critical."""
    messages: list[bytes]
    size: int
    """Bytes of all messages."""
    expires_at: float | None = None
    """UNIX time in seconds at which they must not be delivered any more."""
    first_sequence: int = 0
    """Set by the broker."""
    key: str | None = None
    """The ordering key; a stored batch that has one has one message."""
    time: float = 0.0
    """When the bus took it, in UNIX time; of a stored batch."""
    redriven: Redriven | None = None
    attempt: int = 0
    """The how many-th time it is handed out; 0: to a live subscription."""
    share: Share | None = None
    """Of the batch in whole, also where this is a part; None: no live subscription gets it."""

    @property
    def target(self) -> int | None:
        """The only durable subscription that it is for, by its number; None: it is for all."""
        return None if self.redriven is None else self.redriven.durable

    @property
    def end(self) -> int:
        """The sequence behind its last message."""
        return self.first_sequence + len(self.messages)

    def is_followed_by(self, other: MessageBatch) -> bool:
        """Whether the two could be one: same channel, sequences without a gap, and nothing special about either."""
        return (
            other.first_sequence == self.first_sequence + len(self.messages)
            and other.channel == self.channel
            and other.attempt == self.attempt
            and other.is_plain
            and self.is_plain
        )

    @property
    def is_plain(self) -> bool:
        """Whether its messages are as good as those of any other batch of its channel and level."""
        return self.expires_at is None and self.key is None and self.redriven is None

    def split(self, count: int) -> tuple[MessageBatch, MessageBatch]:
        """The first `count` messages and the rest; both have at least one."""
        return self.part(0, count), self.part(count, len(self.messages))

    def rows(self) -> list[MessageBatch]:
        """Returns it as batches that are kept as one row each: no more than a frame takes, so that whoever needs one of
        its messages reads few others."""
        if len(self.messages) <= FRAME_MESSAGES and self.size <= FRAME_BYTES:
            return [self]
        cuts, size = [0], 0
        for index, message in enumerate(self.messages):
            size += len(message)
            if index > cuts[-1] and (size > FRAME_BYTES or index - cuts[-1] == FRAME_MESSAGES):
                cuts.append(index)
                size = len(message)
        return [self.part(start, stop) for start, stop in pairwise((*cuts, len(self.messages)))]

    def part(self, start: int, stop: int) -> MessageBatch:
        """The messages from one index to before another, as a batch."""
        messages = self.messages[start:stop]
        return replace(
            self, messages=messages, size=sum(map(len, messages)), first_sequence=self.first_sequence + start
        )


def fitting(batch: MessageBatch, most: int) -> int:
    """How many messages of a batch fit a frame, at most so many; at least one."""
    count = min(most, len(batch.messages))
    if batch.size <= FRAME_BYTES:
        return count
    room = FRAME_BYTES
    for index, message in enumerate(batch.messages[:count]):
        room -= len(message)
        if room < 0:
            return max(1, index)
    return count


def joined(
    batch: MessageBatch,
    others: deque[MessageBatch],
    most: int,
    done: Callable[[MessageBatch], None] | None = None,
) -> MessageBatch:
    """Returns a batch with those that follow it without a gap, taken from others: at most so many messages, and
    FRAME_BYTES. Many small batches cost far more than one. `done` is called with each that was taken."""
    messages, size = list(batch.messages), batch.size
    last = batch
    while others and last.is_followed_by(others[0]) and len(messages) + len(others[0].messages) <= most:
        if size + others[0].size > FRAME_BYTES:
            break
        last = others.popleft()
        if done is not None:
            done(last)
        messages += last.messages
        size += last.size
    return replace(batch, messages=messages, size=size)


def next_of(
    batches: deque[MessageBatch], most: int, done: Callable[[MessageBatch], None] | None = None
) -> MessageBatch:
    """Takes from the left what can be sent at once: one batch, part of one, or several as one; at most so many
    messages, and FRAME_BYTES (or one message). `done` is called with each batch of which nothing is left."""
    batch = batches.popleft()
    count = fitting(batch, most)
    if count < len(batch.messages):
        batch, rest = batch.split(count)
        batches.appendleft(rest)
        return batch
    if done is not None:
        done(batch)
    if batches and batch.is_followed_by(batches[0]):
        return joined(batch, batches, most, done)
    return batch
