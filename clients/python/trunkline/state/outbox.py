"""The messages of writes: what is published with a save or a delete, and the figures of what waits for the bus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from trunkline.models import AgentMessage


class OutboxMessage(NamedTuple):
    """A message that is published with a write. Where nothing but channel and message is said, a pair will do.

    Attributes:
        channel, message: what is published, and where.
        ordering_key, deliver_at, deliver_after: as of `MessageBus.publish`; `deliver_after` counts from the write.
    """

    channel: str
    message: AgentMessage
    ordering_key: str | None = None
    deliver_at: datetime | None = None
    deliver_after: float | None = None


Publish = Sequence[OutboxMessage | tuple[str, AgentMessage]]
"""The messages of one write, in the order in which they are published."""


@dataclass(frozen=True, slots=True)
class StuckMessage:
    """A message that the bus refused for good, with its reason."""

    channel: str
    message_id: str
    refused_at: datetime
    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class OutboxStatistics:
    """The figures of a store's outbox.

    Attributes:
        bus_address, bus_connected: where the bus is, and whether it is connected now.
        waiting, waiting_bytes: messages that wait for the bus now, and their bytes.
        oldest_at: when the oldest of them was saved; None: none waits.
        stuck: messages that the bus refused for good; they stay in the store.
        relayed: messages that the bus took since the start.
        possible_duplicates: messages that the bus may have stored twice since the start.
        last_stuck: the last of the stuck ones, at most 20, the last one first.
    """

    bus_address: str
    bus_connected: bool
    waiting: int
    waiting_bytes: int
    oldest_at: datetime | None
    stuck: int
    relayed: int
    possible_duplicates: int
    last_stuck: Sequence[StuckMessage] = ()
