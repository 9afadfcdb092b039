"""A program as people have it who come from ConductorAI: every call that its documents show of bus and store, in their
order and by their names. Only the import is another one, and what makes the bus and the store is handed in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from trunkline import (
    AgentMessage,
    AgentState,
    AgentType,
    MessageBus,
    MessageType,
    StateManager,
    TaskResult,
    TaskStatus,
    WorkflowState,
)


class Kept(NamedTuple):
    """What the store gave back."""

    state: AgentState | None
    all_states: list[AgentState]
    deleted: bool
    wf: WorkflowState | None
    result: TaskResult | None


async def publish_and_subscribe(new_bus: Callable[[], MessageBus]) -> str:
    """A message to one agent; returns what its handler says."""
    bus = new_bus()
    await bus.connect()
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handler(msg: AgentMessage) -> None:
        said.set_result(f"Received: {msg.message_type}")

    await bus.subscribe("conductor:agent:coding-01", handler)

    msg = AgentMessage(
        message_type=MessageType.TASK_ASSIGNMENT,
        sender_id="coordinator",
    )
    await bus.publish("conductor:agent:coding-01", msg)
    async with asyncio.timeout(10):
        await said
    await bus.disconnect()
    return said.result()


async def request_and_respond(new_bus: Callable[[], MessageBus], request_msg: AgentMessage) -> AgentMessage:
    """A task for one agent; returns its answer."""
    bus = new_bus()
    await bus.connect()

    async def agent_handler(msg: AgentMessage) -> None:
        response = msg.create_response(
            sender_id="coding-01",
            message_type=MessageType.TASK_RESULT,
            payload={"code": "generated_code_here"},
        )
        await bus.publish("conductor:response", response)

    await bus.subscribe("conductor:agent:coding-01", agent_handler)

    response = await bus.request(
        "conductor:agent:coding-01",
        request_msg,
        timeout=30.0,
    )
    await bus.disconnect()
    return response


async def keep_and_find(new_state: Callable[[], StateManager]) -> Kept:
    """All that the store is asked."""
    agent_state = AgentState(agent_id="coding-01", agent_type=AgentType.CODING)
    workflow_state = WorkflowState(workflow_id="wf-01", agent_states={"coding-01": agent_state})
    task_result = TaskResult(
        task_id="task-01",
        agent_id="coding-01",
        status=TaskStatus.COMPLETED,
        output_data={"code": "generated_code_here"},
    )

    sm = new_state()
    await sm.connect()

    # Agent state
    await sm.save_agent_state(agent_state)
    state = await sm.get_agent_state("coding-01")
    all_states = await sm.list_agent_states()
    deleted = await sm.delete_agent_state("coding-01")

    # Workflow state
    await sm.save_workflow_state(workflow_state)
    wf = await sm.get_workflow_state("wf-01")

    # Task results
    await sm.save_task_result(task_result)
    result = await sm.get_task_result("task-01")

    await sm.disconnect()
    return Kept(state, all_states, deleted, wf, result)
