"""Durable delivery by the synchronous face: the same, for code without an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.contract.durables import AT_ONCE
from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterNotFoundError,
    DeadLetterReason,
    Durability,
    DurableSettings,
    InvalidMessageError,
    SubscriptionExistsError,
    SubscriptionNotFoundError,
    TrunklineError,
    WaitingFilter,
)
from trunkline.sync import DurableMessage, MessageBus, StateManager


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"sync:{uuid4().hex}:work"


@pytest.fixture
def name() -> str:
    """A durable name of this test alone."""
    return f"sync-{uuid4().hex}"


@pytest.fixture
def bus(bus_address: str) -> Iterator[MessageBus]:
    """A connected bus."""
    with MessageBus(bus_address) as bus:
        yield bus


def store(bus: MessageBus, channel: str, *words: object) -> list[int]:
    """Publishes messages stored; their sequences."""
    return [bus.publish(channel, numbered(word), stored=True).sequence for word in words]


def take(bus: MessageBus, channel: str, name: str, count: int) -> list[DurableMessage]:
    """Takes and acks so many messages."""
    taken: list[DurableMessage] = []
    stream = bus.messages(channel, durable=name)
    while len(taken) < count:
        taken.append(next(stream))
        taken[-1].ack()
    stream.close()
    return taken


def letters(bus: MessageBus, name: str, count: int) -> list[DeadLetter]:
    """The dead letters of a durable subscription, the oldest first, once there are so many."""
    deadline = time.monotonic() + PATIENCE
    while len(found := list(bus.dead_letters(durable=name))) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} dead letters came"
        time.sleep(0.01)
    return found[::-1]


def test_a_stored_publish_returns_a_receipt(bus: MessageBus, channel: str) -> None:
    """After the sync; the same message again is a duplicate; an option out of bounds is refused."""
    message = numbered(1)
    receipt = bus.publish(channel, message, stored=True, ordering_key="k", deliver_after=0)
    assert receipt.sequence >= 1
    assert receipt.durability is Durability.STORED
    again = bus.publish(channel, message, stored=True)
    assert (again.duplicate, again.sequence) == (True, receipt.sequence)
    with pytest.raises(InvalidMessageError, match="deliver_after is -1 s"):
        bus.publish(channel, numbered(2), stored=True, deliver_after=-1)


def test_a_callback_acks_by_returning_and_naks_by_raising(bus: MessageBus, channel: str, name: str) -> None:
    """In a thread of its own; what failed comes again with the next attempt's number."""
    came: list[tuple[object, int]] = []
    threads: set[threading.Thread] = set()
    enough = threading.Event()

    def work(message: DurableMessage) -> None:
        threads.add(threading.current_thread())
        came.append((message.payload["n"], message.attempt))
        assert message.channel == channel
        if message.payload["n"] == "hard" and message.attempt == 1:
            raise ValueError("not yet")
        if message.payload["n"] == "end":
            enough.set()

    bus.subscribe(channel, work, durable=name, settings=AT_ONCE)
    sequences = store(bus, channel, "hard", "easy")
    assert sequences == sorted(sequences)
    store(bus, channel, "end")
    assert enough.wait(PATIENCE)
    bus.unsubscribe(channel)
    assert sorted(came, key=str) == [("easy", 1), ("end", 1), ("hard", 1), ("hard", 2)]
    assert threading.main_thread() not in threads


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StopIteration, "RuntimeError: coroutine raised StopIteration"),
        (KeyboardInterrupt, "KeyboardInterrupt"),
        (GeneratorExit, "GeneratorExit"),
        (SystemExit, "SystemExit"),
        (asyncio.CancelledError, "CancelledError"),
        (concurrent.futures.CancelledError, "CancelledError"),
    ],
)
def test_a_callback_ends_only_its_own_message(
    bus: MessageBus, channel: str, name: str, error: type[BaseException], said: str
) -> None:
    """Whatever it raises: its message becomes a dead letter with the true reason, and the others are done."""
    done: queue.SimpleQueue[object] = queue.SimpleQueue()

    def work(message: AgentMessage) -> None:
        if message.payload["n"] == "bad":
            raise error
        done.put(message.payload["n"])

    settings = DurableSettings(max_deliveries=2, backoff=AT_ONCE.backoff)
    bus.subscribe(channel, work, durable=name, settings=settings)
    bus.subscribe(channel, work)
    store(bus, channel, "bad", "good")
    assert [done.get(timeout=PATIENCE) for _ in range(2)] == ["good", "good"]
    assert [attempt.error for attempt in letters(bus, name, 1)[0].attempts] == [said] * 2


