"""What people who debug ask of the bus: its subscriptions, page by page, and its figures."""

from __future__ import annotations

from hashlib import blake2b
from itertools import islice
from typing import Final

from trunkline import __version__
from trunkline.channels import check_pattern
from trunkline.errors import InvalidMessageError
from trunkline.limits import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from trunkline.v1 import bus_pb2
from trunklined.bus.broker import Broker, Statistics, Subscription

ENGINE = "memory"

_DIGEST_BYTES: Final = 8
_KEY: Final = b"trunkline bus page token"
"""Not a secret: it tells tokens that were given from text that was made up."""


def list_subscriptions(broker: Broker, request: bus_pb2.ListSubscriptionsRequest) -> bus_pb2.ListSubscriptionsResponse:
    """One page of the subscriptions, in order of their ids.

    Raises:
        InvalidChannelError: the pattern is malformed.
        InvalidMessageError: a page size below 1, or a page token that was never given.
    """
    page_size = DEFAULT_PAGE_SIZE
    if request.HasField("page_size"):
        page_size = min(request.page_size, MAX_PAGE_SIZE)
        if page_size < 1:
            raise InvalidMessageError(
                f"page_size is {page_size}, it must be at least 1",
                details={"field": "page_size", "value": str(page_size)},
            )
    after = _read_token(request.page_token, request.pattern)
    pattern = check_pattern(request.pattern) if request.pattern else None
    found = (each for each in broker.listed() if each.id > after and (pattern is None or each.queue.pattern == pattern))
    page = list(islice(found, page_size + 1))
    response = bus_pb2.ListSubscriptionsResponse(subscriptions=map(_to_wire, page[:page_size]))
    if len(page) > page_size:
        response.next_page_token = _token(page[page_size - 1].id, request.pattern)
    return response


def _token(after: int, pattern: str) -> str:
    """Names the last subscription of a page; good only for the pattern that was asked for."""
    digest = blake2b(f"{after}:{pattern}".encode(), digest_size=_DIGEST_BYTES, key=_KEY).hexdigest()
    return f"{after:x}-{digest}"


def _read_token(token: str, pattern: str) -> int:
    if not token:
        return 0
    try:
        after = int(token.partition("-")[0][: _DIGEST_BYTES * 2], 16)
    except ValueError:
        after = 0
    if token != _token(after, pattern):
        raise InvalidMessageError(
            f"page_token {token[:80]!r} was never given for this pattern",
            details={"field": "page_token", "value": token[:80]},
        )
    return after


def _to_wire(subscription: Subscription) -> bus_pb2.Subscription:
    queue, subscriber = subscription.queue, subscription.subscriber
    listed = bus_pb2.Subscription(
        subscription_id=subscription.id,
        pattern=queue.pattern,
        group=queue.group,
        peer=subscriber.peer,
        queued_messages=queue.count,
        queued_bytes=queue.size,
        delivered=subscriber.delivered,
        dropped=queue.drops.lagged,
        credit=subscriber.credit,
    )
    listed.started_at.FromNanoseconds(int(subscription.started_at * 1e9))
    return listed


def to_stats(statistics: Statistics, started_at: float, connections: int) -> bus_pb2.GetStatsResponse:
    """The figures as the wire has them."""
    response = bus_pb2.GetStatsResponse(
        published=statistics.published,
        delivered=statistics.delivered,
        dropped={
            "expired": statistics.expired,
            "lagged": statistics.lagged,
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
        engine=ENGINE,
        version=__version__,
    )
    response.started_at.FromNanoseconds(int(started_at * 1e9))
    return response
