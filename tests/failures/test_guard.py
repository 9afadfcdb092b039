"""ErrorHandler.guard: retries, breaker and dead letters of a subscription's callback, on a real bus."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.inbox import Inbox, numbered
from tests.failures.clock import Clock
from tests.failures.letters import Letters, entry_of
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    Backoff,
    CircuitBreaker,
    CircuitState,
    DurableMessage,
    DurableSettings,
    ErrorHandler,
    InvalidMessageError,
    MessageBus,
    PermissionDeniedError,
    RetryPolicy,
)
from trunkline.channels import DEAD_LETTERS, ERRORS

AT_ONCE = DurableSettings(backoff=Backoff(initial=0), max_deliveries=3)


class Work:
    """A callback that fails as often as it is told, and writes down what it was given."""

    def __init__(self, *errors: Exception) -> None:
        self.inbox = Inbox()
        self._errors = list(errors)

    async def __call__(self, message: DurableMessage) -> None:
        await self.inbox(message)
        if self._errors:
            raise self._errors.pop(0)

    @property
    def deliveries(self) -> list[int]:
        """The number of the delivery of each call."""
        return [message.attempt for message in self.inbox.messages if isinstance(message, DurableMessage)]


@pytest.fixture
def handler(bus: MessageBus, name: str, policy: RetryPolicy) -> ErrorHandler:
    return ErrorHandler(bus, name, policy=policy)


async def test_a_message_is_tried_again_in_place_and_acked(
    handler: ErrorHandler, bus: MessageBus, other: MessageBus, name: str, clock: Clock
) -> None:
    """It was handed out once, and the next one comes."""
    work = Work(ConnectionError("refused"), TimeoutError())
    await bus.subscribe(name, handler.guard(work), durable=name, settings=AT_ONCE)
    await other.publish(name, numbered(1), stored=True)
    await other.publish(name, numbered(2), stored=True)
    await work.inbox.have(4)
    assert work.inbox.numbers == [1, 1, 1, 2]
    assert work.deliveries == [1, 1, 1, 1]
    assert clock.slept == [1.0, 2.0]


async def test_after_its_retries_a_message_goes_to_whoever_is_free(
    handler: ErrorHandler, bus: MessageBus, other: MessageBus, name: str
) -> None:
    """The second delivery says so, and the first one's error is no dead letter."""
    work = Work(*(ConnectionError("refused") for _ in range(4)))
    await bus.subscribe(name, handler.guard(work), durable=name, settings=AT_ONCE)
    await other.publish(name, numbered(1), stored=True)
    await work.inbox.have(5)
    assert work.deliveries == [1, 1, 1, 1, 2]
    assert len(handler.dead_letters) == 0


async def test_an_error_that_nobody_knows_is_not_repeated_in_place(
    handler: ErrorHandler, bus: MessageBus, other: MessageBus, name: str, clock: Clock
) -> None:
    """But handed out again, as the subscription says."""
    work = Work(ValueError("odd"))
    await bus.subscribe(name, handler.guard(work), durable=name, settings=AT_ONCE)
    await other.publish(name, numbered(1), stored=True)
    await work.inbox.have(2)
    assert work.deliveries == [1, 2]
    assert clock.slept == []


async def test_a_refused_message_becomes_the_buss_dead_letter_at_once(
    handler: ErrorHandler, bus: MessageBus, other: MessageBus, name: str
) -> None:
    """It is told once: by the bus, which keeps the message. The agent keeps where it happened."""
    letters = await Letters(name).listen(other, DEAD_LETTERS)
    work = Work(InvalidMessageError("the task names no path"))
    await bus.subscribe(name, handler.guard(work), durable=name, settings=AT_ONCE)
    await other.publish(name, numbered(1, metadata={"task_id": "t-1"}), stored=True)
    receipt = await other.publish(name, numbered(2), stored=True)
    await work.inbox.have(2)
    (told,) = await letters.have(1)
    assert told.sender_id != name
    assert entry_of(told)["reason"] == "TERMINATED"
    assert entry_of(told)["error"] == "InvalidMessageError: the task names no path"
    (entry,) = handler.dead_letters
    assert (entry.task_id, entry.attempt, entry.error_code) == ("t-1", 1, "INVALID_MESSAGE")
    assert entry.context["channel"] == name
    assert entry.context["sequence"] < receipt.sequence
    assert entry.context["delivery"] == 1


