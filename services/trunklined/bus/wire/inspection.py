"""What people who debug ask of the bus: its subscriptions, page by page, and its figures; of all replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from typing import Final

from trunkline import __version__
from trunkline.channels import check_pattern
from trunkline.errors import InvalidMessageError
from trunkline.v1 import bus_pb2
from trunklined.bus.broker import Broker
from trunklined.bus.replicas.items import Row
from trunklined.bus.replicas.peers import Replica
from trunklined.rpc.page_token import fill_page, make_page_token, page_size_of, read_page_token
from trunklined.rpc.times import stamp_of

FIGURES_SECONDS: Final = 1.0
"""What another replica gets to say its figures."""


async def list_subscriptions(
    broker: Broker, request: bus_pb2.ListSubscriptionsRequest
) -> bus_pb2.ListSubscriptionsResponse:
    """One page of the subscriptions of all replicas, in order of their ids at each.

    Raises:
        InvalidChannelError: the pattern is malformed.
        InvalidMessageError: a page size below 1, or a page token that was never given.
    """
    page_size = page_size_of(request, InvalidMessageError)
    question = f"subscriptions {request.pattern}".encode()
    key = read_page_token(request.page_token, question, InvalidMessageError) or "/0"
    first, _, number = key.rpartition("/")
    after = int(number)
    pattern = check_pattern(request.pattern) if request.pattern else None
    own = broker.peers.own
    found: list[tuple[str, bus_pb2.Subscription]] = []
    for replica in sorted((own, *broker.peers.others())):
        if replica.id < first or len(found) > page_size:
            continue
        behind = after if replica.id == first else 0
        if replica == own:
            rows: Iterable[Row] = islice(broker.rows(pattern, behind), page_size + 1)
        else:
            rows = await broker.peers.rows(replica, pattern, behind, page_size + 1)
        found += ((f"{replica.id}/{row.id}", _to_wire(row, replica.name)) for row in rows)
    response = bus_pb2.ListSubscriptionsResponse()
    last = await fill_page(response.subscriptions, found, page_size)
    if last is not None:
        response.next_page_token = make_page_token(last, question)
    return response


def _to_wire(row: Row, replica: str) -> bus_pb2.Subscription:
    return bus_pb2.Subscription(
        subscription_id=row.id,
        pattern=row.pattern,
        group=row.group,
        peer=row.peer,
        queued_messages=row.queued_messages,
        queued_bytes=row.queued_bytes,
        delivered=row.delivered,
        dropped=row.dropped,
        credit=row.credit,
        started_at=stamp_of(row.started_at),
        replica=replica,
    )


async def stats_of_others(broker: Broker) -> list[bus_pb2.GetStatsResponse]:
    """The figures of the other replicas that say them in time, in order of their names."""

    async def ask(replica: Replica) -> bytes | None:
        try:
            async with asyncio.timeout(FIGURES_SECONDS):
                return await broker.peers.figures(replica)
        except TimeoutError:
            return None

    others = sorted(broker.peers.others(), key=lambda each: each.name)
    answers = await asyncio.gather(*map(ask, others))
    return [bus_pb2.GetStatsResponse.FromString(answer) for answer in answers if answer is not None]


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
