"""What people who debug ask of the bus: its subscriptions, page by page, and its figures."""

from __future__ import annotations

from dataclasses import asdict

from trunkline import __version__
from trunkline.channels import check_pattern
from trunkline.errors import InvalidMessageError
from trunkline.v1 import bus_pb2
from trunklined.bus.broker import Broker, Subscription
from trunklined.bus.queue import SubscriptionQueue
from trunklined.rpc.page_token import fill_page, make_page_token, page_size_of, read_page_token
from trunklined.rpc.times import stamp_of


async def list_subscriptions(
    broker: Broker, request: bus_pb2.ListSubscriptionsRequest
) -> bus_pb2.ListSubscriptionsResponse:
    """One page of the subscriptions, in order of their ids.

    Raises:
        InvalidChannelError: the pattern is malformed.
        InvalidMessageError: a page size below 1, or a page token that was never given.
    """
    page_size = page_size_of(request, InvalidMessageError)
    question = f"subscriptions {request.pattern}".encode()
    after = int(read_page_token(request.page_token, question, InvalidMessageError) or 0)
    pattern = check_pattern(request.pattern) if request.pattern else None
    found = (
        (str(each.id), _to_wire(each))
        for each in broker.listed()
        if each.id > after and (pattern is None or each.queue.pattern == pattern)
    )
    response = bus_pb2.ListSubscriptionsResponse()
    last = await fill_page(response.subscriptions, found, page_size)
    if last is not None:
        response.next_page_token = make_page_token(last, question)
    return response


def _to_wire(subscription: Subscription) -> bus_pb2.Subscription:
    queue, subscriber = subscription.queue, subscription.subscriber
    return bus_pb2.Subscription(
        subscription_id=subscription.id,
        pattern=queue.pattern,
        group=queue.group,
        peer=subscriber.peer,
        queued_messages=queue.count,
        queued_bytes=queue.size,
        delivered=subscriber.delivered,
        dropped=queue.drops.lagged + queue.drops.evicted if isinstance(queue, SubscriptionQueue) else 0,
        credit=subscriber.credit,
        started_at=stamp_of(subscription.started_at),
    )


def to_stats(broker: Broker, started_at: float, connections: int) -> bus_pb2.GetStatsResponse:
    """The figures as the wire has them."""
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
    )