@pytest.mark.parametrize("stored", [False, True], ids=["live", "stored"])
async def test_a_payload_that_is_no_object_becomes_a_dead_letter_at_once(
    handler: ErrorHandler, bus: MessageBus, other: MessageBus, name: str, stored: bool
) -> None:
    """Of a callback that reads it; the task is named by the metadata, and the next message is handled."""
    letters = await Letters(name).listen(other, DEAD_LETTERS)
    done = Inbox()

    async def work(message: AgentMessage) -> None:
        assert "n" in message.payload
        await done(message)

    if stored:
        await bus.subscribe(name, handler.guard(work), durable=name, settings=AT_ONCE)
    else:
        await bus.subscribe(name, handler.guard(work))
    array: dict[str, Any] = {"data": b"[1]", "content_type": "application/json", "metadata": {"task_id": "t-1"}}
    options: dict[str, Any] = {"stored": stored}
    await other.publish(name, AgentMessage(message_type="x", sender_id="s", **array), **options)
    await other.publish(name, numbered(2), **options)
    await done.have(1)
    await letters.have(1)
    (entry,) = handler.dead_letters
    assert (entry.task_id, entry.attempt, entry.error_code) == ("t-1", 1, "INVALID_MESSAGE")
    assert f"on '{name}' is a JSON array, not a JSON object (application/json)" in entry.error_message


async def test_an_escalated_error_is_told_and_the_message_handed_out_again(
    handler: ErrorHandler, bus: MessageBus, other: MessageBus, name: str
) -> None:
    """Somebody may mend it meanwhile, or another agent has the right."""
    errors = await Letters(name).listen(other, ERRORS)
    work = Work(PermissionDeniedError("no key"))
    await bus.subscribe(name, handler.guard(work), durable=name, settings=AT_ONCE)
    await other.publish(name, numbered(1), stored=True)
    await work.inbox.have(2)
    assert work.deliveries == [1, 2]
    (told,) = await errors.have(1)
    assert entry_of(told)["error_message"] == "no key"


async def test_an_open_circuit_lets_the_agent_wait_and_costs_no_delivery(
    bus: MessageBus, other: MessageBus, name: str, policy: RetryPolicy, breaker: CircuitBreaker, clock: Clock
) -> None:
    """The failure that opens it ends the retries; what comes next waits for the minute, and is the trial."""
    handler = ErrorHandler(bus, name, policy=policy, breaker=breaker)
    work = Work(*(ConnectionError("refused") for _ in range(5)))
    await bus.subscribe(name, handler.guard(work), durable=name, settings=AT_ONCE)
    await other.publish(name, numbered(1), stored=True)
    await work.inbox.have(6)
    # Four calls and three delays; the second delivery's first call is the fifth failure and opens the circuit; its
    # retry is refused, and the third delivery waits for what is left of the minute.
    assert work.deliveries == [1, 1, 1, 1, 2, 3]
    assert clock.slept == [1.0, 2.0, 4.0, 1.0, 59.0]
    await other.publish(name, numbered(2), stored=True)
    await work.inbox.have(7)
    assert breaker.state is CircuitState.CLOSED


async def test_what_the_callback_settled_itself_is_not_tried_again(
    handler: ErrorHandler, bus: MessageBus, other: MessageBus, name: str, clock: Clock
) -> None:
    """It gave the message back, so it may be with somebody else by now."""
    seen = Inbox()

    async def give_back(message: DurableMessage) -> None:
        await seen(message)
        if message.attempt == 1:
            await message.nak("busy", delay=0)
            raise ConnectionError("refused")

    await bus.subscribe(name, handler.guard(give_back), durable=name, settings=AT_ONCE)
    await other.publish(name, numbered(1), stored=True)
    messages = await seen.have(2)
    assert [each.attempt for each in messages if isinstance(each, DurableMessage)] == [1, 2]
    assert clock.slept == [1.0]


async def test_a_live_message_that_fails_becomes_a_dead_letter_here(
    handler: ErrorHandler, bus: MessageBus, other: MessageBus, name: str
) -> None:
    """Nobody could be handed it; the next one comes all the same."""
    letters = await Letters(name).listen(other, DEAD_LETTERS)
    done = asyncio.Event()

    async def work(message: AgentMessage) -> None:
        if message.payload["n"] == 1:
            raise ConnectionError("refused")
        done.set()

    await bus.subscribe(name, handler.guard(work))
    await other.publish(name, numbered(1))
    await other.publish(name, numbered(2))
    (told,) = await letters.have(1)
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    assert told.payload["queue_size"] == 1
    assert entry_of(told)["attempt"] == 4
    assert entry_of(told)["context"]["sender_id"] == "tests"
