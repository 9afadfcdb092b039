"""A bus and a store of one's own work with the rest, with no more verbs than ConductorAI had."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.conductor.own_classes import OwnBus, OwnStore
from tests.conductor.seed_program import publish_and_subscribe, request_and_respond
from tests.contract.inbox import numbered
from trunkline import (
    AgentMessage,
    AgentState,
    Delete,
    ErrorAction,
    ErrorHandler,
    Get,
    InMemoryMessageBus,
    MessageBus,
    MessageType,
    PermissionDeniedError,
    Priority,
    RetryPolicy,
    Save,
    StateError,
    StateManager,
    TaskResult,
    WorkflowState,
)

Use = Callable[[MessageBus], Any]


@pytest.fixture
async def bus() -> AsyncIterator[OwnBus]:
    async with OwnBus() as bus:
        yield bus


async def test_the_shown_program_runs_on_it() -> None:
    """As on any other."""
    assert await publish_and_subscribe(OwnBus) == "Received: task_assignment"
    response = await request_and_respond(OwnBus, AgentMessage(message_type="task_assignment", sender_id="coordinator"))
    assert response.payload == {"code": "generated_code_here"}


async def test_an_error_handler_tells_on_it(bus: OwnBus) -> None:
    """Live, where it cannot store: a dead letter with its entry, an escalation as critical."""
    handler = ErrorHandler(bus, "coding-01")
    assert await handler.handle(ValueError("odd"), task_id="t1") is ErrorAction.DEAD_LETTER
    assert await handler.handle(PermissionDeniedError("no right")) is ErrorAction.ESCALATE
    (dlq, letter), (errors, escalation) = bus.published
    assert (dlq, letter.message_type, letter.priority) == ("conductor:dlq", MessageType.ERROR, Priority.HIGH)
    (entry,) = handler.dead_letters
    assert letter.payload == {"entry": entry.to_dict(), "queue_size": 1}
    assert (errors, escalation.message_type, escalation.priority) == (
        "conductor:errors",
        MessageType.ERROR,
        Priority.CRITICAL,
    )


async def test_a_guarded_callback_retries_on_it(bus: OwnBus) -> None:
    """Three retries, then a dead letter in the agent's queue."""
    calls: list[object] = []

    async def nobody_waits(_: float) -> None:
        """The delay is over at once."""

    async def work(message: AgentMessage) -> None:
        calls.append(message.payload["n"])
        raise TimeoutError("no answer")

    handler = ErrorHandler(bus, "coding-01", policy=RetryPolicy(sleep=nobody_waits))
    await bus.subscribe("tasks", handler.guard(work))
    await bus.publish("tasks", numbered(1))
    assert calls == [1, 1, 1, 1]
    assert [entry.attempt for entry in handler.dead_letters] == [4]
    assert [channel for channel, _ in bus.published] == ["tasks", "conductor:dlq"]


async def test_nothing_is_left_to_flush(bus: OwnBus) -> None:
    """Its `publish` returns when the message is taken."""
    await bus.publish("a", numbered(1))
    await bus.flush()
    assert (bus.is_connected, bus.published_count) == (True, 1)


def test_whether_it_stores_is_asked_of_its_publish() -> None:
    """So that a class which overrides that of a bus that stores is told right, whichever way it does."""

    class Quiet(InMemoryMessageBus):
        async def publish(self, channel: str, message: AgentMessage) -> None:  # type: ignore[override]
            await super().publish(channel, message)

    class Loud(InMemoryMessageBus):
        async def publish(self, channel: str, message: AgentMessage, **options: Any) -> Any:
            return await super().publish(channel, message, **options)

    assert not OwnBus().can_store
    assert not Quiet().can_store
    assert Loud().can_store
    assert InMemoryMessageBus().can_store


@pytest.mark.parametrize(
    ("what", "use"),
    [
        ("messages()", lambda bus: bus.messages("a")),
        ("create_durable()", lambda bus: bus.create_durable("d", "a")),
        ("delete_durable()", lambda bus: bus.delete_durable("d")),
        ("seek_durable()", lambda bus: bus.seek_durable("d", "all")),
        ("dead_letters()", lambda bus: bus.dead_letters()),
        ("redrive()", lambda bus: bus.redrive([1])),
        ("purge()", lambda bus: bus.purge([1])),
    ],
)
async def test_a_bus_says_what_it_does_without(bus: OwnBus, what: str, use: Use) -> None:
    """By the name of its class, and of what was asked."""
    with pytest.raises(NotImplementedError, match=rf"OwnBus has no {what[:-2]}\(\)"):
        await use(bus)


@pytest.mark.parametrize(
    ("what", "use"),
    [
        ("list_workflow_states", lambda store: store.list_workflow_states()),
        ("delete_workflow_state", lambda store: store.delete_workflow_state("w")),
        ("list_task_results", lambda store: store.list_task_results()),
        ("delete_task_result", lambda store: store.delete_task_result("t")),
        ("watch", lambda store: store.watch("agent_state")),
        ("atomic batch", lambda store: store.batch([Get("agent_state", "a")], atomic=True)),
        ("is_connected", lambda store: store.is_connected),
    ],
)
async def test_a_store_says_what_it_does_without(what: str, use: Callable[[StateManager], Any]) -> None:
    """By the name of its class, and of what was asked."""
    with pytest.raises(NotImplementedError, match=f"OwnStore has no {what}"):
        await use(OwnStore())


async def test_a_batch_goes_through_the_verbs_that_there_are() -> None:
    """In order, each operation with its own outcome."""
    agent = AgentState(agent_id="a", agent_type="coding")
    workflow = WorkflowState(workflow_id="w")
    result = TaskResult(task_id="t", agent_id="a", status="completed")
    async with OwnStore() as store:
        outcomes = await store.batch(
            [
                *(Save(agent), Save(workflow), Save(result)),
                *(
                    Get("agent_state", "a"),
                    Get("workflow_state", "w"),
                    Get("task_result", "t"),
                    Get("task_result", "x"),
                ),
                *(Delete("agent_state", "a"), Get("agent_state", "a"), Delete("agent_state", "a")),
                Save(AgentState(agent_id="refused", agent_type="coding")),
            ]
        )
    assert outcomes[:10] == [None, None, None, agent, workflow, result, None, True, None, False]
    assert isinstance(outcomes[10], StateError)
    assert outcomes[10].error_code == "STATE_WRITE_FAILED"