def test_each_step_of_an_iterator_acks_the_one_before(bus: MessageBus, channel: str, name: str) -> None:
    """Closing it gives back the last one, as failed."""
    bus.create_durable(name, channel, settings=AT_ONCE)
    store(bus, channel, 0, 1)
    stream = bus.messages(channel, durable=name)
    first, second = next(stream), next(stream)
    assert (first.settled, second.settled) == (True, False)
    stream.close()
    (taken,) = take(bus, channel, name, 1)
    assert (taken.payload, taken.attempt, taken.sequence) == ({"n": 1}, 2, second.sequence)


def test_a_message_is_settled_by_hand(bus: MessageBus, channel: str, name: str) -> None:
    """ack, nak, extend and terminate, without await."""
    bus.create_durable(name, channel, settings=AT_ONCE)
    store(bus, channel, "acked", "nakked", "terminated")
    stream = bus.messages(channel, durable=name)
    acked = next(stream)
    acked.ack()
    nakked = next(stream)
    nakked.extend(5)
    nakked.nak("again", delay=0)
    again = next(stream)
    while again.payload["n"] != "nakked":
        again.terminate("never")
        again = next(stream)
    again.ack()
    assert again.attempt == 2
    store(bus, channel, "end")
    last = next(stream)
    if last.payload["n"] == "terminated":
        last.terminate("never")
        last = next(stream)
    assert last.payload == {"n": "end"}
    stream.close()
    assert all(message.settled for message in (acked, nakked, again))
    (letter,) = letters(bus, name, 1)
    assert (letter.message.payload, letter.error) == ({"n": "terminated"}, "never")


def test_create_seek_and_delete(bus: MessageBus, channel: str, name: str) -> None:
    """With the errors of the asynchronous one."""
    assert bus.create_durable(name, channel)
    assert not bus.create_durable(name, channel)
    with pytest.raises(SubscriptionExistsError):
        bus.create_durable(name, f"{channel}:*")
    sequences = store(bus, channel, 0, 1, 2)
    take(bus, channel, name, 3)
    bus.seek_durable(name, sequences[1])
    assert [message.payload["n"] for message in take(bus, channel, name, 2)] == [1, 2]
    bus.delete_durable(name)
    with pytest.raises(SubscriptionNotFoundError):
        bus.delete_durable(name)
    with pytest.raises(SubscriptionNotFoundError):
        bus.seek_durable(name, "all")


def test_dead_letters_are_listed_redriven_and_purged(bus: MessageBus, channel: str, name: str) -> None:
    """By id and by filter, dry and for good."""
    bus.create_durable(name, channel)
    store(bus, channel, "a", "b")
    stream = bus.messages(channel, durable=name)
    for _ in range(2):
        next(stream).terminate("never")
    stream.close()
    first, second = letters(bus, name, 2)
    assert first.reason is DeadLetterReason.TERMINATED
    assert len(list(bus.dead_letters(durable=name, limit=1))) == 1
    mine = DeadLetterFilter(durable=name)
    assert bus.redrive(mine, dry_run=True).redriven == 2
    assert bus.redrive([first.id]).ids == (first.id,)
    assert [message.payload["n"] for message in take(bus, channel, name, 1)] == ["a"]
    assert bus.purge(mine, dry_run=True) == 1
    assert bus.purge(mine) == 1
    assert list(bus.dead_letters(durable=name)) == []
    assert second.id != first.id


