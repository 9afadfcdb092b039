"""The calls that ConductorAI's documents show, on the pair in memory and on the pair over gRPC."""

from __future__ import annotations

import pytest

import trunkline
from tests.conductor.conftest import Pair
from tests.conductor.seed_program import keep_and_find, publish_and_subscribe, request_and_respond
from trunkline import AgentMessage, AgentStatus, MessageType, Priority

SHOWN = (
    *("MessageBus", "InMemoryMessageBus", "RedisMessageBus", "MessageCallback"),
    *("StateManager", "InMemoryStateManager"),
    *("AgentMessage", "AgentState", "WorkflowState", "TaskResult", "TaskDefinition"),
    *("MessageType", "Priority", "AgentStatus", "AgentType", "TaskStatus", "WorkflowPhase"),
    *("ConductorError", "MessageBusError", "StateError"),
    *("RetryPolicy", "CircuitBreaker", "ErrorHandler", "ErrorAction"),
)
"""What ConductorAI's documents call by name, as classes."""


async def test_publish_and_subscribe(own_pair: Pair) -> None:
    """The first block: connect, subscribe, publish; the handler says what it was given."""
    assert await publish_and_subscribe(own_pair.new_bus) == "Received: task_assignment"


async def test_request_and_respond(own_pair: Pair) -> None:
    """The second block: the answer that an agent publishes on another channel comes back to who asked."""
    request = AgentMessage(
        message_type=MessageType.TASK_ASSIGNMENT, sender_id="coordinator", priority=Priority.CRITICAL
    )
    response = await request_and_respond(own_pair.new_bus, request)
    assert response.payload == {"code": "generated_code_here"}
    assert (response.sender_id, response.recipient_id) == ("coding-01", "coordinator")
    assert (response.message_type, response.priority) == (MessageType.TASK_RESULT, Priority.CRITICAL)
    assert response.correlation_id == request.message_id
    assert request.correlation_id is None


async def test_keep_and_find(own_pair: Pair) -> None:
    """The third block: agents, workflows and results come back as they were saved."""
    kept = await keep_and_find(own_pair.new_state)
    assert kept.state is not None
    assert (kept.state.agent_id, kept.state.status) == ("coding-01", AgentStatus.IDLE)
    assert kept.all_states == [kept.state]
    assert kept.deleted is True
    assert kept.wf is not None
    assert kept.wf.agent_states == {"coding-01": kept.state}
    assert kept.result is not None
    assert kept.result.output_data == {"code": "generated_code_here"}


@pytest.mark.parametrize("name", SHOWN)
def test_every_name_is_there(name: str) -> None:
    """From `import trunkline`, also by `*`."""
    assert getattr(trunkline, name) is not None
    assert name in trunkline.__all__


async def test_the_bus_that_was_a_stub_needs_a_redis() -> None:
    """It can be imported and made as there; it is another class than the one in memory; without a Redis it says so."""
    assert not isinstance(trunkline.InMemoryMessageBus(), trunkline.RedisMessageBus)
    assert not trunkline.RedisMessageBus().is_connected
    with pytest.raises(trunkline.StorageError, match=r"127\.0\.0\.1:1"):
        await trunkline.RedisMessageBus("redis://127.0.0.1:1/0").connect()
