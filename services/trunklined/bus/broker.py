"""Broker: takes runs from publishers and puts them into the queues of who is interested."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trunkline.channels import check_channel, check_name, check_pattern
from trunkline.errors import NoRespondersError, OverloadedError, TrunklineError
from trunklined.bus.interest import Interest
from trunklined.bus.queue import Drops, Subscriber, SubscriptionQueue
from trunklined.bus.requests import Correlated, PendingRequest, PendingRequests
from trunklined.bus.run import Run
from trunklined.rpc.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Limits:
    """The broker's bounds; see `trunkline.limits` for what happens at each."""

    max_queued_messages: int
    max_queued_bytes: int
    max_subscriptions: int
    max_pending_requests: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the start, and what is held now. Of copies, not of messages, where several subscribe."""

    published: int
    delivered: int
    expired: int
    lagged: int
    vanished: int
    requests: int
    request_timeouts: int
    no_responders: int
    pending_requests: int
    subscriptions: int
    queued_messages: int
    queued_bytes: int


class Subscription:
    """One subscriber's place in a queue; made by `Broker.subscribe`, ended by `close`."""

    __slots__ = ("_broker", "id", "queue", "started_at", "subscriber")

    def __init__(
        self, broker: Broker, id: int, queue: SubscriptionQueue, subscriber: Subscriber, started_at: float
    ) -> None:
        self._broker = broker
        self.id = id
        self.queue = queue
        self.subscriber = subscriber
        self.started_at = started_at

    def close(self) -> None:
        """Ends the subscription; idempotent. What waited only for it is dropped and counted as vanished."""
        self._broker.unsubscribe(self)


class Broker:
    """All of it runs in one event loop and nothing in it waits: a publisher is never delayed by a subscriber.

    Args:
        limits: the bounds.
        clock: UNIX time in seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._limits = limits
        self._interest: Interest[SubscriptionQueue] = Interest()
        self._groups: dict[tuple[str, str], SubscriptionQueue] = {}
        self._subscriptions: dict[int, Subscription] = {}
        self._last_subscription_id = 0
        self._sequence = 0
        self._requests = PendingRequests(limits.max_pending_requests)
        self._requested = 0
        self._no_responders = 0
        self._expired_on_arrival = 0
        self._past_drops = Drops()
        self._past_delivered = 0

    def subscribe(self, pattern: str, group: str, subscriber: Subscriber) -> Subscription:
        """Registers interest; nothing published after the return is missed.

        Raises:
            InvalidChannelError: the pattern or the group's name is malformed.
            OverloadedError: too many subscriptions.
        """
        check_pattern(pattern)
        if group:
            check_name("group", group)
        if len(self._subscriptions) >= self._limits.max_subscriptions:
            raise OverloadedError(
                f"{len(self._subscriptions)} subscriptions are registered already",
                details={"limit": "max_subscriptions", "maximum": self._limits.max_subscriptions},
            )
        queue = self._groups.get((pattern, group)) if group else None
        if queue is None:
            queue = SubscriptionQueue(pattern, group, self._limits.max_queued_messages, self._limits.max_queued_bytes)
            self._interest.add(pattern, queue)
            if group:
                self._groups[pattern, group] = queue
        self._last_subscription_id += 1
        subscription = Subscription(self, self._last_subscription_id, queue, subscriber, self.clock())
        self._subscriptions[subscription.id] = subscription
        queue.join(subscriber)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """See `Subscription.close`."""
        if self._subscriptions.pop(subscription.id, None) is None:
            return
        queue = subscription.queue
        self._past_delivered += subscription.subscriber.delivered
        if queue.leave(subscription.subscriber):
            self._interest.remove(queue.pattern, queue)
            self._groups.pop((queue.pattern, queue.group), None)
            self._past_drops.lagged += queue.drops.lagged
            self._past_drops.expired += queue.drops.expired
            self._past_drops.vanished += queue.drops.vanished

    def publish(self, channel: str, runs: Sequence[Run], correlated: list[Correlated]) -> None:
        """Gives each run its sequence and puts it into the queues of who is interested; settles requests.

        A run that has expired already is not delivered; it keeps sequence 0.

        Raises:
            InvalidChannelError: the channel is malformed; nothing was published.
        """
        check_channel(channel)
        self._spread(self._interest.match(channel), runs)
        if correlated and len(self._requests):
            self._requests.resolve(channel, correlated)

    def _spread(self, queues: Sequence[SubscriptionQueue], runs: Sequence[Run]) -> None:
        for run in runs:
            if run.expires_at is not None and run.expires_at < self.clock():
                self._expired_on_arrival += len(run.messages)
                continue
            run.first_sequence = self._sequence + 1
            self._sequence += len(run.messages)
            for queue in queues:
                queue.offer(run)

    def request(self, request: PendingRequest, run: Run) -> None:
        """Publishes a request's message and waits for its reply.

        Raises:
            InvalidChannelError: the channel is malformed.
            NoRespondersError: nobody subscribes to it.
            InvalidMessageError, OverloadedError: see `PendingRequests.add`.
        """
        check_channel(request.channel)
        queues = self._interest.match(request.channel)
        if not any(queue.can_answer for queue in queues):
            self._no_responders += 1
            raise NoRespondersError(f"nobody subscribes to {request.channel!r}", details={"channel": request.channel})
        self._requests.add(request)
        self._requested += 1
        # It cannot answer another request: none that is pending has its correlation id.
        self._spread(queues, (run,))

    @property
    def request_latency(self) -> Histogram:
        """Times from requests to their replies."""
        return self._requests.latency

    def fail_requests(self, error: TrunklineError) -> None:
        """Settles all pending requests with an error: the service stops."""
        self._requests.fail_all(error)

    def listed(self) -> Iterator[Subscription]:
        """All subscriptions, in order of their ids."""
        return iter(self._subscriptions.values())

    def statistics(self) -> Statistics:
        """A snapshot; costs a walk over the subscriptions."""
        queues = {id(each.queue): each.queue for each in self._subscriptions.values()}.values()
        drops = [self._past_drops, *(queue.drops for queue in queues)]
        return Statistics(
            published=self._sequence,
            delivered=self._past_delivered + sum(each.subscriber.delivered for each in self._subscriptions.values()),
            expired=self._expired_on_arrival + sum(each.expired for each in drops),
            lagged=sum(each.lagged for each in drops),
            vanished=sum(each.vanished for each in drops),
            requests=self._requested,
            request_timeouts=self._requests.timeouts,
            no_responders=self._no_responders,
            pending_requests=len(self._requests),
            subscriptions=len(self._subscriptions),
            queued_messages=sum(queue.count for queue in queues),
            queued_bytes=sum(queue.size for queue in queues),
        )
