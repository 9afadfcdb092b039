"""The rows that pass between the journal and whatever keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from trunkline.delivery import Backoff, DurableSettings
from trunklined.bus.attempts import AttemptRecord
from trunklined.bus.message_batch import MessageBatch


class PendingRow(NamedTuple):
    """Messages that one durable subscription has looked at and not done with: leased, or waiting for another
    attempt."""

    id: int
    durable: int
    sequence: int
    messages: int
    level: int
    attempts: int
    """How often they were handed out, those before a redrive included."""
    base: int
    """How often before the last redrive."""
    due: float | None
    """When they may be handed out again; None: they are leased."""
    open: bytes | None
    """A 1 for each message that is not settled, a 0 for each that is; None: none is settled."""
    key: str | None
    log: tuple[AttemptRecord, ...]
    redrives: int
    peer: str
    """Of whom holds them, or held them last; empty where a version of the program kept it that did not note it."""
    handed_out_at: float


class DurableRow(NamedTuple):
    """A durable subscription as it is kept."""

    id: int
    name: str
    pattern: str
    ack_wait: float
    max_deliveries: int
    backoff_initial: float
    backoff_multiplier: float
    backoff_maximum: float
    created_at: float
    positions: tuple[int, ...]
    """Of each level, the first sequence that it has not looked at."""
    waiting: int
    acked: int
    redelivered: int
    dead_lettered: int
    counted_to: int
    """`waiting` counts what was stored below this sequence; what is behind it is counted when the journal is opened."""
    max_leased: int
    rate: float
    burst: int
    key_concurrency: int
    paused: bool

    @property
    def settings(self) -> DurableSettings:
        """How it delivers."""
        return DurableSettings(
            self.ack_wait,
            self.max_deliveries,
            Backoff(self.backoff_initial, self.backoff_multiplier, self.backoff_maximum),
            self.max_leased,
            self.rate,
            self.burst,
            self.key_concurrency,
        )


class ChannelRow(NamedTuple):
    """What the journal holds of one channel."""

    id: int
    name: str
    compacted: int
    """The highest sequence that was removed."""
    compacted_time: float
    """When the youngest message that was removed had been taken."""
    messages: int
    bytes: int


class HeldBack(NamedTuple):
    """A message that takes its place in the order later."""

    sequence: int
    """Of its receipt."""
    due: float
    batch: MessageBatch


@dataclass(slots=True)
class Contents:
    """What a journal that is opened holds, beside its batches."""

    last_sequence: int
    last_pending_id: int
    last_dead_letter: int
    last_durable: int
    dead_letters: int
    held_back: int
    channels: list[ChannelRow]
    durables: list[DurableRow]


class BatchHeader(NamedTuple):
    """A batch without its messages."""

    first_sequence: int
    channel: str
    messages: int
    size: int
    time: float
    level: int
    key: str | None
    target: int | None
    """The only durable subscription that it is for; None: it is for all."""
    swept: bool
    """It expired, and who had not been given it has it as a dead letter."""

    @property
    def end(self) -> int:
        """The sequence behind its last message."""
        return self.first_sequence + self.messages
