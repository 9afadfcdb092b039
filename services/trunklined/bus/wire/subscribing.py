"""Subscriptions on the wire: how one begins, what its later frames do, and what is sent to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from trunkline.channels import check_pattern
from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.priority import PRIORITY_LEVELS
from trunkline.v1 import bus_pb2
from trunkline.wire.encoding import length_prefix, list_parts, number_tag, write_varint
from trunklined.access.gate import closed_gate, current_gate
from trunklined.access.rights import Need
from trunklined.bus.broker import Broker, Subscription
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.queue import Client, Subscriber
from trunklined.bus.recent import EventKind
from trunklined.bus.wire.reporting import report_all_but_refused, task_cancelled
from trunklined.bus.wire.responding import encode_requests, responder_of
from trunklined.bus.wire.settling import position_of, settings_of, settle
from trunklined.rpc.times import duration_of

_DELIVERIES: Final = bus_pb2.SubscribeResponse.Deliveries
_deliveries = length_prefix(bus_pb2.SubscribeResponse, "deliveries")
_messages = length_prefix(_DELIVERIES, "messages")
_FIRST_SEQUENCE: Final = number_tag(_DELIVERIES, "first_sequence")
_PRIORITIES: Final = tuple(
    number_tag(_DELIVERIES, "priority") + write_varint(level + 1) for level in range(PRIORITY_LEVELS)
)
_ATTEMPT: Final = number_tag(_DELIVERIES, "attempt")


def start_of(frame: bus_pb2.SubscribeRequest) -> bus_pb2.SubscribeRequest.Start:
    """Returns the `start` that the first frame of a subscription must be.

    Raises:
        InvalidMessageError: it is another frame, or its credit is below 1.
    """
    kind = frame.WhichOneof("frame")
    if kind != "start":
        raise InvalidMessageError(
            f"the first frame must be start, it is {kind or 'empty'}", details={"field": "frame", "value": kind or ""}
        )
    if frame.start.HasField("credit"):
        check_credit("start.credit", frame.start.credit)
    return frame.start


def subscriber_of(
    start: bus_pb2.SubscribeRequest.Start,
    id: int,
    peer: str,
    wake: Callable[[Subscriber], None],
    end: Callable[[Subscriber, TrunklineError], None],
    tell: Callable[[bus_pb2.SubscribeResponse], None],
    client: Client | None = None,
) -> Subscriber:
    """The subscriber that a `start` describes; for the arguments see `Subscriber`.

    Args:
        tell: sends it a frame.
    """
    credit = start.credit if start.HasField("credit") else None
    responder = responder_of(peer, tell) if start.responder else None
    subscriber = Subscriber(id, peer, credit, wake, start.observer, end, responder, client)
    subscriber.call_off = lambda told: tell(task_cancelled(told))
    return subscriber


def open_subscription(
    broker: Broker,
    start: bus_pb2.SubscribeRequest.Start,
    subscriber: Subscriber,
    started: Callable[[bus_pb2.SubscribeResponse.Started], None],
) -> Subscription:
    """Opens the subscription that a `start` asks for; `started` is called when interest is registered, which may be
    before this returns.

    Raises:
        As `Broker.subscribe` and `Broker.subscribe_durable`; InvalidMessageError: options that do not go together.
        OverloadedError: the caller has as many subscriptions as it may.
    """
    gate = closed_gate()
    slots = gate.open_subscription() if gate is not None else None
    if slots is None:
        return _open(broker, start, subscriber, started)
    try:
        subscription = _open(broker, start, subscriber, started)
    except BaseException:
        slots.give_back()
        raise
    subscription.on_closed = slots.give_back
    return subscription


def _open(
    broker: Broker,
    start: bus_pb2.SubscribeRequest.Start,
    subscriber: Subscriber,
    started: Callable[[bus_pb2.SubscribeResponse.Started], None],
) -> Subscription:
    if start.responder:
        for name in ("observer", "durable"):
            if value := getattr(start, name):
                raise InvalidMessageError(
                    f"{name} is {value!r}, but the subscription answers requests: it is live, and takes part",
                    details={"field": f"start.{name}", "value": str(value)},
                )
    if not start.durable:
        for name in ("position", "settings"):
            if start.HasField(name):
                raise InvalidMessageError(
                    f"{name} is set, but durable is not: only a durable subscription has it",
                    details={"field": f"start.{name}"},
                )
        subscription = broker.subscribe(start.pattern, start.group, subscriber)
        begun = bus_pb2.SubscribeResponse.Started(subscription_id=subscription.id)
        broker.peers.when_begun(lambda: started(begun))
        return subscription
    for name in ("group", "observer"):
        if value := getattr(start, name):
            raise InvalidMessageError(
                f"{name} is {value!r}, but the subscription is durable: all who name it are one group",
                details={"field": f"start.{name}", "value": str(value)},
            )
    settings = settings_of(start.settings)
    check_pattern(start.pattern)
    gate = current_gate() if start.durable not in broker.journal.durables else None

    def done(error: TrunklineError | None) -> None:
        if gate is not None:
            gate.record(Need("durable.create", start.durable), error)
        begun = bus_pb2.SubscribeResponse.Started(subscription_id=subscription.id)
        durable = subscription.queue
        if isinstance(durable, DurableSubscription):
            begun.ack_wait.CopyFrom(duration_of(durable.settings.ack_wait))
            begun.paused = durable.paused
            begun.lost_commits = broker.lost_commits
        started(begun)

    subscription = broker.subscribe_durable(
        start.durable,
        start.pattern,
        lambda: position_of(start.position, start.pattern, broker.journal),
        settings,
        given=start.HasField("settings"),
        subscriber=subscriber,
        done=done,
    )
    return subscription


def check_credit(name: str, messages: int) -> int:
    """Returns a credit of at least 1, or raises InvalidMessageError."""
    if messages < 1:
        raise InvalidMessageError(
            f"{name} is {messages}, it must be at least 1", details={"field": name, "value": str(messages)}
        )
    return messages


def apply_frame(subscriber: Subscriber, frame: bus_pb2.SubscribeRequest) -> list[bus_pb2.SubscribeResponse.Refused]:
    """Applies a frame behind the first of a subscription: credit, or how messages are settled.

    Raises:
        InvalidMessageError: a second start, an ack of a live subscription, a credit where the start set none, a
            figure out of bounds.

    Returns:
        Refusals of the messages that could not be settled.
    """
    kind = frame.WhichOneof("frame")
    subscriber.heard()
    if kind == "credit":
        check_credit("credit.messages", frame.credit.messages)
        if subscriber.credit is None:
            raise InvalidMessageError(
                "credit was granted, but the start set none: there is no limit to raise", details={"field": "credit"}
            )
        subscriber.grant(frame.credit.messages)
        return []
    if kind == "respond":
        raise InvalidMessageError(
            "respond is set, but the subscription was not started with responder", details={"field": "respond"}
        )
    if kind is None or kind == "start":
        problem = "the subscription has started already" if kind else "the frame is empty"
        raise InvalidMessageError(problem, details={"field": "frame", "value": kind or ""})
    if isinstance(subscriber.queue, DurableSubscription):
        if kind == "report":
            return report_all_but_refused(subscriber.queue, frame.report)
        refused = settle(subscriber.queue, kind, getattr(frame, kind))
        if kind == "extend":
            subscriber.queue.tell_cancelled(subscriber, frame.extend.sequences)
        return refused
    raise InvalidMessageError(
        "a live subscription has nothing to acknowledge", details={"field": "frame", "value": kind}
    )


class Response(NamedTuple):
    """An encoded SubscribeResponse.

    Attributes:
        parts: it, to be joined.
        size: its bytes.
        messages: how many it carries; one that says something else counts as one.
    """

    parts: list[bytes]
    size: int
    messages: int


def next_response(broker: Broker, subscriber: Subscriber, max_messages: int) -> Response | None:
    """Encodes what to send a subscriber next: that its durable subscription changed, or how many messages were dropped,
    in a response of its own, else messages; None where there is nothing."""
    queue = subscriber.queue
    if queue is None:
        return None
    if subscriber.changed and isinstance(queue, DurableSubscription):
        subscriber.changed = False
        lease, lost = duration_of(queue.settings.ack_wait), broker.lost_commits
        now_is = bus_pb2.SubscribeResponse.Changed(paused=queue.paused, ack_wait=lease, lost_commits=lost)
        changed = bus_pb2.SubscribeResponse(changed=now_is).SerializeToString()
        return Response([changed], len(changed), 1)
    if dropped := queue.tell_dropped():
        lagged = bus_pb2.SubscribeResponse(lagged=bus_pb2.SubscribeResponse.Lagged(dropped=dropped)).SerializeToString()
        return Response([lagged], len(lagged), 1)
    batch = queue.take(subscriber, max_messages, broker.clock())
    if batch is None:
        return None
    if not batch.attempt:  # what is durable was noted when it was leased
        broker.recent.note(EventKind.DELIVERED, range(batch.first_sequence, batch.end), subscriber.peer)
    head = _encode_channel(batch.channel) + _FIRST_SEQUENCE + write_varint(batch.first_sequence)
    head += _PRIORITIES[batch.level]
    if batch.attempt:
        head += _ATTEMPT + write_varint(batch.attempt)
    if subscriber.responder is not None:
        head += encode_requests(broker, subscriber, batch)
    messages = list_parts(_messages, batch.messages)
    size = len(head) + sum(map(len, messages))
    deliveries = _deliveries(size)
    return Response([deliveries, head, *messages], len(deliveries) + size, len(batch.messages))


@lru_cache(maxsize=1_024)
def _encode_channel(channel: str) -> bytes:
    return bus_pb2.SubscribeResponse.Deliveries(channel=channel).SerializeToString()
