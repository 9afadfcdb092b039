"""Groups whose members are at several replicas: what waits at one goes to whoever is free."""

from __future__ import annotations

from trunklined.bus.app import make_broker
from trunklined.bus.broker import Broker
from trunklined.bus.config import Settings
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.queue import Subscriber

PATTERN, GROUP = "work", "workers"


def quiet(_: Subscriber) -> None:
    """A wake that does nothing: the test takes when it likes."""


def publish(broker: Broker, count: int) -> None:
    """Publishes messages that say their number."""
    messages = [str(number).encode() for number in range(count)]
    broker.publish(PATTERN, [MessageBatch(PATTERN, 1, messages, sum(map(len, messages)), None, 0)], [])


def taken(broker: Broker, subscriber: Subscriber) -> list[int]:
    """What one is given now, as far as its credit goes."""
    numbers = []
    while subscriber.queue is not None and (batch := subscriber.queue.take(subscriber, 100, broker.clock())):
        numbers += [int(message) for message in batch.messages]
    return numbers


def test_a_replica_that_joins_takes_what_members_here_would_not() -> None:
    """And they keep what they have credit for, which comes first."""
    broker = make_broker(Settings.model_construct(engine="memory"))
    member, elsewhere = Subscriber(1, "", 3, quiet), Subscriber(2, "", 100, quiet)
    broker.subscribe(PATTERN, GROUP, member)
    publish(broker, 10)
    broker.groups.join((PATTERN, GROUP), elsewhere)
    assert taken(broker, member) == [0, 1, 2]
    assert taken(broker, elsewhere) == [3, 4, 5, 6, 7, 8, 9]


def test_what_a_member_leaves_is_not_kept_for_a_busy_one_beside_it() -> None:
    """What it had credit for, and had not taken, goes to whoever is free, at another replica too."""
    broker = make_broker(Settings.model_construct(engine="memory"))
    busy, leaver, elsewhere = (Subscriber(number, "", 0, quiet) for number in range(3))
    broker.subscribe(PATTERN, GROUP, busy)
    left = broker.subscribe(PATTERN, GROUP, leaver)
    broker.groups.join((PATTERN, GROUP), elsewhere)
    leaver.grant(10)
    publish(broker, 10)
    broker.unsubscribe(left)
    elsewhere.grant(100)
    assert taken(broker, elsewhere) == list(range(10))
    assert taken(broker, busy) == []


def test_members_without_a_bound_keep_what_waits_for_them() -> None:
    """They would take all of it; who joins elsewhere gets its part of what is published then."""
    broker = make_broker(Settings.model_construct(engine="memory"))
    member, elsewhere = Subscriber(1, "", None, quiet), Subscriber(2, "", 100, quiet)
    broker.subscribe(PATTERN, GROUP, member)
    publish(broker, 10)
    broker.groups.join((PATTERN, GROUP), elsewhere)
    assert taken(broker, elsewhere) == []
    assert taken(broker, member) == list(range(10))
