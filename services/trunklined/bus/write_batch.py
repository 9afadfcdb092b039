"""Batch: what one commit makes durable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from trunklined.bus.dead_letters import DeadLetter
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.records import ChannelRow, DurableRow, HeldBack, PendingRow

SMALL_BYTES: Final = 16 * 1024
LARGE_ROWS: Final = 512
LARGE_BYTES: Final = 1024 * 1024
"""What takes some milliseconds to write."""


@dataclass(slots=True)
class WriteBatch:
    """What one commit makes durable. Rows say how things are now: writing one again changes nothing."""

    batches: list[MessageBatch] = field(default_factory=list)
    held_back: list[HeldBack] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    """Sequences of what is held back no longer."""
    wiped: list[int] = field(default_factory=list)
    """Durable subscriptions whose pending batches and keys are forgotten, before anything else is written."""
    deleted: list[int] = field(default_factory=list)
    """Durable subscriptions that are gone."""
    durables: list[DurableRow] = field(default_factory=list)
    pending_messages: list[PendingRow] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    """Pending batches that are done, by id."""
    skipped_keys: list[tuple[int, str, int]] = field(default_factory=list)
    """Ordering keys of which messages were passed over, by durable subscription, with a sequence below which none
    was."""
    free_keys: list[tuple[int, str]] = field(default_factory=list)
    cancelled: list[tuple[int, int, int, int]] = field(default_factory=list)
    """What durable subscriptions are not to hand out: their number, the level, the first sequence, and how many."""
    passed: list[tuple[int, int, int]] = field(default_factory=list)
    """Below which sequence durable subscriptions need nothing of a level: what was cancelled there is forgotten."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    forgotten_letters: list[int] = field(default_factory=list)
    """Dead letters that are none any more."""
    swept: list[int] = field(default_factory=list)
    """Runs that expired and were made dead letters of whoever waited for them, by their first sequence."""
    removed: list[int] = field(default_factory=list)
    """Runs that are kept no longer, by their first sequence."""
    channels: list[ChannelRow] = field(default_factory=list)
    last_sequence: int = 0
    last_durable: int = 0

    @property
    def is_small(self) -> bool:
        """Whether it is what one publisher or one subscriber causes who waits for it."""
        return len(self.batches) + len(self.pending_messages) + len(self.settled) <= 2 and (
            sum(batch.size for batch in self.batches) <= SMALL_BYTES and not (self.dead_letters or self.removed)
        )

    @property
    def is_large(self) -> bool:
        """Whether writing it would keep others waiting."""
        rows = len(self.batches) + len(self.pending_messages) + len(self.settled) + len(self.held_back)
        rows += (
            len(self.cancelled)
            + len(self.dead_letters)
            + len(self.forgotten_letters)
            + len(self.removed)
            + len(self.durables)
        )
        if rows > LARGE_ROWS:
            return True
        return (
            sum(batch.size for batch in self.batches)
            + sum(held.batch.size for held in self.held_back)
            + sum(len(letter.message) for letter in self.dead_letters)
        ) > LARGE_BYTES