def test_a_message_is_given_back(bus: MessageBus, channel: str, name: str) -> None:
    """It comes again at once, and no attempt was counted; it tells channel, sequence and ordering key."""
    bus.create_durable(name, channel)
    receipt = bus.publish(channel, numbered(1), stored=True, ordering_key="k")
    stream = bus.messages(channel, durable=name)
    first = next(stream)
    first.release()
    assert first.settled
    again = next(stream)
    assert (again.message_id, again.attempt) == (first.message_id, 1)
    assert (again.channel, again.sequence, again.ordering_key) == (channel, receipt.sequence, "k")
    stream.close()


def test_the_bus_says_what_it_has(bus: MessageBus, channel: str, name: str) -> None:
    """Durable subscriptions, subscriptions, figures, and dead letters one by one."""
    bus.create_durable(name, channel, settings=AT_ONCE)
    store(bus, channel, 1)
    info = bus.durable(name)
    assert (info.name, info.pattern, info.settings, info.waiting) == (name, channel, AT_ONCE, 1)
    assert name in [each.name for each in bus.durables()]
    with pytest.raises(SubscriptionNotFoundError):
        bus.durable(f"{name}-other")
    bus.subscribe(f"{channel}:live", lambda _: None, observer=True)
    assert [each.pattern for each in bus.subscriptions(f"{channel}:live")] == [f"{channel}:live"]
    assert bus.statistics().durable_subscriptions >= 1

    bus.subscribe(channel, lambda message: message.terminate("never"), durable=name)
    (letter,) = letters(bus, name, 1)
    assert bus.dead_letter(letter.id) == letter
    assert bus.count_dead_letters(durable=name) == 1
    assert [each.attempts for each in bus.dead_letters(durable=name, brief=True)] == [()]
    with pytest.raises(DeadLetterNotFoundError):
        bus.dead_letter(2**62)


def test_the_end_of_a_subscription_is_told(bus: MessageBus, channel: str, name: str) -> None:
    """To `on_error`, in the background thread."""
    ended: queue.Queue[TrunklineError] = queue.Queue()
    bus.subscribe(channel, lambda _: None, durable=name, on_error=ended.put)
    bus.delete_durable(name)
    assert isinstance(ended.get(timeout=PATIENCE), SubscriptionNotFoundError)


def test_the_state_says_what_it_counts(state_address: str) -> None:
    """As the asynchronous class does."""
    with StateManager(state_address) as manager:
        assert manager.statistics().engine == "sqlite"


def test_limits_pauses_and_what_waits(bus: MessageBus, channel: str, name: str) -> None:
    """As the asynchronous face has them."""
    told = queue.Queue[bool]()
    bus.create_durable(name, channel)
    bus.create_durable(f"{name}-2", channel)
    assert bus.update_durable(name, max_leased=3).settings.max_leased == 3
    assert bus.pause_durable(name).paused
    sequences = store(bus, channel, 0, 1, 2)
    assert [each.sequence for each in bus.waiting_messages(name)] == sequences
    assert bus.cancel_waiting(name, WaitingFilter(sequences=sequences[:1])).cancelled == 1
    assert bus.move_waiting(name, WaitingFilter(sequences=sequences[1:2]), f"{name}-2").moved == 1
    assert [each.sequence for each in bus.waiting_messages(name, limit=5)] == sequences[2:]
    bus.subscribe(channel, lambda message: None, durable=name, on_paused=told.put)
    assert told.get(timeout=PATIENCE) is True
    assert not bus.resume_durable(name).paused
    assert told.get(timeout=PATIENCE) is False
    assert [message.payload["n"] for message in take(bus, channel, f"{name}-2", 4)] == [0, 1, 2, 1]
