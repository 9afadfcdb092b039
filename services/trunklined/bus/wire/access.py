"""What each call of the bus, and each item of its streams, asks for: the one table of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from trunkline.errors import DeadLetterNotFoundError, RequestNotFoundError, TaskNotFoundError
from trunkline.wire.opaque import bus_passthrough
from trunklined.access.gate import Costs
from trunklined.access.limits import FREE_OF_COST, Cost, cost_of_messages
from trunklined.access.rights import ALL, EVERY_CHANNEL, FREE, Need, Rules
from trunklined.bus.broker import Broker, Subscription
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.wire.publishing import is_stored
from trunklined.rpc.access import Guarded

PACKAGE: Final = "trunkline.v1"
ADMINISTRATION: Final = (
    *("CreateDurableSubscription", "DeleteDurableSubscription", "SeekDurableSubscription"),
    *("UpdateDurableSubscription", "PauseDurableSubscription", "ResumeDurableSubscription"),
    *("CancelWaitingMessages", "MoveWaitingMessages", "RedriveDeadLetters", "PurgeDeadLetters"),
)
"""Calls that the audit log has where they succeed, too."""
WAITING: Final = ("Request",)
"""Unary calls in which a request waits, which counts by itself."""
TYPES: Final = {
    f"{PACKAGE}.{name}": bus_passthrough()[name] for name in ("PublishRequest", "RequestRequest", "RespondRequest")
}


class Facts(Protocol):
    """What the bus knows of the things that calls name by an id."""

    def knows_journal(self) -> bool:
        """Returns whether it has the journal. Else what is asked of it goes to the replica that does, and is checked
        there."""

    def has_durable(self, name: str) -> bool: ...

    def channel_of_request(self, id: str) -> str:
        """Returns the channel of a pending request; EVERY_CHANNEL: it is not known here."""

    def channel_of_task(self, id: str) -> str:
        """Returns the channel of a task; EVERY_CHANNEL: there is none."""

    def durable_of_letter(self, id: int) -> str:
        """Returns the durable subscription that a dead letter is of; ALL: there is none."""


class BrokerFacts:
    """The facts of a broker.

    Args:
        broker: which knows them.
        knows_journal: see `Facts`.
    """

    def __init__(self, broker: Broker, knows_journal: Callable[[], bool] = lambda: True) -> None:
        self._broker = broker
        self.knows_journal = knows_journal

    def has_durable(self, name: str) -> bool:
        return name in self._broker.journal.durables

    def channel_of_request(self, id: str) -> str:
        try:
            return self._broker.find_request(id).channel
        except RequestNotFoundError:
            return EVERY_CHANNEL

    def channel_of_task(self, id: str) -> str:
        try:
            return self._broker.journal.tasks.find(id).channel
        except TaskNotFoundError:
            return EVERY_CHANNEL

    def durable_of_letter(self, id: int) -> str:
        try:
            return self._broker.journal.letters.find(id).durable
        except DeadLetterNotFoundError:
            return ALL


def guarded_calls(facts: Facts, stored_patterns: Sequence[str]) -> Guarded:
    """Returns what each call and item asks for, by the full name of its message; for the patterns see `Publisher`."""
    return Guarded(rules_of(facts), TYPES, ADMINISTRATION, costs_of(stored_patterns), WAITING)


def costs_of(stored_patterns: Sequence[str]) -> Costs:
    """Returns what calls and items use of the rates, where that is not one message and its bytes. What begins or keeps
    up a subscription, and what is about something open, is free: who has used up a rate can still settle what it has,
    and come back."""

    def publish(request: Any) -> Cost:
        return cost_of_messages(request.messages, stored=is_stored(request, stored_patterns))

    def submit(request: Any) -> Cost:
        size = request.ByteSize()
        return Cost(1, size, size)

    free = ("SubscribeRequest", "OpenStreamRequest.Cancel", "OpenStreamRequest.Ping", "OpenStreamRequest.RequestCredit")
    return {
        **{f"{PACKAGE}.{name}": lambda request: FREE_OF_COST for name in free},
        f"{PACKAGE}.PublishRequest": publish,
        f"{PACKAGE}.SubmitTaskRequest": submit,
    }


def needs_of_subscription(subscription: Subscription) -> tuple[Need, ...]:
    """Returns what a subscription that is open goes on to need."""
    queue = subscription.queue
    if isinstance(queue, DurableSubscription):
        return (Need("durable.join", queue.name), Need("subscribe", queue.pattern))
    right = "respond" if subscription.subscriber.responder is not None else "subscribe"
    return (Need(right, queue.pattern),)


def rules_of(facts: Facts) -> Rules:
    """Returns the table."""

    def start(wanted: Any) -> Iterable[Need]:
        if not wanted.durable:
            return (Need("respond" if wanted.responder else "subscribe", wanted.pattern),)
        needs = (Need("durable.join", wanted.durable), Need("subscribe", wanted.pattern))
        if facts.knows_journal() and not facts.has_durable(wanted.durable):
            return (*needs, Need("durable.create", wanted.durable))
        return needs

    def letters(right: str, request: Any) -> Iterable[Need]:
        if not facts.knows_journal():
            return FREE
        if request.dead_letter_ids:
            return [Need(right, facts.durable_of_letter(id)) for id in dict.fromkeys(request.dead_letter_ids)]
        return (Need(right, request.filter.durable or ALL),)

    def letter(request: Any) -> Iterable[Need]:
        if not facts.knows_journal():
            return FREE
        return (Need("dead_letters.see", facts.durable_of_letter(request.dead_letter_id)),)

    def task(right: str, request: Any) -> Iterable[Need]:
        return (Need(right, facts.channel_of_task(request.task_id)),) if facts.knows_journal() else FREE

    def frame(request: Any) -> Iterable[Need]:
        return start(request.start) if request.WhichOneof("frame") == "start" else FREE

    def durable(right: str, field: str = "name") -> Callable[[Any], Iterable[Need]]:
        return lambda request: (Need(f"durable.{right}", getattr(request, field)),)

    rules: dict[str, Callable[[Any], Iterable[Need]]] = {
        "PublishRequest": lambda request: (Need("publish", request.channel),),
        "PublishStreamRequest": lambda request: (Need("publish", request.publish.channel),),
        "RequestRequest": lambda request: (Need("request", request.channel),),
        "RequestStreamRequest": lambda request: (Need("request", request.request.channel),),
        "SubscribeRequest": frame,
        "RespondRequest": lambda request: (Need("respond", facts.channel_of_request(request.request_id)),),
        "CancelRequest": lambda request: (Need("request", facts.channel_of_request(request.request_id)),),
        # Of what is open on the same stream.
        "OpenStreamRequest.Cancel": lambda request: FREE,
        "OpenStreamRequest.Ping": lambda request: FREE,
        "OpenStreamRequest.RequestCredit": lambda request: FREE,
        "ListSubscriptionsRequest": lambda request: (Need("inspect", "list"),),
        "GetStatsRequest": lambda request: (Need("inspect", "stats"),),
        "ExplainRequest": lambda request: (Need("inspect", "explain"),),
        "TailRequest": lambda request: (Need("inspect", "tail"), Need("subscribe", request.pattern)),
        "TraceRequest": lambda request: (Need("inspect", "trace"),),
        "StuckRequest": lambda request: (Need("inspect", "stuck"),),
        "CreateDurableSubscriptionRequest": lambda request: (
            Need("durable.create", request.name),
            Need("subscribe", request.pattern),
        ),
        "GetDurableSubscriptionRequest": durable("see"),
        "ListDurableSubscriptionsRequest": lambda request: (Need("inspect", "list"),),
        "DeleteDurableSubscriptionRequest": durable("delete"),
        "SeekDurableSubscriptionRequest": durable("seek"),
        "UpdateDurableSubscriptionRequest": durable("manage"),
        "PauseDurableSubscriptionRequest": durable("manage"),
        "ResumeDurableSubscriptionRequest": durable("manage"),
        "SettleRequest": durable("settle", "durable"),
        "ListWaitingMessagesRequest": durable("see", "durable"),
        "CancelWaitingMessagesRequest": durable("manage", "durable"),
        "MoveWaitingMessagesRequest": lambda request: (
            Need("durable.manage", request.durable),
            Need("durable.manage", request.to_durable),
        ),
        "ListDeadLettersRequest": lambda request: (Need("dead_letters.see", request.filter.durable or ALL),),
        "GetDeadLetterRequest": letter,
        "RedriveDeadLettersRequest": lambda request: letters("dead_letters.redrive", request),
        "PurgeDeadLettersRequest": lambda request: letters("dead_letters.purge", request),
        "SubmitTaskRequest": lambda request: (Need("tasks.submit", request.channel),),
        "GetTaskRequest": lambda request: task("tasks.see", request),
        "ListTasksRequest": lambda request: (Need("tasks.see", request.channel or EVERY_CHANNEL),),
        "CancelTaskRequest": lambda request: task("tasks.cancel", request),
    }
    return {f"{PACKAGE}.{name}": rule for name, rule in rules.items()}
