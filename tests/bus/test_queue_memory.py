"""One bound for all queues: the largest gives way, what is shared counts once, and all of it adds up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from trunkline.limits import MIN_QUEUE_MEMORY_BYTES, QUEUE_MEMORY_PART, MiB
from trunkline.priority import MEDIUM_LEVEL
from trunklined.bus.app import make_broker
from trunklined.bus.broker import Broker, Subscription
from trunklined.bus.config import Settings
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.queue import Subscriber
from trunklined.local.bus import SETTINGS
from trunklined.rpc.memory import available_memory

BOUND = 4 * MiB
KiB = 1024

MakeBroker = Callable[[int | None], Broker]


@pytest.fixture
async def make() -> AsyncIterator[MakeBroker]:
    """Makes brokers with a bound of their own; they are closed at the end."""
    made: list[Broker] = []

    def make(bound: int | None) -> Broker:
        broker = make_broker(Settings.model_construct(engine="memory", max_queue_memory_bytes=bound))
        broker.journal.open()
        made.append(broker)
        return broker

    yield make
    for broker in made:
        await broker.journal.close()


@pytest.fixture
async def broker(make: MakeBroker) -> Broker:
    return make(BOUND)


def stalled(broker: Broker, pattern: str, woken: list[Subscriber] | None = None) -> Subscription:
    """A subscription that takes nothing by itself."""
    wake = (lambda _: None) if woken is None else woken.append
    return broker.subscribe(pattern, "", Subscriber(1, "peer", None, wake))


def publish(broker: Broker, channel: str, size: int, times: int = 1) -> None:
    for _ in range(times):
        broker.publish(channel, [MessageBatch(channel, MEDIUM_LEVEL, [bytes(size)], size)], [])


def taken(subscription: Subscription) -> int:
    """Takes everything; returns how many messages it was."""
    count = 0
    while (batch := subscription.queue.take(subscription.subscriber, 512, 0.0)) is not None:
        count += len(batch.messages)
    return count


def dropped(subscriptions: Iterable[Subscription]) -> list[int]:
    return [each.queue.tell_dropped() for each in subscriptions]


async def test_the_largest_gives_way_and_the_others_lose_nothing(broker: Broker) -> None:
    """However much comes for it; the sum stays within the bound after each publish."""
    small = [stalled(broker, f"small:{n}") for n in range(8)]
    large = stalled(broker, "large")
    for n in range(8):
        publish(broker, f"small:{n}", 10 * KiB, 20)
    for _ in range(1_000):
        publish(broker, "large", 10 * KiB)
        assert broker.statistics().queue_memory_bytes <= BOUND
    assert dropped(small) == [0] * 8
    lost = large.queue.tell_dropped()
    now = broker.statistics()
    assert (now.evicted, now.lagged) == (lost, 0)
    assert lost > 0
    assert [taken(each) for each in small] == [20] * 8
    kept = taken(large)
    assert kept + lost == 1_000
    assert kept * 10 * KiB > BOUND / 2, "no more goes than must"
    assert broker.statistics().queue_memory_bytes == 0


async def test_the_oldest_go_and_the_subscriber_is_woken_to_be_told(broker: Broker) -> None:
    """Also where its queue is not what is published to."""
    woken: list[Subscriber] = []
    large = stalled(broker, "large", woken)
    publish(broker, "large", MiB, 3)
    stalled(broker, "other")
    woken.clear()
    publish(broker, "other", MiB, 1)
    assert woken == [large.subscriber]
    assert large.queue.tell_dropped() == 1
    batch = large.queue.take(large.subscriber, 1, 0.0)
    assert batch is not None
    assert batch.first_sequence == 2


async def test_equally_large_ones_give_way_alike(broker: Broker) -> None:
    """No one of them pays for all."""
    queues = [stalled(broker, f"c:{n}") for n in range(8)]
    for _ in range(500):
        for n in range(8):
            publish(broker, f"c:{n}", 4 * KiB)
    lost = dropped(queues)
    assert min(lost) > 0
    assert max(lost) - min(lost) <= BOUND // 16 // (4 * KiB), "a step or two apart"


async def test_what_several_hold_counts_once(broker: Broker) -> None:
    """A hundred stalled subscribers of one channel take what one takes, until the last of them has taken it."""
    holders = [stalled(broker, "news") for _ in range(100)]
    publish(broker, "news", 30 * KiB, 100)
    assert 100 * 30 * KiB < broker.statistics().queue_memory_bytes < BOUND
    assert broker.statistics().queued_bytes == 100 * 100 * 30 * KiB
    for holder in holders[:-1]:
        assert taken(holder) == 100
    assert broker.statistics().queue_memory_bytes > 100 * 30 * KiB
    holders[-1].close()
    assert broker.statistics().queue_memory_bytes == 0
    assert broker.statistics().evicted == 0


async def test_what_several_hold_is_given_up_by_all_of_them(broker: Broker) -> None:
    """Only then is it free. Who reads on loses nothing."""
    holders = [stalled(broker, "news") for _ in range(20)]
    reader = stalled(broker, "news")
    read = 0
    for _ in range(500):
        publish(broker, "news", 20 * KiB)
        read += taken(reader)
        assert broker.statistics().queue_memory_bytes <= BOUND
    assert read == 500
    assert dropped([reader]) == [0]
    lost = dropped(holders)
    assert min(lost) > 0
    assert [taken(holder) + gone for holder, gone in zip(holders, lost, strict=True)] == [500] * 20
    assert broker.statistics().queue_memory_bytes == 0


async def test_small_messages_count_with_what_python_takes_for_them(broker: Broker) -> None:
    """Else a queue of them would take many times the bound."""
    stalled(broker, "tiny")
    publish(broker, "tiny", 1, 50_000)
    now = broker.statistics()
    assert now.evicted > 0
    assert now.queued_messages * 300 < BOUND


async def test_the_default_is_a_part_of_the_memory_that_there_is(make: MakeBroker) -> None:
    """Also of the bus in memory."""
    expected = max(MIN_QUEUE_MEMORY_BYTES, available_memory() // QUEUE_MEMORY_PART)
    assert make(None).statistics().max_queue_memory_bytes == expected
    assert make_broker(SETTINGS).statistics().max_queue_memory_bytes == expected
