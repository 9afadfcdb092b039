"""Broker: takes batches from publishers and puts them into the queues of who is interested."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from trunkline.channels import check_channel, check_name, check_pattern, matches
from trunkline.delivery import DurableSettings
from trunkline.errors import InvalidMessageError, NoRespondersError, OverloadedError, TrunklineError
from trunkline.limits import DEAD_LETTER_CHANNEL
from trunkline.priority import HIGH_LEVEL
from trunklined.bus.dead_letters import DeadLetter
from trunklined.bus.description import MessageFormat
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.engines.engine import JournalEngine
from trunklined.bus.groups import GroupKey, Groups
from trunklined.bus.journal.journal import Journal, JournalLimits
from trunklined.bus.journal.publication import Done, Publication
from trunklined.bus.journal.sequencer import Sequencer
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.pattern_index import PatternIndex
from trunklined.bus.queue import Drops, Queue, Subscriber, SubscriptionQueue
from trunklined.bus.queue_memory import QueueMemory
from trunklined.bus.recent import EventKind, RecentEvents
from trunklined.bus.replicas.forwarded_request import ForwardedRequest
from trunklined.bus.replicas.peers import ALONE, Peers
from trunklined.bus.requests import Correlated, PendingRequest, PendingRequests, Responder, lost_error
from trunklined.rpc.histogram import Histogram

Q = TypeVar("Q", bound=SubscriptionQueue)


@dataclass(frozen=True, slots=True)
class Limits:
    """The broker's bounds; see `trunkline.limits` for what happens at each."""

    max_queued_messages: int
    max_queued_bytes: int
    max_queue_memory_bytes: int
    max_subscriptions: int
    max_pending_requests: int
    max_recent_bytes: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the start, and what is held now. Of copies, not of messages, where several subscribe; but the memory
    of the queues is what they take."""

    published: int
    delivered: int
    expired: int
    lagged: int
    evicted: int
    vanished: int
    requests: int
    request_timeouts: int
    no_responders: int
    pending_requests: int
    subscriptions: int
    queued_messages: int
    queued_bytes: int
    queue_memory_bytes: int
    max_queue_memory_bytes: int


class Subscription:
    """One subscriber's place in a queue; made by `Broker.subscribe`, ended by `close`."""

    __slots__ = ("_broker", "id", "is_retired", "on_closed", "queue", "started_at", "subscriber")

    def __init__(self, broker: Broker, id: int, queue: Queue, subscriber: Subscriber, started_at: float) -> None:
        self._broker = broker
        self.id = id
        self.queue = queue
        self.subscriber = subscriber
        self.started_at = started_at
        self.on_closed: Callable[[], None] | None = None
        """Called once, when it has ended."""
        self.is_retired = False
        """Whether a live one takes nothing more, and waits until what it has is taken."""

    def close(self, *, nothing_begun: bool = False) -> None:
        """Ends the subscription; idempotent. What waited only for it is dropped and counted as vanished.

        Args:
            nothing_begun: of a responder: what it holds and did not accept goes to others.
        """
        self._broker.unsubscribe(self, nothing_begun=nothing_begun)


async def _know_nothing(_name: str, _request: bytes) -> bytes | None:
    return None


