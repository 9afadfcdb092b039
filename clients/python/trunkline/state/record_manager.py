"""RecordManager: the base of state managers. It maps the typed methods of `StateManager` to four for any kind."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar, cast

from trunkline.errors import StateNotConnectedError
from trunkline.models import AgentState, Record, TaskResult, WorkflowState
from trunkline.records import Kind
from trunkline.state.filter import Filter
from trunkline.state.outbox import Publish
from trunkline.state.state_manager import StateManager

_R = TypeVar("_R", AgentState, WorkflowState, TaskResult)


class RecordManager(StateManager):
    """A `StateManager` that leaves only `_save`, `_get`, `_list`, `_delete`, `batch` and `watch` to be written."""

    @abstractmethod
    async def _save(self, record: Record, expected_revision: int | None, publish: Publish) -> int: ...

    @abstractmethod
    async def _get(self, kind: Kind, id: str) -> Record | None: ...

    @abstractmethod
    async def _list(self, kind: Kind, filter: Filter, page_size: int | None) -> list[Record]: ...

    @abstractmethod
    async def _delete(self, kind: Kind, id: str, expected_revision: int | None, publish: Publish) -> bool: ...

    async def save_agent_state(
        self, state: AgentState, *, expected_revision: int | None = None, publish: Publish = ()
    ) -> int:
        return await self._save(_instance(AgentState, state), expected_revision, publish)

    async def get_agent_state(self, agent_id: str) -> AgentState | None:
        return cast("AgentState | None", await self._get("agent_state", agent_id))

    async def list_agent_states(
        self, *, status: str | None = None, type: str | None = None, page_size: int | None = None
    ) -> list[AgentState]:
        return cast("list[AgentState]", await self._list("agent_state", Filter(status=status, type=type), page_size))

    async def delete_agent_state(
        self, agent_id: str, *, expected_revision: int | None = None, publish: Publish = ()
    ) -> bool:
        return await self._delete("agent_state", agent_id, expected_revision, publish)

    async def save_workflow_state(
        self, state: WorkflowState, *, expected_revision: int | None = None, publish: Publish = ()
    ) -> int:
        return await self._save(_instance(WorkflowState, state), expected_revision, publish)

    async def get_workflow_state(self, workflow_id: str) -> WorkflowState | None:
        return cast("WorkflowState | None", await self._get("workflow_state", workflow_id))

    async def list_workflow_states(
        self, *, status: str | None = None, phase: str | None = None, page_size: int | None = None
    ) -> list[WorkflowState]:
        filter = Filter(status=status, phase=phase)
        return cast("list[WorkflowState]", await self._list("workflow_state", filter, page_size))

    async def delete_workflow_state(
        self, workflow_id: str, *, expected_revision: int | None = None, publish: Publish = ()
    ) -> bool:
        return await self._delete("workflow_state", workflow_id, expected_revision, publish)

    async def save_task_result(
        self, result: TaskResult, *, expected_revision: int | None = None, publish: Publish = ()
    ) -> int:
        return await self._save(_instance(TaskResult, result), expected_revision, publish)

    async def get_task_result(self, task_id: str) -> TaskResult | None:
        return cast("TaskResult | None", await self._get("task_result", task_id))

    async def list_task_results(
        self, *, status: str | None = None, agent_id: str | None = None, page_size: int | None = None
    ) -> list[TaskResult]:
        filter = Filter(status=status, agent_id=agent_id)
        return cast("list[TaskResult]", await self._list("task_result", filter, page_size))

    async def delete_task_result(
        self, task_id: str, *, expected_revision: int | None = None, publish: Publish = ()
    ) -> bool:
        return await self._delete("task_result", task_id, expected_revision, publish)


def not_connected() -> StateNotConnectedError:
    """Makes the error of a call before `connect()` or after `disconnect()`."""
    return StateNotConnectedError("the state manager is not connected: call connect() first")


def _instance(cls: type[_R], record: _R) -> _R:
    """Returns a record of this class unchanged; raises `TypeError` for any other object."""
    if not isinstance(record, cls):
        raise TypeError(f"want {cls.__name__}, not {type(record).__name__}")
    return record
