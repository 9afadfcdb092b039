"""A bus and a store of somebody's own, as they were written for ConductorAI: its verbs, and nothing of Trunkline's."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from trunkline import (
    AgentMessage,
    AgentState,
    MessageBus,
    MessageBusError,
    MessageCallback,
    StateError,
    StateManager,
    TaskResult,
    WorkflowState,
)

# mypy rightly says that these take fewer options than the classes that they stand for; programs that were written for
# ConductorAI do so all the same, and work.


class OwnBus(MessageBus):
    """Delivers within the program."""

    def __init__(self) -> None:
        self.published: list[tuple[str, AgentMessage]] = []
        self._callbacks: dict[str, list[MessageCallback]] = defaultdict(list)
        self._pending: dict[str, asyncio.Future[AgentMessage]] = {}
        self._is_connected = False

    async def connect(self) -> None:
        self._is_connected = True

    async def disconnect(self) -> None:
        self._is_connected = False
        self._callbacks.clear()

    async def publish(self, channel: str, message: AgentMessage) -> None:  # type: ignore[override]
        if not self._is_connected:
            raise MessageBusError("not connected", "BUS_NOT_CONNECTED")
        self.published.append((channel, message))
        waiting = self._pending.get(message.correlation_id or "")
        if waiting is not None and message.message_id != message.correlation_id:
            waiting.set_result(message)
        for callback in list(self._callbacks[channel]):
            await callback(message)

    async def subscribe(self, channel: str, callback: MessageCallback) -> None:  # type: ignore[override]
        self._callbacks[channel].append(callback)

    async def unsubscribe(self, channel: str) -> None:
        self._callbacks.pop(channel, None)

    async def request(  # type: ignore[override]
        self, channel: str, message: AgentMessage, timeout: float = 30.0
    ) -> AgentMessage:
        sent = message.model_copy(update={"correlation_id": message.correlation_id or message.message_id})
        assert sent.correlation_id is not None
        reply: asyncio.Future[AgentMessage] = asyncio.get_running_loop().create_future()
        self._pending[sent.correlation_id] = reply
        await self.publish(channel, sent)
        async with asyncio.timeout(timeout):
            return await reply

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    @property
    def published_count(self) -> int:
        return len(self.published)


class OwnStore(StateManager):
    """Keeps records in dicts."""

    def __init__(self) -> None:
        self._agents: dict[str, AgentState] = {}
        self._workflows: dict[str, WorkflowState] = {}
        self._results: dict[str, TaskResult] = {}

    async def connect(self) -> None:
        """Nothing is to be opened."""

    async def disconnect(self) -> None:
        for records in (self._agents, self._workflows, self._results):
            records.clear()

    async def save_agent_state(self, state: AgentState) -> None:  # type: ignore[override]
        if state.agent_id == "refused":
            raise StateError("this agent is not kept", "STATE_WRITE_FAILED")
        self._agents[state.agent_id] = state

    async def get_agent_state(self, agent_id: str) -> AgentState | None:
        return self._agents.get(agent_id)

    async def list_agent_states(self) -> list[AgentState]:  # type: ignore[override]
        return list(self._agents.values())

    async def delete_agent_state(self, agent_id: str) -> bool:  # type: ignore[override]
        return self._agents.pop(agent_id, None) is not None

    async def save_workflow_state(self, state: WorkflowState) -> None:  # type: ignore[override]
        self._workflows[state.workflow_id] = state

    async def get_workflow_state(self, workflow_id: str) -> WorkflowState | None:
        return self._workflows.get(workflow_id)

    async def save_task_result(self, result: TaskResult) -> None:  # type: ignore[override]
        self._results[result.task_id] = result

    async def get_task_result(self, task_id: str) -> TaskResult | None:
        return self._results.get(task_id)
