"""Stuck: what does not move, the worst of each kind, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import nsmallest
from operator import attrgetter
from typing import Any, Final

from trunkline.errors import SubscriptionNotFoundError
from trunkline.limits import MAX_STUCK_LIMIT, STUCK_LIMIT
from trunkline.v1 import inspection_pb2
from trunklined.bus.broker import Broker, Subscription
from trunklined.bus.durable.pending import Pending
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.durable.waiting import WaitingQuery
from trunklined.bus.queue import SubscriptionQueue
from trunklined.bus.wire.connection import BusConnection
from trunklined.bus.wire.durable_calls import to_wire as durable_to_wire
from trunklined.bus.wire.inspection.explaining import of_durable
from trunklined.bus.wire.inspection.lists import dropped_of, to_wire
from trunklined.bus.wire.inspection.questions import Questions
from trunklined.bus.wire.translation import check_between, seconds_in
from trunklined.rpc.long_work import TimeSlice
from trunklined.rpc.times import stamp_of

STUCK: Final = "stuck"
OLDER_THAN: Final = 30.0
MAX_OLDER_THAN: Final = 7 * 86_400.0

_Response = inspection_pb2.StuckResponse


async def stuck(questions: Questions, request: inspection_pb2.StuckRequest) -> inspection_pb2.StuckResponse:
    """Puts together what all replicas say; the worst first, over all of them.

    Raises:
        InvalidMessageError: a figure is out of bounds.
    """
    _terms_of(request)
    response = _Response()
    await questions.join(STUCK, request, response)
    for found, order in (
        (response.requests, lambda each: each.asked_at.ToNanoseconds()),
        (response.lagging, lambda each: (-each.dropped, -each.queued_messages)),
        (response.connections, _held),
    ):
        found.sort(key=order)
    return response


def _terms_of(request: inspection_pb2.StuckRequest) -> tuple[float, int]:
    older_than = OLDER_THAN
    if request.HasField("older_than"):
        older_than = check_between("older_than", seconds_in("older_than", request.older_than), 0, MAX_OLDER_THAN)
    limit = request.limit if request.HasField("limit") else STUCK_LIMIT
    return older_than, int(check_between("limit", limit, 1, MAX_STUCK_LIMIT, ""))


async def own_part(broker: Broker, connections: Iterable[BusConnection], raw: bytes) -> bytes:
    """Returns what does not move at this replica; what is durable where it has the journal."""
    older_than, limit = _terms_of(inspection_pb2.StuckRequest.FromString(raw))
    before = broker.clock() - older_than
    response = _Response()
    work = TimeSlice()
    in_flight: list[Any] = []
    waiting: list[Any] = []
    for durable in list(broker.journal.durables) if broker.journal.engine.is_owned() else ():
        in_flight += _in_flight(durable, before, limit)
        response.keys.extend(_keys(durable, limit - len(response.keys)))
        if (stands := await _waiting(broker, durable, before)) is not None:
            waiting.append(stands)
        if work.is_over:
            await work.rest()
    in_flight.sort(key=lambda each: each.handed_out_at.ToNanoseconds())
    waiting.sort(key=lambda each: each.oldest_at.ToNanoseconds())
    response.in_flight.extend(in_flight[:limit])
    response.durables.extend(waiting[:limit])
    response.requests.extend(_requests(broker, older_than, limit))
    await _add_live(response, broker, connections, limit)
    return response.SerializeToString()


async def _waiting(broker: Broker, durable: DurableSubscription, before: float) -> Any:
    """Returns a durable subscription, if the oldest message that waits in it was taken before then; else None."""
    if durable.count <= 0:
        return None
    try:
        found, _ = await broker.journal.waiting.look(durable.name, WaitingQuery(), 0, 1)
    except SubscriptionNotFoundError:  # deleted meanwhile
        return None
    oldest = min((each.batch.time for each in found), default=None)
    if oldest is None or oldest > before:
        return None
    _, why = of_durable(durable)
    if all(each.pending is not None for each in found):
        why = why or "all that waits was tried before, and waits for its next attempt"
    elif all(each.is_blocked for each in found):
        why = why or "all that waits first waits for others of its ordering key"
    return _Response.StuckDurable(
        subscription=durable_to_wire(durable, broker.peers.own.name), oldest_at=stamp_of(oldest), why=why
    )


def _in_flight(durable: DurableSubscription, before: float, limit: int) -> Iterator[Any]:
    """Yields what was handed out before then and is not settled, the oldest first."""
    leases = durable.backlog.pending_messages.leases
    old = (pending for pending in leases.pending() if pending.handed_out_at <= before)
    for pending in nsmallest(limit, old, key=attrgetter("handed_out_at")):
        yield _Response.InFlight(
            durable=durable.name,
            sequence=min(leases.unsettled(pending), default=pending.sequence),
            messages=pending.left,
            holder=pending.peer,
            handed_out_at=stamp_of(pending.handed_out_at),
            lease_ends_at=stamp_of(leases.deadline_of(pending)),
            attempt=pending.attempts,
            last_error=_last_error(pending),
            connected=pending.holder is not None and pending.holder.queue is not None,
            ordering_key=pending.key or "",
        )


def _keys(durable: DurableSubscription, most: int) -> Iterator[Any]:
    """Yields ordering keys behind which messages wait."""
    if most <= 0:
        return
    pending_messages = durable.backlog.pending_messages
    blocking = durable.backlog.keys.blocking()[:most]
    retrying = pending_messages.waiting([sequence for _, sequence in blocking])
    for key, sequence in blocking:
        leased = pending_messages.leases.of(sequence)
        pending = leased or retrying.get(sequence)
        if pending is not None:
            due = pending_messages.leases.deadline_of(pending) if leased else pending.due
            yield _Response.BlockingKey(
                durable=durable.name,
                ordering_key=key,
                sequence=sequence,
                state="leased" if leased else "retrying",
                holder=pending.peer if leased else "",
                attempt=pending.attempts,
                last_error=_last_error(pending),
                due_at=stamp_of(due or 0.0),
            )


def _last_error(pending: Pending) -> str:
    return pending.log[-1].error if pending.log else ""


def _requests(broker: Broker, older_than: float, limit: int) -> Iterator[Any]:
    """Yields the requests that have waited for so long."""
    now = broker.clock()
    for request in list(broker.pending_requests())[:limit]:
        if request.age < older_than:
            return  # they are in order
        yield _Response.PendingRequest(
            request_id=request.correlation_id,
            channel=request.channel,
            asked_at=stamp_of(now - request.age),
            deadline=stamp_of(now + request.time_left),
            responders=request.responders,
            accepted=request.accepted_by is not None,
            replica=broker.peers.own.name,
        )


async def _add_live(
    response: inspection_pb2.StuckResponse, broker: Broker, connections: Iterable[BusConnection], limit: int
) -> None:
    """Adds live subscriptions that lag, and what connections hold."""
    replica = broker.peers.own.name
    by_peer: dict[str, Any] = {}

    def of(peer: str) -> Any:
        return by_peer.setdefault(peer, _Response.Connection(peer=peer, replica=replica))

    for connection in connections:
        of(connection.peer).asked += connection.asked
    lagging: list[Subscription] = []
    work = TimeSlice()
    for each in broker.subscriptions():
        if work.is_over:
            await work.rest()
        subscriber, queue = each.subscriber, each.queue
        held = of(subscriber.peer)
        held.subscriptions += 1
        held.leased += subscriber.leased
        if subscriber.responder is not None:
            held.answering += len(subscriber.responder.held)
        if isinstance(queue, SubscriptionQueue):
            held.queued_messages += queue.count
            if dropped_of(each) or (queue.count and subscriber.credit == 0):
                lagging.append(each)
                if len(lagging) == 2 * limit:
                    lagging = nsmallest(limit, lagging, key=_lag)
    response.lagging.extend(to_wire(each, replica) for each in nsmallest(limit, lagging, key=_lag))
    response.connections.extend(nsmallest(limit, by_peer.values(), key=_held))


def _lag(subscription: Subscription) -> tuple[int, int]:
    return -dropped_of(subscription), -subscription.queue.count


def _held(connection: Any) -> tuple[int, str]:
    return -(connection.leased + connection.queued_messages + connection.asked + connection.answering), connection.peer
