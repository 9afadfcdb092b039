"""ErrorHandler: what becomes of an error, told over a real bus."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from tests.failures.letters import Letters, entry_of
from trunkline import (
    ErrorAction,
    ErrorHandler,
    GrpcMessageBus,
    InternalError,
    InvalidMessageError,
    MessageBus,
    MessageType,
    PermissionDeniedError,
    Priority,
    RetryPolicy,
)
from trunkline.channels import DEAD_LETTERS, ERRORS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def handler(bus: MessageBus, name: str, policy: RetryPolicy) -> ErrorHandler:
    return ErrorHandler(bus, name, policy=policy, now=lambda: NOON)


@pytest.fixture
async def told(other: MessageBus, name: str) -> Letters:
    """What is said on both channels by this test's agent."""
    return await Letters(name).listen(other, DEAD_LETTERS, ERRORS)


def test_errors_are_retried_escalated_or_given_up(handler: ErrorHandler) -> None:
    """A retryable one is given up after its last retry."""
    decisions = [handler.decide(TimeoutError(), attempt) for attempt in (1, 3, 4)]
    assert decisions == [ErrorAction.RETRY, ErrorAction.RETRY, ErrorAction.DEAD_LETTER]
    assert handler.decide(PermissionDeniedError("no")) is ErrorAction.ESCALATE
    assert handler.decide(InternalError("oops")) is ErrorAction.ESCALATE
    assert handler.decide(InvalidMessageError("no path")) is ErrorAction.DEAD_LETTER
    assert handler.decide(ValueError("odd")) is ErrorAction.DEAD_LETTER


async def test_a_retry_is_told_to_nobody(handler: ErrorHandler, told: Letters) -> None:
    """The caller waits as the policy says; what is told after it comes first."""
    assert await handler.handle(TimeoutError()) is ErrorAction.RETRY
    await handler.handle(ValueError("given up"))
    (message,) = await told.have(1)
    assert entry_of(message)["error_message"] == "given up"
    assert len(handler.dead_letters) == 1


async def test_a_dead_letter_is_kept_and_told(handler: ErrorHandler, told: Letters) -> None:
    """With the entry, and how many there are."""
    await handler.handle(ValueError("first"))
    action = await handler.handle(
        TimeoutError("slow"), attempt=4, task_id="t", workflow_id="w", context={"model": "large"}
    )
    assert action is ErrorAction.DEAD_LETTER
    message = (await told.have(2))[1]
    assert (message.message_type, message.priority) == (MessageType.ERROR, Priority.HIGH)
    entry = list(handler.dead_letters)[1]
    assert message.payload == {"entry": entry.to_dict(), "queue_size": 2}
    assert (entry.error_code, entry.attempt, entry.task_id, entry.workflow_id) == ("TimeoutError", 4, "t", "w")
    assert (entry.context, entry.timestamp) == ({"model": "large"}, NOON)


async def test_an_escalation_is_told_as_critical_and_is_no_dead_letter(handler: ErrorHandler, told: Letters) -> None:
    """Somebody must mend something first."""
    error = PermissionDeniedError("may not publish", details={"channel": "a:b"})
    assert await handler.handle(error) is ErrorAction.ESCALATE
    (message,) = await told.have(1)
    assert (message.message_type, message.priority) == (MessageType.ERROR, Priority.CRITICAL)
    assert entry_of(message)["error_code"] == "PERMISSION_DENIED"
    assert entry_of(message)["error_details"] == {"channel": "a:b"}
    assert len(handler.dead_letters) == 0


async def test_what_is_told_is_stored(handler: ErrorHandler, other: MessageBus, name: str) -> None:
    """Whoever keeps a durable subscription hears of it later."""
    await other.create_durable(name, DEAD_LETTERS)
    await handler.handle(ValueError("at night"))
    async for message in other.messages(DEAD_LETTERS, durable=name):
        if message.sender_id == name:
            assert entry_of(message)["error_message"] == "at night"
            break
    await other.delete_durable(name)


async def test_a_bus_that_cannot_be_told_hides_no_error(
    name: str, policy: RetryPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    """The entry is kept, and the log says that nobody was told."""
    handler = ErrorHandler(GrpcMessageBus("127.0.0.1:1"), name, policy=policy)
    with caplog.at_level(logging.ERROR):
        assert await handler.handle(ValueError("lost")) is ErrorAction.DEAD_LETTER
    assert len(handler.dead_letters) == 1
    assert "nobody could be told on conductor:dlq of lost" in caplog.text
