"""ErrorHandler: decides what becomes of an error, and sees to it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from trunkline.bus.durable import DurableMessage
from trunkline.bus.message_bus import MessageBus
from trunkline.channels import DEAD_LETTERS, ERRORS
from trunkline.errors import OverloadedError, TrunklineError
from trunkline.failures.circuit_breaker import CircuitBreaker
from trunkline.failures.dead_letter_queue import DeadLetterEntry, DeadLetterQueue
from trunkline.failures.error_codes import ESCALATED_CODES, REFUSED_CODES, is_among
from trunkline.failures.retry_policy import RetryPolicy
from trunkline.models import AgentMessage, MessageType, Priority

log = logging.getLogger(__name__)

M = TypeVar("M", bound=AgentMessage)


class ErrorAction(StrEnum):
    """What becomes of an error."""

    RETRY = "retry"
    """It is tried again, after the policy's delay."""
    ESCALATE = "escalate"
    """Somebody must mend something: told on `conductor:errors`."""
    DEAD_LETTER = "dead_letter"
    """It is given up: kept, and told on `conductor:dlq`."""


class ErrorHandler:
    """One agent's.

    An error in `escalated_codes` is escalated. One that the policy takes for retryable is tried again, while it has
    retries left. All else is a dead letter.

    Args:
        bus: where people and other agents are told. Messages are stored where it can; that nobody could be told is
            logged, and never hides the error itself.
        agent_id: whose errors they are; the sender of what is told.
        policy: how often and how late it is tried again.
        breaker: counts the calls of what is guarded. None: nothing is left alone for a while.
        refused_codes: errors that will come again whoever tries, by `error_code` or name of a class: a guarded message
            that met one is never handed out again.
        escalated_codes: errors that somebody must see, likewise.
        dead_letters: where entries are kept. None: a new queue.
        now: the time; handed in by tests.
    """

    def __init__(
        self,
        bus: MessageBus,
        agent_id: str,
        *,
        policy: RetryPolicy | None = None,
        breaker: CircuitBreaker | None = None,
        refused_codes: frozenset[str] = REFUSED_CODES,
        escalated_codes: frozenset[str] = ESCALATED_CODES,
        dead_letters: DeadLetterQueue | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.agent_id = agent_id
        self.policy = policy or RetryPolicy()
        self.breaker = breaker
        self.dead_letters = DeadLetterQueue() if dead_letters is None else dead_letters
        self._bus = bus
        self._refused_codes = refused_codes
        self._escalated_codes = escalated_codes
        self._now = now

    def decide(self, error: Exception, attempt: int = 1) -> ErrorAction:
        """What should become of an error that was met for the `attempt`-th time, from 1. Does nothing yet."""
        if is_among(error, self._escalated_codes):
            return ErrorAction.ESCALATE
        if attempt <= self.policy.max_retries and self.policy.is_retryable(error):
            return ErrorAction.RETRY
        return ErrorAction.DEAD_LETTER

    async def handle(
        self,
        error: Exception,
        *,
        attempt: int = 1,
        task_id: str | None = None,
        workflow_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> ErrorAction:
        """Decides, and escalates or keeps a dead letter. For RETRY the caller waits `policy.delay(attempt)` seconds.

        Args:
            attempt: how often it was tried by now.
            context: what else is known; JSON, or it becomes text.
        """
        action = self.decide(error, attempt)
        if action is not ErrorAction.RETRY:
            entry = self._entry(error, attempt, task_id, workflow_id, context)
            await (self._escalate(entry) if action is ErrorAction.ESCALATE else self._give_up(entry))
        return action

    def guard(self, callback: Callable[[M], Awaitable[None]]) -> Callable[[M], Awaitable[None]]:
        """A callback for `subscribe` that calls this one as policy and breaker say.

        While the breaker is open, the message waits here, leased, and no other is asked for. An error that outlived its
        retries, or that opened the breaker, or that nobody knows is raised: of a durable subscription, the message then
        goes to whoever is free, and becomes the bus's dead letter after its last delivery. So does an escalated one,
        after somebody was told. A refused one becomes the bus's dead letter at once. A live message, which nobody could
        be handed, becomes a dead letter here.
        """

        @functools.wraps(callback)
        async def guarded(message: M) -> None:
            tries = 0

            async def attempt() -> None:
                nonlocal tries
                if isinstance(message, DurableMessage) and message.settled:
                    return  # by the callback, or its lease was lost meanwhile: somebody else may be at it
                tries += 1
                if self.breaker is None:
                    await callback(message)
                else:
                    await self.breaker.call(callback, message)

            try:
                if self.breaker is not None:
                    await self.breaker.ready()
                await self.policy.call(attempt)
            except Exception as error:  # noqa: BLE001  # whatever it raises: that is what a guard is for
                await self._failed(message, error, tries)

        return guarded

    async def _failed(self, message: AgentMessage, error: Exception, tries: int) -> None:
        entry = self._entry(
            error, max(1, tries), _named(message, "task_id"), _named(message, "workflow_id"), _whereabouts(message)
        )
        if is_among(error, self._escalated_codes):
            await self._escalate(entry)
            raise error
        if not isinstance(message, DurableMessage):
            await self._give_up(entry)
        elif is_among(error, self._refused_codes):
            self.dead_letters.add(entry)  # the bus keeps the message, and tells of it
            await message.terminate(f"{entry.error_type}: {entry.error_message}")
        else:
            raise error

    def _entry(
        self,
        error: Exception,
        attempt: int,
        task_id: str | None,
        workflow_id: str | None,
        context: Mapping[str, Any] | None,
    ) -> DeadLetterEntry:
        return DeadLetterEntry.of(
            error,
            agent_id=self.agent_id,
            task_id=task_id,
            workflow_id=workflow_id,
            attempt=attempt,
            context=context,
            timestamp=self._now(),
        )

    async def _escalate(self, entry: DeadLetterEntry) -> None:
        await self._tell(ERRORS, Priority.CRITICAL, {"entry": entry.to_dict()})

    async def _give_up(self, entry: DeadLetterEntry) -> None:
        self.dead_letters.add(entry)
        facts = {"entry": entry.to_dict(), "queue_size": len(self.dead_letters)}
        await self._tell(DEAD_LETTERS, Priority.HIGH, facts)

    async def _tell(self, channel: str, priority: Priority, facts: dict[str, Any]) -> None:
        message = AgentMessage(
            message_type=MessageType.ERROR, sender_id=self.agent_id, payload=facts, priority=priority
        )
        try:
            if not self._bus.can_store:
                await self._bus.publish(channel, message)
                return
            try:
                await self._bus.publish(channel, message, stored=True)
            except OverloadedError:  # its journal has no room, but whoever listens now can be told
                await self._bus.publish(channel, message)
        except TrunklineError:
            log.exception("nobody could be told on %s of %s", channel, facts["entry"]["error_message"])


def _named(message: AgentMessage, name: str) -> str | None:
    """What a message calls its task or workflow, in its payload or its metadata."""
    for facts in (message.payload if message.data is None else {}, message.metadata):
        value = facts.get(name)
        if isinstance(value, str):
            return value
    return None


def _whereabouts(message: AgentMessage) -> dict[str, Any]:
    """Where a message is found again."""
    found: dict[str, Any] = {
        "message_id": message.message_id,
        "message_type": str(message.message_type),
        "sender_id": message.sender_id,
    }
    if isinstance(message, DurableMessage):
        found |= {"channel": message.channel, "sequence": message.sequence, "delivery": message.attempt}
    return found
