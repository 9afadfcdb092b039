"""What a bus says of itself: its subscriptions, its durable subscriptions, and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from trunkline.delivery import DurableSettings


@dataclass(frozen=True, slots=True)
class SubscriptionInfo:
    """One registered interest, as it is now.

    Attributes:
        id: the bus's number of it.
        pattern: channel or pattern.
        group: the name that its members share; empty for none.
        peer: the subscriber's address as the bus sees it.
        queued_messages, queued_bytes: what waits for it; of a group, for all its members.
        delivered: messages that it got since it started.
        dropped: messages that it did not get since it was too slow.
        credit: messages that may be sent before more is granted. None: no limit.
        started_at: when it was registered.
        replica: of several replicas of the bus, the name of the one that has it; the id is that replica's own. Empty:
            there is one.
        durable: the durable subscription that it takes from; empty for a live one.
        observer: it only looks on, and answers no request.
        responder: it answers requests.
        leased: of a durable one, messages that it holds.
    """

    id: int
    pattern: str
    group: str
    peer: str
    queued_messages: int
    queued_bytes: int
    delivered: int
    dropped: int
    credit: int | None
    started_at: datetime
    replica: str = ""
    durable: str = ""
    observer: bool = False
    responder: bool = False
    leased: int = 0


@dataclass(frozen=True, slots=True)
class DurableInfo:
    """One durable subscription, as it is now.

    Attributes:
        name: what subscribers call it by.
        pattern: channel or pattern.
        settings: how it delivers.
        created_at: when it was made.
        waiting: messages that were not handed out yet.
        leased: messages that were handed out and are not settled.
        retrying: messages that wait for another attempt.
        subscribers: how many are connected.
        acked, redelivered, dead_lettered: counts since it was made.
        next_sequence: the next sequence that it looks at, of medium priority.
        paused: it hands nothing out until it is resumed.
        replica: of several replicas of the bus, the name of the one that owns it. Empty: there is one.
    """

    name: str
    pattern: str
    settings: DurableSettings
    created_at: datetime
    waiting: int
    leased: int
    retrying: int
    subscribers: int
    acked: int
    redelivered: int
    dead_lettered: int
    next_sequence: int
    paused: bool = False
    replica: str = ""


@dataclass(frozen=True, slots=True)
class BusStatistics:
    """The figures of a bus: counts since it started, and what it holds now.

    Attributes:
        started_at: when it started.
        published, delivered: messages that it took, and copies that it handed to subscribers.
        dropped: messages that were not delivered, by reason: "expired", "lagged" (the subscriber was too slow),
            "evicted" (the same, and all queues together were at their bound before its own was), "vanished" (the
            subscriber left with messages waiting).
        requests, request_timeouts, no_responders: requests, and what became of them.
        pending_requests, subscriptions, connections: now.
        queued_messages, queued_bytes: what waits for live subscribers now.
        engine: what stored messages are kept in: "memory", "sqlite" or "redis".
        version: of the program.
        stored, duplicates: messages that were stored, and those that were not because their message id was known.
        acked, redelivered, dead_lettered: durable deliveries.
        lost_to_limits: messages that a hard limit of retention removed though a durable subscription needed them.
        durable_subscriptions, dead_letters: now.
        tasks: submitted tasks that are kept now, ended ones included.
        journal_messages, journal_bytes, journal_file_bytes: what the journal holds now, and the size of its files.
        held_back: messages that are held back until later.
        queue_memory_bytes, max_queue_memory_bytes: what everything that waits for live subscribers takes in memory, and
            may take. A message that waits for several counts once.
        replica: of several replicas of the bus, the name of the one whose figures these are. Empty: there is one.
        other_replicas: the names of the others that it knows.
        address: where the others reach it.
        journal_owner: the address of the replica that owns the journal that all share, whose figures those of the
            journal are. Empty: each has its own, or none owns it now.
        journal_takeovers: how often this replica took that journal over.
        others: the figures of the others, as far as they said them within a second; their own `others` are empty. Of a
            journal that all share, its owner alone has figures.
    """

    started_at: datetime
    published: int
    delivered: int
    dropped: Mapping[str, int]
    requests: int
    request_timeouts: int
    no_responders: int
    pending_requests: int
    subscriptions: int
    connections: int
    queued_messages: int
    queued_bytes: int
    engine: str
    version: str
    stored: int
    duplicates: int
    acked: int
    redelivered: int
    dead_lettered: int
    lost_to_limits: int
    durable_subscriptions: int
    tasks: int
    dead_letters: int
    journal_messages: int
    journal_bytes: int
    journal_file_bytes: int
    held_back: int
    queue_memory_bytes: int
    max_queue_memory_bytes: int
    replica: str = ""
    other_replicas: tuple[str, ...] = ()
    address: str = ""
    journal_owner: str = ""
    journal_takeovers: int = 0
    others: tuple[BusStatistics, ...] = ()
