"""What a bus answers to who looks for a fault: who would get a message, what happened to one, and what does not move.

Times are datetimes in UTC. Of several replicas of the bus, `replica` names the one that says so, and `unheard` those
that did not answer in time; both are empty where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from trunkline.bus.inspection import DurableInfo, SubscriptionInfo

Verdict = Literal["gets", "shares", "waits", "other_pattern", "if_stored"]
"""What would become of a message: it is handed out at once; one of several gets it; it waits; the pattern does not
match; it is kept only if its publisher asks for it to be stored."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A live subscription, and what it would do with a message; `why` is the reason in words."""

    subscription: SubscriptionInfo
    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class Keeper:
    """A durable subscription, and what it would do with a message; `why` is the reason in words."""

    subscription: DurableInfo
    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether somebody may do something, and the line of the file of permissions that says so; 0: none does."""

    identity: str
    right: str
    allowed: bool
    line: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """Who would get a message that is published on a channel now.

    Attributes:
        recipients: live subscriptions whose patterns match.
        others: live subscriptions that would not get it: those whose patterns come closest.
        keepers: durable subscriptions whose patterns match.
        stored_by: the service's rule by which it is stored where its publisher wishes nothing; empty: none matches.
        answered: a request would be put to somebody.
        permissions: what the publisher may do; empty: the service has no file of permissions.
    """

    recipients: tuple[Recipient, ...]
    others: tuple[Recipient, ...]
    keepers: tuple[Keeper, ...]
    stored_by: str
    answered: bool
    permissions: tuple[Permission, ...]
    unheard: tuple[str, ...]


TraceEventKind = Literal[
    "published",
    "stored",
    "delivered",
    "handed_out",
    "acked",
    "nakked",
    "extended",
    "released",
    "lease_ended",
    "dead",
    "redriven",
    "cancelled",
    "ended",
]
"""What happened to a message."""


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """Something that happened to a message.

    Attributes:
        by: who did it, or got it; of `published` the message's sender.
        durable: the durable subscription; empty: none has to do with it.
        attempt: the how many-th time it was handed out; 0: it has no attempts.
        error: what went wrong, or why.
        due_at: when it is tried again, or its lease ends.
    """

    time: datetime
    kind: TraceEventKind
    channel: str
    sequence: int
    message_id: str
    correlation_id: str
    by: str
    durable: str
    attempt: int
    error: str
    due_at: datetime | None
    replica: str


@dataclass(frozen=True, slots=True)
class TraceState:
    """Where a message is now.

    Attributes:
        state: "waiting", "leased", "retrying", "blocked", "dead" or "pending" (a request without its answer yet).
        holder: who has it.
        due_at: when it is tried again, its lease ends, or the request's time is over.
        dead_letter_id: 0: it is no dead letter.
    """

    durable: str
    sequence: int
    message_id: str
    state: str
    holder: str
    attempt: int
    due_at: datetime | None
    error: str
    dead_letter_id: int
    channel: str
    replica: str


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of a message.

    Attributes:
        events: in order of time.
        states: where it is now; empty: nowhere.
        remembered_since: live events are remembered since then.
        incomplete: not all that waits was looked at.
    """

    events: tuple[TraceEvent, ...]
    states: tuple[TraceState, ...]
    remembered_since: datetime
    incomplete: bool
    unheard: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StuckDurable:
    """A durable subscription in which something waits; `oldest_at` is when the bus took the oldest of it."""

    subscription: DurableInfo
    oldest_at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class InFlight:
    """Messages that were handed out together and are not settled.

    Attributes:
        sequence: of the first.
        messages: how many.
        last_error: how the attempt before ended.
        connected: their holder is.
    """

    durable: str
    sequence: int
    messages: int
    holder: str
    handed_out_at: datetime
    lease_ends_at: datetime
    attempt: int
    last_error: str
    connected: bool
    ordering_key: str


@dataclass(frozen=True, slots=True)
class BlockingKey:
    """An ordering key of which messages wait behind one that is not done: it is "leased" or "retrying"."""

    durable: str
    ordering_key: str
    sequence: int
    state: str
    holder: str
    attempt: int
    last_error: str
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A request without its answer yet; `responders` are those that have it, or the one that accepted it."""

    request_id: str
    channel: str
    asked_at: datetime
    deadline: datetime
    responders: tuple[str, ...]
    accepted: bool
    replica: str


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What a connection has open: subscriptions, messages that it holds and that wait for it, and requests that it
    asked and that it is to answer."""

    peer: str
    subscriptions: int
    leased: int
    queued_messages: int
    asked: int
    answering: int
    replica: str


@dataclass(frozen=True, slots=True)
class HeldChannel:
    """Messages of one channel that a sidecar holds for the bus; `oldest_at` is when it took the oldest."""

    channel: str
    messages: int
    bytes: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that a sidecar held and the bus refused for good, with the bus's reason and what it said."""

    channel: str
    message_id: str
    refused_at: datetime
    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class HeldBySidecar:
    """What a sidecar took to be stored while the bus was away, and what became of it.

    Attributes:
        bus_address, bus_connected: where the bus is, and whether it is connected now.
        messages, bytes: what waits for the bus now.
        oldest_at: when the oldest of it was taken; None: nothing waits.
        refused, refused_bytes: what the bus refused for good; it stays in the sidecar's file.
        max_messages, max_bytes: what may wait or have been refused, together.
        forwarded: messages that the bus took since the sidecar started.
        possible_duplicates: messages that it may have stored twice since then.
        channels: those of which most messages wait.
        last_refused: the last one first.
    """

    bus_address: str
    bus_connected: bool
    messages: int
    bytes: int
    oldest_at: datetime | None
    refused: int
    refused_bytes: int
    max_messages: int
    max_bytes: int
    forwarded: int
    possible_duplicates: int
    channels: tuple[HeldChannel, ...]
    last_refused: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Stuck:
    """What does not move, of each kind the worst first; `sidecar` where one is asked that holds something while the bus
    is away. Then `unheard` names the bus."""

    durables: tuple[StuckDurable, ...]
    in_flight: tuple[InFlight, ...]
    keys: tuple[BlockingKey, ...]
    requests: tuple[WaitingRequest, ...]
    lagging: tuple[SubscriptionInfo, ...]
    connections: tuple[ConnectionInfo, ...]
    unheard: tuple[str, ...]
    sidecar: HeldBySidecar | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Of a tail: how many messages were beyond its rate since this was said before, and in all."""

    messages: int
    total: int