class Broker:
    """All of it runs in one event loop and nothing in it waits: a publisher is never delayed by a subscriber.

    Args:
        limits: the bounds.
        engine: what stored messages are kept in.
        journal_limits: its bounds.
        format: what encoded messages say.
        clock: UNIX time in seconds.
        peers: the other replicas of this bus.
    """

    def __init__(
        self,
        limits: Limits,
        engine: JournalEngine,
        journal_limits: JournalLimits,
        format: MessageFormat,
        clock: Callable[[], float] = time.time,
        peers: Peers = ALONE,
    ) -> None:
        self.clock = clock
        self._format = format
        self.peers = peers
        self.answer: Callable[[str, bytes], Awaitable[bytes | None]] = _know_nothing
        """Makes this replica's own part of the answer to a question, by its name; None: it has none. Whoever serves the
        broker sets it."""
        self.recent = RecentEvents(limits.max_recent_bytes, clock, format.describe)
        self._journal_limits = journal_limits
        self._journal_sequencer = Sequencer(clock)
        self._sequencer = peers.sequencer or self._journal_sequencer
        self.journal = self.new_journal(engine)
        self.lost_commits = 0
        """How many commits whatever keeps the journal has lost after it answered them, as far as is known."""
        self._limits = limits
        self._memory = QueueMemory(limits.max_queue_memory_bytes)
        self._index: PatternIndex[SubscriptionQueue] = PatternIndex()
        self._subscriptions: dict[int, Subscription] = {}
        self._last_subscription_id = 0
        self._published = 0
        self._requests = PendingRequests(limits.max_pending_requests, format.life, clock, self._lost, self.recent)
        self.groups = Groups(self._index, self._make_queue, self._offer, self._requests, clock)
        self._routes: dict[SubscriptionQueue, None] = {}
        """The queues of what goes to other replicas, whole."""
        self._responders = 0
        """Subscribers that are responders, and other replicas."""
        self._requested = 0
        self._no_responders = 0
        self._refusal: Callable[[], TrunklineError] | None = None
        """While the broker drains: makes what requests are refused with."""
        self._expired_on_arrival = 0
        self._past_drops = Drops()
        self._past_delivered = 0
        peers.attach(self)

    def new_journal(self, engine: JournalEngine) -> Journal:
        """Returns a journal that is not opened; what it stores goes to this broker's subscribers. It is the broker's
        once it is `journal`."""
        return Journal(
            engine,
            self._journal_limits,
            self.clock,
            self._format,
            self._fan_out_stored,
            self._announce,
            self.recent,
            self._journal_sequencer,
        )

    def subscribe(self, pattern: str, group: str, subscriber: Subscriber) -> Subscription:
        """Registers interest; nothing published here after the return is missed, nor elsewhere after it has begun: see
        `Peers.when_begun`.

        Raises:
            InvalidChannelError: the pattern or the group's name is malformed.
            OverloadedError: too many subscriptions, or patterns that cost too much; see `Interest.add`.
        """
        check_pattern(pattern)
        if group:
            check_name("group", group)
        self._check_room()
        if group:
            queue = self.groups.open(pattern, group)
        else:
            queue = self._make_queue(pattern, "")
            self._index.add(pattern, queue)
            self.peers.begin(queue)
        subscription = self._register(queue, subscriber)
        self._responders += subscriber.responder is not None
        self.peers.add_interest(pattern, group, answers=subscriber.can_answer)
        if subscriber.can_answer:
            self.serve_waiting(pattern)
        return subscription

    def _make_queue(self, pattern: str, group: str) -> SubscriptionQueue:
        limits = self._limits
        return SubscriptionQueue(pattern, group, limits.max_queued_messages, limits.max_queued_bytes, self._memory)

    def serve_waiting(self, pattern: str) -> None:
        """Somebody came who answers requests on channels that match: those that wait for that are put to it."""
        if self._requests.waiting:
            for request in list(self._requests.waiting.values()):
                if matches(pattern, request.channel):
                    self._put_again(request, None)

    def subscribe_durable(
        self,
        name: str,
        pattern: str,
        position: Callable[[], int | None],
        settings: DurableSettings,
        *,
        given: bool,
        subscriber: Subscriber,
        done: Done,
    ) -> Subscription:
        """Joins a durable subscription, which is made where there is none; `done` is told when it is durable.

        Args:
            position: see `Journal.create`; asked where it is made.
            given: whether the settings were said, and must be those of one that is there.

        Raises:
            As `Journal.create`; OverloadedError: too many subscriptions.
        """
        self._check_room()
        start = None if name in self.journal.durables else position()
        durable, _ = self.journal.durables.create(name, pattern, start, settings, given=given, done=done)
        return self._register(durable, subscriber)

    def _check_room(self) -> None:
        if len(self._subscriptions) >= self._limits.max_subscriptions:
            raise OverloadedError(
                f"{len(self._subscriptions)} subscriptions are registered already",
                details={"limit": "max_subscriptions", "maximum": self._limits.max_subscriptions},
            )

    def _register(self, queue: SubscriptionQueue | DurableSubscription, subscriber: Subscriber) -> Subscription:
        self._last_subscription_id += 1
        subscription = Subscription(self, self._last_subscription_id, queue, subscriber, self.clock())
        self._subscriptions[subscription.id] = subscription
        queue.join(subscriber)
        return subscription

    def unsubscribe(self, subscription: Subscription, *, nothing_begun: bool = False) -> None:
        """See `Subscription.close`."""
        if self._subscriptions.pop(subscription.id, None) is None:
            return
        if subscription.on_closed is not None:
            subscription.on_closed()
        self._past_delivered += subscription.subscriber.delivered
        responder = subscription.subscriber.responder
        if responder is not None:
            self._responders -= 1
        self._leave(subscription)
        if responder is not None:
            self._requests.responder_left(responder, nothing_begun=nothing_begun)

    def retire(self, subscription: Subscription) -> None:
        """Lets a subscription take nothing more. A responder goes on to answer what it accepted; of a live one without
        a group, what waits can still be taken, whatever its credit. Others stay as they are."""
        queue, subscriber = subscription.queue, subscription.subscriber
        if subscriber.responder is not None:
            self._leave(subscription)
            self._requests.responder_left(subscriber.responder, nothing_begun=True, but_accepted=True)
        elif isinstance(queue, SubscriptionQueue) and not queue.group and not subscription.is_retired:
            subscription.is_retired = True
            self.peers.remove_interest(queue.pattern, "", answers=subscriber.can_answer)
            self._index.remove(queue.pattern, queue)
            subscriber.credit = None
            subscriber.wake(subscriber)

    def _leave(self, subscription: Subscription) -> None:
        queue, subscriber = subscription.queue, subscription.subscriber
        if subscriber.responder is not None and subscriber.queue is None:
            return  # it took nothing more already
        if not isinstance(queue, SubscriptionQueue):
            queue.leave(subscriber)
            return
        if not subscription.is_retired:
            self.peers.remove_interest(queue.pattern, queue.group, answers=subscriber.can_answer)
        if queue.group and len(queue.subscribers) == 1:
            self.groups.before_last(queue)
        waited = queue.count
        if not queue.leave(subscriber):
            return
        if queue.group:
            self.groups.close(queue)
        elif not subscription.is_retired:
            self._index.remove(queue.pattern, queue)
        self._past_drops.add(queue.drops)
        if waited:
            self._requests.queue_left(queue)

    def publish(self, channel: str, batches: Sequence[MessageBatch], correlated: list[Correlated]) -> None:
        """Gives each batch its sequence and puts it into the queues of who is interested; settles requests.

        A batch that has expired already is not delivered; it keeps sequence 0.

        Raises:
            InvalidChannelError: the channel is malformed; nothing was published.
        """
        check_channel(channel)
        for batch in batches:
            if batch.expires_at is not None and batch.expires_at < self.clock():
                self._expired_on_arrival += len(batch.messages)
                continue
            batch.first_sequence = self._sequencer.allot(len(batch.messages))
            self._published += len(batch.messages)
            self.recent.carry(batch, EventKind.PUBLISHED)
        if channel in self.journal.in_flight:  # what was stored before it on this channel goes first
            self.journal.follow(lambda: self._fan_out(channel, batches, correlated))
        else:
            self._fan_out(channel, batches, correlated)

    def store(self, publication: Publication, done: Done) -> None:
        """Publishes messages that are stored first; `done` is told when they are, or why not.

        Raises:
            InvalidChannelError: the channel is malformed; nothing was published.
            OverloadedError: too much waits for the disk; nothing was published.
        """
        check_channel(publication.channel)
        now = self.clock()
        live, kept = [], []
        for batch, ids in zip(publication.batches, publication.message_ids, strict=True):
            if batch.expires_at is not None and batch.expires_at < now:
                self._expired_on_arrival += len(batch.messages)
            else:
                live.append(batch)
                kept.append(ids)
        publication.batches, publication.message_ids = live, kept
        self.journal.publish(publication, done)

    def _fan_out(self, channel: str, batches: Sequence[MessageBatch], correlated: list[Correlated]) -> None:
        """Puts batches that have their sequences into the queues of who is interested."""
        queues = self._index.match(channel)
        for batch in batches:
            if batch.first_sequence and queues:
                self._offer(batch, queues)
        if correlated:
            self.peers.correlate(channel, self.resolve(channel, correlated))

    def count_interested(self, channel: str, *, stored: bool) -> int:
        """Returns how many subscriptions get what is published on a channel now; see `matched` of a Receipt."""
        live = len(self._index.match(channel))
        return live + self.journal.durables.count_matching(channel) if stored else live

    def resolve(self, channel: str, correlated: list[Correlated]) -> list[Correlated]:
        """Settles the requests that messages answer; returns the messages for which none is pending here."""
        return self._requests.resolve(channel, correlated) if len(self._requests) else correlated

    def _offer(self, batch: MessageBatch, queues: Sequence[SubscriptionQueue]) -> None:
        memory = self._memory
        memory.add(batch, len(queues))
        for queue in queues:
            queue.offer(batch)
        if memory.size > memory.maximum:
            memory.make_room(self._queues())

    def _queues(self) -> list[SubscriptionQueue]:
        """All queues of live messages; costs a walk over the subscriptions."""
        queues = (each.queue for each in self._subscriptions.values())
        here = {id(queue): queue for queue in queues if isinstance(queue, SubscriptionQueue)}
        return [*here.values(), *self.groups.shared(), *self._routes]

    # What the other replicas do here; see `trunklined.bus.replicas`.

    def open_route(self, queue: SubscriptionQueue) -> None:
        """Counts the queue of another replica, and lets it take requests."""
        self._routes[queue] = None
        self._responders += 1

    def close_route(self, queue: SubscriptionQueue, subscriber: Subscriber) -> None:
        """The other replica is gone, with what waits for it; its patterns were withdrawn before."""
        del self._routes[queue]
        self._responders -= 1
        waited = queue.count
        queue.leave(subscriber)
        self._past_drops.add(queue.drops)
        if waited:
            self._requests.queue_left(queue)
        if subscriber.responder is not None:
            self._requests.responder_left(subscriber.responder, nothing_begun=False)

    def route(self, pattern: str, queue: SubscriptionQueue) -> None:
        """Puts messages of channels that match into the queue of another replica."""
        self._index.add(pattern, queue, bounded=False)

    def unroute(self, pattern: str, queue: SubscriptionQueue) -> None:
        """Takes that back."""
        self._index.remove(pattern, queue)

    def make_route_queue(self, kind: type[Q]) -> Q:
        """Makes a queue of the bounds that all have, for what goes to another replica."""
        return kind("", "", self._limits.max_queued_messages, self._limits.max_queued_bytes, self._memory)

    def arrive(
        self,
        batch: MessageBatch,
        group: GroupKey | None,
        requests: Sequence[tuple[int, ForwardedRequest]],
        newcomers: Collection[SubscriptionQueue],
    ) -> None:
        """Takes a batch that another replica hands on, with its sequences.

        Args:
            group: the group whose members here it is for; None: for all here who are in none.
            requests: those of its messages that are requests which wait for an answer, each with its index.
            newcomers: of those who are in no group, whom it is not for.
        """
        if group is None:
            queues = [each for each in self._index.match(batch.channel) if each.is_here and each not in newcomers]
        else:
            queue = self.groups.queue_of(group)
            queues = [] if queue is None else [queue]
        self.recent.carry(batch, EventKind.ARRIVED)
        for index, request in requests:
            self._take_request(request, batch, index, queues)
        if queues:
            self._offer(batch, queues)
        else:
            self._past_drops.vanished += len(batch.messages)

    def _take_request(
        self, request: ForwardedRequest, batch: MessageBatch, index: int, queues: Sequence[SubscriptionQueue]
    ) -> None:
        channel = batch.channel
        if not request.is_pending:
            if self._refusal is not None or not any(queue.can_answer(channel) for queue in queues):
                request.give_up()
                return
            try:
                self._requests.add(request)
            except TrunklineError as error:
                request.refuse(error)
                return
        others = request.others or any(queue.has_other(channel) for queue in queues)
        holding = [queue for queue in queues if queue.has_responder(channel)]
        self._requests.put_into(holding, others, request, batch.first_sequence + index)

    def give_back(self, request: PendingRequest, responder: Responder, *, begun: bool) -> None:
        """See `PendingRequests.given_back`."""
        self._requests.given_back(request, responder, begun=begun)

    def pending_request(self, request_id: str) -> PendingRequest | None:
        """Returns a pending request by its correlation id; None: none is."""
        return self._requests.get(request_id)

    def _fan_out_stored(self, channel: str, batches: Sequence[MessageBatch], correlated: list[Correlated]) -> None:
        self._published += sum(len(batch.messages) for batch in batches)
        self._fan_out(channel, batches, correlated)

    def request(self, request: PendingRequest, batch: MessageBatch) -> None:
        """Publishes a request's message and waits for its reply.

        Raises:
            InvalidChannelError: the channel is malformed.
            NoRespondersError: nobody subscribes to it, and it does not wait for somebody.
            InvalidMessageError, OverloadedError: see `PendingRequests.add`.
            TrunklineError: the broker drains; see `begin_drain`.
        """
        if self._refusal is not None:
            raise self._refusal()
        check_channel(request.channel)
        queues = self._index.match(request.channel)
        can_be_answered = any(queue.can_answer(request.channel) for queue in queues)
        if not can_be_answered and not request.terms.wait_for_responder:
            raise self._nobody_answers(request)
        self._requests.add(request)
        self._requested += 1
        if batch.expires_at is not None and batch.expires_at < self.clock():
            self._expired_on_arrival += 1
            return
        if can_be_answered:
            self._put(request, batch, queues)
        else:
            request.batch = batch
            self._requests.waiting[request.correlation_id] = request

    def _put(self, request: PendingRequest, batch: MessageBatch, queues: Sequence[SubscriptionQueue]) -> None:
        """Gives a request's message its sequence and puts it into queues."""
        batch.first_sequence = self._sequencer.allot(1)
        self._published += 1
        self.recent.carry(batch, EventKind.PUBLISHED)
        request.offered()
        if self._responders:
            channel = request.channel
            holding = [queue for queue in queues if queue.has_responder(channel)]
            if holding:
                others = any(queue.has_other(channel) for queue in queues)
                self._requests.put_into(holding, others, request, batch.first_sequence)
                request.batch = batch
        # It cannot answer another request: none that is pending has its correlation id.
        self._offer(batch, queues)

    def _put_again(self, request: PendingRequest, responder: Responder | None) -> None:
        """Puts a request's message into the queues of those who can answer now; where there are none, it waits for
        some, or fails."""
        queues = self._index.match(request.channel)
        if request.batch is not None and any(queue.can_answer(request.channel) for queue in queues):
            self._requests.waiting.pop(request.correlation_id, None)
            self._put(request, replace(request.batch, share=None), queues)
        elif request.terms.wait_for_responder and self._refusal is None:
            self._requests.waiting[request.correlation_id] = request
        else:
            request.fail(lost_error(request, responder) if request.begun else self._nobody_answers(request))

    def _lost(self, request: PendingRequest, responder: Responder | None) -> None:
        """Nobody has a request any more: it goes to others where nobody has begun with it, or it may be repeated."""
        if request.begun and not request.terms.repeatable:
            request.fail(lost_error(request, responder))
        else:
            self._put_again(request, responder)

    def _nobody_answers(self, request: PendingRequest) -> NoRespondersError:
        self._no_responders += 1
        return NoRespondersError(f"nobody subscribes to {request.channel!r}", details={"channel": request.channel})

    def hand_out(self, subscriber: Subscriber, batch: MessageBatch) -> list[tuple[int, PendingRequest]]:
        """Notes that a responder was given messages; returns those that are requests which wait for its answer, each
        with its index."""
        assert subscriber.responder is not None
        if not self._requests:
            return []
        return self._requests.hand_out(subscriber.queue, subscriber.responder, batch)

    def find_request(self, request_id: str) -> PendingRequest:
        """Returns a pending request by its correlation id.

        Raises:
            RequestNotFoundError: none is pending.
        """
        return self._requests.find(request_id)

    def responder(self, subscription_id: int) -> Responder:
        """Returns a subscription that answers requests, by its id.

        Raises:
            InvalidMessageError: there is none.
        """
        subscription = self._subscriptions.get(subscription_id)
        if subscription is None or subscription.subscriber.responder is None:
            raise InvalidMessageError(
                f"subscription_id is {subscription_id}, which is no subscription of a responder",
                details={"field": "subscription_id", "value": str(subscription_id)},
            )
        return subscription.subscriber.responder

    def _announce(self, letter: DeadLetter, dead_letters: int) -> None:
        message = self._format.announcement(letter, dead_letters)
        self.publish(DEAD_LETTER_CHANNEL, [MessageBatch(DEAD_LETTER_CHANNEL, HIGH_LEVEL, [message], len(message))], [])

    @property
    def request_latency(self) -> Histogram:
        """Times from requests to their replies."""
        return self._requests.latency

    def begin_drain(self, refusal: Callable[[], TrunklineError]) -> None:
        """Refuses new requests and hands out nothing more of what is durable; all else goes on.

        Args:
            refusal: makes the error of a request that is refused.
        """
        self._refusal = refusal
        for request in list(self._requests.waiting.values()):
            request.fail(refusal())
        self.journal.stop_handing_out()

    def awaits(self, correlation_id: str) -> bool:
        """Returns whether a pending request waits for a message with this correlation id."""
        return correlation_id in self._requests

    @property
    def has_requests(self) -> bool:
        """Whether a request is pending."""
        return len(self._requests) > 0

    async def requests_settled(self) -> None:
        """Waits until no request is pending; to be called after `begin_drain`."""
        await self._requests.settled()

    def fail_requests(self, error: TrunklineError) -> None:
        """Settles all pending requests with an error: the service stops."""
        self._requests.fail_all(error)

    def subscriptions(self, after: int = 0) -> Iterator[Subscription]:
        """The subscriptions that there are now at this replica, in order of their ids, behind one."""
        return (each for each in [*self._subscriptions.values()] if each.id > after)

    def pending_requests(self) -> Iterable[PendingRequest]:
        """The requests that wait for their answers at this replica, the oldest first."""
        return self._requests.all()

    def statistics(self) -> Statistics:
        """A snapshot; costs a walk over the subscriptions."""
        queues = self._queues()
        drops = [self._past_drops, *(queue.drops for queue in queues)]
        return Statistics(
            published=self._published,
            delivered=self._past_delivered + sum(each.subscriber.delivered for each in self._subscriptions.values()),
            expired=self._expired_on_arrival + sum(each.expired for each in drops),
            lagged=sum(each.lagged for each in drops),
            evicted=sum(each.evicted for each in drops),
            vanished=sum(each.vanished for each in drops),
            requests=self._requested,
            request_timeouts=self._requests.timeouts,
            no_responders=self._no_responders,
            pending_requests=len(self._requests),
            subscriptions=len(self._subscriptions),
            queued_messages=sum(queue.count for queue in queues),
            queued_bytes=sum(queue.size for queue in queues),
            queue_memory_bytes=self._memory.size,
            max_queue_memory_bytes=self._memory.maximum,
        )
