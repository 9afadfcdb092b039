"""Subscriptions, page by page, and figures: of all replicas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Final

from trunkline import __version__
from trunkline.channels import check_channel, check_pattern, matches
from trunkline.errors import InvalidMessageError
from trunkline.v1 import bus_pb2, inspection_pb2
from trunklined.bus.broker import Broker, Subscription
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.queue import SubscriptionQueue
from trunklined.bus.wire.inspection.questions import Questions
from trunklined.rpc.page_token import fill_page, make_page_token, page_size_of, read_page_token
from trunklined.rpc.times import stamp_of

SUBSCRIPTIONS: Final = "subscriptions"
FIGURES: Final = "figures"


def matching(
    broker: Broker, request: bus_pb2.ListSubscriptionsRequest, after: int
) -> Iterator[inspection_pb2.Subscription]:
    """Yields the subscriptions of this replica that are asked for, in order of their ids, behind one."""
    for each in broker.subscriptions(after):
        pattern = each.queue.pattern
        if request.pattern in ("", pattern) and (not request.channel or matches(pattern, request.channel)):
            yield to_wire(each, broker.peers.own.name)


async def own_subscriptions(broker: Broker, raw: bytes) -> bytes:
    """Returns a replica's own subscriptions; its page token is an id, behind which they are asked for."""
    request = bus_pb2.ListSubscriptionsRequest.FromString(raw)
    found = islice(matching(broker, request, int(request.page_token)), request.page_size)
    return bus_pb2.ListSubscriptionsResponse(subscriptions=found).SerializeToString()


async def list_subscriptions(
    broker: Broker, questions: Questions, request: bus_pb2.ListSubscriptionsRequest
) -> bus_pb2.ListSubscriptionsResponse:
    """One page of the subscriptions of all replicas, in order of their ids at each.

    Raises:
        InvalidChannelError: the pattern or the channel is malformed.
        InvalidMessageError: a page size below 1, or a page token that was never given.
    """
    page_size = page_size_of(request, InvalidMessageError)
    question = f"subscriptions {request.pattern} {request.channel}".encode()
    key = read_page_token(request.page_token, question, InvalidMessageError) or "/0"
    first, _, number = key.rpartition("/")
    after = int(number)
    if request.pattern:
        check_pattern(request.pattern)
    if request.channel:
        check_channel(request.channel)
    own = broker.peers.own
    found: list[tuple[str, inspection_pb2.Subscription]] = []
    for replica in sorted((own, *broker.peers.others())):
        if replica.id < first or len(found) > page_size:
            continue
        behind = after if replica.id == first else 0
        if replica == own:
            rows: Iterable[inspection_pb2.Subscription] = islice(matching(broker, request, behind), page_size + 1)
        else:
            part = bus_pb2.ListSubscriptionsRequest(
                pattern=request.pattern, channel=request.channel, page_size=page_size + 1, page_token=str(behind)
            )
            said = await questions.ask_one(replica, SUBSCRIPTIONS, part.SerializeToString())
            rows = bus_pb2.ListSubscriptionsResponse.FromString(said.encoded or b"").subscriptions
        found += ((f"{replica.id}/{row.subscription_id}", row) for row in rows)
    response = bus_pb2.ListSubscriptionsResponse()
    last = await fill_page(response.subscriptions, found, page_size)
    if last is not None:
        response.next_page_token = make_page_token(last, question)
    return response


def to_wire(subscription: Subscription, replica: str) -> inspection_pb2.Subscription:
    """One as it is now, at a replica."""
    queue, subscriber = subscription.queue, subscription.subscriber
    is_live = isinstance(queue, SubscriptionQueue)
    return inspection_pb2.Subscription(
        subscription_id=subscription.id,
        pattern=queue.pattern,
        group=queue.group if is_live else "",
        durable=queue.name if isinstance(queue, DurableSubscription) else "",
        peer=subscriber.peer,
        queued_messages=queue.count,
        queued_bytes=queue.size,
        delivered=subscriber.delivered,
        dropped=dropped_of(subscription),
        credit=subscriber.credit,
        started_at=stamp_of(subscription.started_at),
        replica=replica,
        observer=subscriber.observer,
        responder=subscriber.responder is not None,
        leased=subscriber.leased,
    )


def dropped_of(subscription: Subscription) -> int:
    """Returns how many messages were dropped since it, or its group, fell behind."""
    queue = subscription.queue
    return queue.drops.lagged + queue.drops.evicted if isinstance(queue, SubscriptionQueue) else 0


async def stats_of_others(questions: Questions) -> list[bus_pb2.GetStatsResponse]:
    """The figures of the other replicas that say them in time, in order of their names."""
    said = await questions.ask_others(FIGURES, b"")
    return [bus_pb2.GetStatsResponse.FromString(part.encoded) for part in said if part.encoded is not None]


def to_stats(broker: Broker, started_at: float, connections: int, address: str) -> bus_pb2.GetStatsResponse:
    """The figures of this replica as the wire has them."""
    statistics = broker.statistics()
    return bus_pb2.GetStatsResponse(
        published=statistics.published,
        delivered=statistics.delivered,
        dropped={
            "expired": statistics.expired,
            "lagged": statistics.lagged,
            "evicted": statistics.evicted,
            "vanished": statistics.vanished,
        },
        requests=statistics.requests,
        request_timeouts=statistics.request_timeouts,
        no_responders=statistics.no_responders,
        pending_requests=statistics.pending_requests,
        subscriptions=statistics.subscriptions,
        connections=connections,
        queued_messages=statistics.queued_messages,
        queued_bytes=statistics.queued_bytes,
        queue_memory_bytes=statistics.queue_memory_bytes,
        max_queue_memory_bytes=statistics.max_queue_memory_bytes,
        **asdict(broker.journal.statistics()),
        version=__version__,
        started_at=stamp_of(started_at),
        replica=broker.peers.own.name,
        address=address,
        other_replicas=sorted(each.name for each in broker.peers.others()),
    )
