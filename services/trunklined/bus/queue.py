"""SubscriptionQueue: what waits for one subscription, and the subscribers that take from it.

A subscription without a group is a queue with one subscriber; a group is a queue with several. Nothing else differs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from trunkline.errors import TrunklineError
from trunkline.priority import PriorityQueue
from trunklined.bus.durable.task_life import CalledOff
from trunklined.bus.message_batch import MessageBatch, next_of
from trunklined.bus.queue_memory import QueueMemory
from trunklined.bus.requests import Responder


@dataclass(slots=True)
class Drops:
    """Messages that one queue did not deliver, by reason: it was full, it gave way to others, they were past their TTL,
    their subscriber left."""

    lagged: int = 0
    evicted: int = 0
    expired: int = 0
    vanished: int = 0

    def add(self, other: Drops) -> None:
        """Counts those of another queue too."""
        self.lagged += other.lagged
        self.evicted += other.evicted
        self.expired += other.expired
        self.vanished += other.vanished


class Client:
    """A process at the other end of a stream: all its durable subscribers run, and stand still, together."""

    __slots__ = ("rests_until", "subscribers", "suspects")

    def __init__(self) -> None:
        self.subscribers: dict[Subscriber, None] = {}
        """Those that take from durable subscriptions now."""
        self.suspects = 0
        """Messages that it holds and that may have killed the subscriber that held them before; see
        `Pending.is_suspect`. It gets one at a time, whatever it takes them from: the next one that ends it would use up
        an attempt of the others too."""
        self.rests_until: float | None = None
        """A lease of it ended, and it has said nothing since: it may stand still. Until then it gets nothing of what
        lapsed elsewhere, which would lapse again unread. None: it was heard."""

    def feed(self) -> None:
        """Lets its durable subscriptions look what they have for it."""
        for subscriber in self.subscribers:
            if subscriber.queue is not None:
                subscriber.queue.feed(subscriber)


class Subscriber:
    """Who takes messages from a queue, as far as its credit allows. The queue is a `SubscriptionQueue` or a
    `DurableSubscription`.

    Args:
        id: what its stream knows it by.
        peer: its address, for people.
        credit: messages that it may still be given; None: no limit.
        observer: it only looks on, and answers no request.
        wake: called when there is something to take. Must not block.
        end: called when the queue is no more, with the reason. Must not block.
        responder: it answers requests, as this. None: what it does with them is not known.
        client: whose it is. None: of one that has no other.
    """

    __slots__ = (
        "_suspects",
        "call_off",
        "changed",
        "client",
        "credit",
        "delivered",
        "end",
        "id",
        "leased",
        "observer",
        "peer",
        "queue",
        "responder",
        "share",
        "wake",
    )

    def __init__(
        self,
        id: int,
        peer: str,
        credit: int | None,
        wake: Callable[[Subscriber], None],
        observer: bool = False,
        end: Callable[[Subscriber, TrunklineError], None] | None = None,
        responder: Responder | None = None,
        client: Client | None = None,
    ) -> None:
        self.id = id
        self.client = client or Client()
        self.responder = responder
        self.observer = observer
        self.peer = peer
        self.credit = credit
        self.wake = wake
        self.end = end
        self.call_off: Callable[[CalledOff], None] | None = None
        """Tells it of a task that it has and somebody cancelled; None: it cannot be told."""
        self.delivered = 0
        self.changed = False
        """Its durable subscription is otherwise than it was told."""
        self.leased = 0
        """Messages of a durable subscription that it holds."""
        self._suspects = 0
        self.queue: Queue | None = None
        self.share = 1
        """For how many it takes from a group; more than one for a replica with several members."""

    @property
    def can_answer(self) -> bool:
        """Whether it could answer a request."""
        return not self.observer

    @property
    def is_responder(self) -> bool:
        """Whether it answers requests as a responder: then what it was handed is known."""
        return self.responder is not None

    @property
    def is_other(self) -> bool:
        """Whether it could answer a request, and is no responder."""
        return self.responder is None and not self.observer

    @property
    def suspects(self) -> int:
        """How many of them may have killed the subscriber that held them before."""
        return self._suspects

    @suspects.setter
    def suspects(self, count: int) -> None:
        fewer = count < self._suspects
        self.client.suspects += count - self._suspects
        self._suspects = count
        if fewer and not self.client.suspects:
            self.client.feed()

    def heard(self) -> None:
        """It has said something: it does not stand still."""
        if self.client.rests_until is not None:
            self.client.rests_until = None
            self.client.feed()

    def grant(self, messages: int) -> None:
        """Allows that many more messages; only for one that was opened with a credit."""
        if self.credit is not None:
            self.credit += messages
            if self.queue is not None:
                self.queue.feed(self)

    def give_back(self, messages: int) -> None:
        """That many messages, for which it had credit, were not sent after all."""
        if self.credit is not None:
            self.credit += messages

    @property
    def appetite(self) -> float:
        """How much it would take now."""
        return float("inf") if self.credit is None else self.credit


class Queue(Protocol):
    """What a subscriber takes from."""

    pattern: str

    @property
    def subscribers(self) -> list[Subscriber]:
        """Who takes from it."""

    @property
    def size(self) -> int:
        """Bytes that wait, as far as they are in memory."""

    @property
    def group(self) -> str:
        """The name that its subscribers share; empty for none."""

    @property
    def count(self) -> int:
        """Messages that wait."""

    def leave(self, subscriber: Subscriber) -> bool:
        """Removes a subscriber; True if the queue is no more."""

    def feed(self, subscriber: Subscriber) -> None:
        """Its appetite grew: wakes it if there is something for it."""

    def take(self, subscriber: Subscriber, max_messages: int, now: float) -> MessageBatch | None:
        """The next batch for a subscriber."""

    def tell_dropped(self) -> int:
        """How many messages were dropped since this was last asked."""


_by_appetite = attrgetter("appetite")


class SubscriptionQueue:
    """Bounded; at the bound the oldest messages are dropped and counted, and the next `take` says how many.

    Args:
        max_count, max_bytes: its own bound.
        memory: what all queues take together; each batch that is offered counts there already.
    """

    __slots__ = (
        "_levels",
        "_max_bytes",
        "_max_count",
        "_memory",
        "count",
        "drops",
        "group",
        "on_appetite",
        "pattern",
        "size",
        "subscribers",
        "untold",
        "weight",
    )

    def __init__(self, pattern: str, group: str, max_count: int, max_bytes: int, memory: QueueMemory) -> None:
        self.pattern = pattern
        self.group = group
        self.subscribers: list[Subscriber] = []
        self.count = 0
        self.size = 0
        self.weight = 0
        """What it takes in memory, as if it shared nothing."""
        self.drops = Drops()
        self.untold = 0
        """Dropped messages that no subscriber was told of yet."""
        self.on_appetite: Callable[[], None] | None = None
        """Called when its subscribers, or what they would take, changed; of a group that other replicas share."""
        self._levels: PriorityQueue[MessageBatch] = PriorityQueue()
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._memory = memory

    def join(self, subscriber: Subscriber) -> None:
        """Lets a subscriber take from this queue."""
        subscriber.queue = self
        self.subscribers.append(subscriber)
        if self.count:
            subscriber.wake(subscriber)
        if self.on_appetite is not None:
            self.on_appetite()

    def feed(self, subscriber: Subscriber) -> None:
        """Its appetite grew: wakes it if there is something for it."""
        if self.count:
            subscriber.wake(subscriber)
        if self.on_appetite is not None:
            self.on_appetite()

    def leave(self, subscriber: Subscriber) -> bool:
        """Removes a subscriber; True if it was the last, and what waited is gone."""
        self.subscribers.remove(subscriber)
        subscriber.queue = None
        if self.on_appetite is not None:
            self.on_appetite()
        if self.subscribers:
            return False
        self.drops.vanished += self.count
        self.count = self.size = 0
        for level in self._levels.occupied():
            for batch in level:
                self._done_with(batch)
        self._levels.clear()
        return True

    @property
    def is_here(self) -> bool:
        """Whether all who take from it are this replica's own, each for itself alone."""
        return not self.group

    @property
    def credit(self) -> int | None:
        """How many more messages its subscribers would take than wait for them already; None: any number."""
        wanted = self._wanted
        return None if wanted is None else max(0, wanted - self.count)

    @property
    def surplus(self) -> int:
        """How many more messages wait than its subscribers would take."""
        wanted = self._wanted
        return 0 if wanted is None else max(0, self.count - wanted)

    @property
    def _wanted(self) -> int | None:
        credits = [subscriber.credit for subscriber in self.subscribers]
        return None if None in credits else sum(credit for credit in credits if credit is not None)

    def can_answer(self, _channel: str) -> bool:
        """Whether it has a subscriber that could answer a request on a channel."""
        return any(subscriber.can_answer for subscriber in self.subscribers)

    def has_responder(self, _channel: str) -> bool:
        """Whether one of its subscribers answers requests as a responder."""
        return any(subscriber.is_responder for subscriber in self.subscribers)

    def has_other(self, _channel: str) -> bool:
        """Whether it has a subscriber that could answer a request, and is no responder."""
        return any(subscriber.is_other for subscriber in self.subscribers)

    def offer(self, batch: MessageBatch) -> None:
        """Queues a batch and wakes who can take of it. Never blocks, never fails."""
        self._levels.push(batch.level, batch)
        self.count += len(batch.messages)
        self.size += batch.size
        assert batch.share is not None
        self.weight += batch.share.size
        if self.count > self._max_count or self.size > self._max_bytes:
            self._drop_oldest()
        if len(self.subscribers) == 1:
            subscriber = self.subscribers[0]
            subscriber.wake(subscriber)
            return
        # The hungriest is asked first, the least recently asked among equals; each takes no more than its share.
        self.subscribers.append(self.subscribers.pop(0))
        for subscriber in sorted(self.subscribers, key=_by_appetite, reverse=True):
            subscriber.wake(subscriber)

    def take(self, subscriber: Subscriber, max_messages: int, now: float) -> MessageBatch | None:
        """The next batch for a subscriber: at most `max_messages`, its credit and FRAME_BYTES (or one message).

        Of a group, each takes at most its share of what waits, so that the others find something too.
        """
        self._drop_expired(now)
        level = self._levels.highest()
        if level is None:
            return None
        count = min(max_messages, self._portion(subscriber))
        if subscriber.credit is not None:
            count = min(count, subscriber.credit)
        if count < 1:
            return None
        batch = next_of(level, count, self._done_with)
        self.count -= len(batch.messages)
        self.size -= batch.size
        subscriber.delivered += len(batch.messages)
        if subscriber.credit is not None:
            subscriber.credit -= len(batch.messages)
        return batch

    def take_all(self, now: float) -> list[MessageBatch]:
        """All that waits, as batches in the order in which it would be given: no subscriber gets it from here."""
        self._drop_expired(now)
        batches = []
        while (level := self._levels.highest()) is not None:
            batches.append(next_of(level, self.count, self._done_with))
        self.count = self.size = 0
        return batches

    def give_way(self, weight: int) -> None:
        """Drops its oldest messages, until it takes so much less; at least one batch. Whole batches: of a part of one
        nothing is free."""
        target = self.weight - weight
        while True:
            batch = self._oldest_level().popleft()
            self._done_with(batch)
            dropped = self._forget(batch)
            self.drops.evicted += dropped
            self.untold += dropped
            if not self.count or self.weight <= target:
                break
        for subscriber in self.subscribers:
            subscriber.wake(subscriber)  # it may be told

    def oldest(self, now: float) -> int | None:
        """The sequence of the oldest message that waits and has not expired; None: there is none."""
        heads = (
            next((batch.first_sequence for batch in level if batch.expires_at is None or batch.expires_at >= now), None)
            for level in self._levels.occupied()
        )
        return min((head for head in heads if head is not None), default=None)

    def tell_dropped(self) -> int:
        """How many messages were dropped since this was last asked."""
        untold, self.untold = self.untold, 0
        return untold

    def _portion(self, subscriber: Subscriber) -> int:
        """How much of what waits is its share."""
        if len(self.subscribers) == 1:
            return self.count
        shares = sum(each.share for each in self.subscribers if each.appetite > 0) or 1
        return -(-self.count * subscriber.share // shares)

    def _drop_expired(self, now: float) -> None:
        """Drops what expired at the head of each level: the only place from which something is taken."""
        for level in self._levels.occupied():
            while level and (expiry := level[0].expires_at) is not None and expiry < now:
                batch = level.popleft()
                self._done_with(batch)
                self.drops.expired += self._forget(batch)

    def _drop_oldest(self) -> None:
        while self.count > self._max_count or self.size > self._max_bytes:
            level = self._oldest_level()
            batch = level.popleft()
            excess = self._excess(batch)
            if excess < len(batch.messages):
                batch, rest = batch.split(excess)
                level.appendleft(rest)
            else:
                self._done_with(batch)
            dropped = self._forget(batch)
            self.drops.lagged += dropped
            self.untold += dropped

    def _oldest_level(self) -> deque[MessageBatch]:
        return min(self._levels.occupied(), key=lambda batches: batches[0].first_sequence)

    def _done_with(self, batch: MessageBatch) -> None:
        """Nothing of a batch, as it was offered, waits here any more."""
        share = batch.share
        assert share is not None
        self.weight -= share.size
        share.queues -= 1
        if not share.queues:
            self._memory.size -= share.size

    def _excess(self, batch: MessageBatch) -> int:
        """How many messages of a batch must go for the queue to be within its bounds; at most all."""
        count, size = self.count - self._max_count, self.size - self._max_bytes
        dropped = 0
        for message in batch.messages:
            if count <= 0 and size <= 0:
                break
            dropped += 1
            count -= 1
            size -= len(message)
        return dropped

    def _forget(self, batch: MessageBatch) -> int:
        self.count -= len(batch.messages)
        self.size -= batch.size
        return len(batch.messages)
