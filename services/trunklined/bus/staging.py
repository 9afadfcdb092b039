"""Staging: what changed since the last commit, until the next one makes it durable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from trunklined.bus.dead_letters import DeadLetter
from trunklined.bus.records import ChannelRow, DurableRow, PendingRow
from trunklined.bus.write_batch import WriteBatch

R_co = TypeVar("R_co", covariant=True)


class HasRow(Protocol, Generic[R_co]):
    """What is kept as a row, which says how it is now."""

    def row(self) -> R_co:
        """Returns the row."""


@dataclass(slots=True)
class Staging:
    """Things, not deeds: what is written is how each is when the commit begins. So a commit that failed is repeated by
    staging its things again."""

    durables: dict[int, HasRow[DurableRow]] = field(default_factory=dict)
    pending_messages: dict[tuple[int, int], Callable[[], PendingRow]] = field(default_factory=dict)
    """What gives the row of a pending batch, by the numbers of its durable subscription and of its own."""
    settled: dict[int, None] = field(default_factory=dict)
    """Pending batches that are done, by id."""
    keys: dict[tuple[int, str], int] = field(default_factory=dict)
    """From which sequence on messages of an ordering key were passed over, by durable subscription and key; 0: none
    was."""
    cancelled: dict[tuple[int, int, int], int] = field(default_factory=dict)
    """How many messages a durable subscription is not to hand out, by its number, the level, and the first one."""
    passed: dict[tuple[int, int], int] = field(default_factory=dict)
    """Below which sequence a durable subscription needs nothing of a level."""
    wiped: dict[int, None] = field(default_factory=dict)
    deleted: dict[int, None] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    forgotten_letters: dict[int, None] = field(default_factory=dict)
    swept: dict[int, None] = field(default_factory=dict)
    removed: dict[int, None] = field(default_factory=dict)
    """Runs that are kept no longer, by their first sequence."""
    channels: dict[str, HasRow[ChannelRow]] = field(default_factory=dict)
    after: list[Callable[[], None]] = field(default_factory=list)
    """Called when it is durable, in this order."""

    def __bool__(self) -> bool:
        return bool(
            self.durables
            or self.pending_messages
            or self.settled
            or self.keys
            or self.cancelled
            or self.passed
            or self.wiped
            or self.deleted
            or self.dead_letters
            or self.forgotten_letters
            or self.swept
            or self.removed
            or self.channels
            or self.after
        )

    def settle(self, durable: int, pending: int) -> None:
        """Stages that a pending batch is done."""
        self.pending_messages.pop((durable, pending), None)
        self.settled[pending] = None

    def forget(self, durable: int) -> None:
        """All that was staged of one durable subscription's pending batches and keys is void."""
        self.pending_messages = {key: row for key, row in self.pending_messages.items() if key[0] != durable}
        self.keys = {key: start for key, start in self.keys.items() if key[0] != durable}
        self.cancelled = {key: count for key, count in self.cancelled.items() if key[0] != durable}
        self.passed = {key: below for key, below in self.passed.items() if key[0] != durable}

    def write(self, writes: WriteBatch) -> None:
        """Adds it all to a batch."""
        writes.durables += [durable.row() for durable in self.durables.values()]
        writes.pending_messages += [row() for row in self.pending_messages.values()]
        writes.settled += self.settled
        writes.skipped_keys += [(*key, start) for key, start in self.keys.items() if start]
        writes.free_keys += [key for key, start in self.keys.items() if not start]
        writes.cancelled += [(*key, count) for key, count in self.cancelled.items()]
        writes.passed += [(*key, below) for key, below in self.passed.items()]
        writes.wiped += self.wiped
        writes.deleted += self.deleted
        writes.dead_letters += self.dead_letters
        writes.forgotten_letters += self.forgotten_letters
        writes.swept += self.swept
        writes.removed += self.removed
        writes.channels += [channel.row() for channel in self.channels.values()]

    def restage(self, failed: Staging) -> None:
        """Adds what a failed commit was to make durable, as older than what is here."""
        self.durables = failed.durables | self.durables
        self.pending_messages = {
            key: row for key, row in failed.pending_messages.items() if key[1] not in self.settled
        } | self.pending_messages
        self.settled = failed.settled | self.settled
        self.keys = failed.keys | self.keys
        self.cancelled = failed.cancelled | self.cancelled
        self.passed = failed.passed | self.passed
        self.wiped = failed.wiped | self.wiped
        self.deleted = failed.deleted | self.deleted
        self.dead_letters = failed.dead_letters + self.dead_letters
        self.forgotten_letters = failed.forgotten_letters | self.forgotten_letters
        self.swept = failed.swept | self.swept
        self.removed = failed.removed | self.removed
        self.channels = failed.channels | self.channels
        self.after = failed.after + self.after
        for id in (*self.wiped, *self.deleted):
            if id in failed.wiped or id in failed.deleted:
                continue
            # What was staged before a wipe that came later is void; what came after it is in `self` by now.
            self.pending_messages = {
                key: row
                for key, row in self.pending_messages.items()
                if key[0] != id or key not in failed.pending_messages
            }
            self.cancelled = {
                key: n for key, n in self.cancelled.items() if key[0] != id or key not in failed.cancelled
            }
        for id in self.deleted:
            self.durables.pop(id, None)
