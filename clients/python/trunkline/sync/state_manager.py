"""The synchronous StateManager."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from trunkline.limits import STATE_PORT
from trunkline.models import AgentState, TaskResult, WorkflowState
from trunkline.records import Kind
from trunkline.state.grpc.manager import GrpcStateManager
from trunkline.state.outbox import Publish
from trunkline.state.state_manager import Change, Operation, Outcome, StateStatistics
from trunkline.state.state_manager import StateManager as AsyncStateManager
from trunkline.sync.face import Face


class StateManager(Face[AsyncStateManager]):
    """`GrpcStateManager`, synchronous; see there for arguments and errors."""

    def __init__(self, address: str = f"127.0.0.1:{STATE_PORT}", **options: Any) -> None:
        super().__init__(GrpcStateManager(address, **options))

    def save_agent_state(
        self, state: AgentState, *, expected_revision: int | None = None, publish: Publish = ()
    ) -> int:
        """See `StateManager.save_agent_state`."""
        return self._wait(
            self._asynchronous.save_agent_state(state, expected_revision=expected_revision, publish=publish)
        )

    def get_agent_state(self, agent_id: str) -> AgentState | None:
        """See `StateManager.get_agent_state`."""
        return self._wait(self._asynchronous.get_agent_state(agent_id))

    def list_agent_states(self, **filters: Any) -> list[AgentState]:
        """See `StateManager.list_agent_states`."""
        return self._wait(self._asynchronous.list_agent_states(**filters))

    def delete_agent_state(self, agent_id: str, *, expected_revision: int | None = None, publish: Publish = ()) -> bool:
        """See `StateManager.delete_agent_state`."""
        return self._wait(
            self._asynchronous.delete_agent_state(agent_id, expected_revision=expected_revision, publish=publish)
        )

    def save_workflow_state(
        self, state: WorkflowState, *, expected_revision: int | None = None, publish: Publish = ()
    ) -> int:
        """See `StateManager.save_workflow_state`."""
        return self._wait(
            self._asynchronous.save_workflow_state(state, expected_revision=expected_revision, publish=publish)
        )

    def get_workflow_state(self, workflow_id: str) -> WorkflowState | None:
        """See `StateManager.get_workflow_state`."""
        return self._wait(self._asynchronous.get_workflow_state(workflow_id))

    def list_workflow_states(self, **filters: Any) -> list[WorkflowState]:
        """See `StateManager.list_workflow_states`."""
        return self._wait(self._asynchronous.list_workflow_states(**filters))

    def delete_workflow_state(
        self, workflow_id: str, *, expected_revision: int | None = None, publish: Publish = ()
    ) -> bool:
        """See `StateManager.delete_workflow_state`."""
        return self._wait(
            self._asynchronous.delete_workflow_state(workflow_id, expected_revision=expected_revision, publish=publish)
        )

    def save_task_result(
        self, result: TaskResult, *, expected_revision: int | None = None, publish: Publish = ()
    ) -> int:
        """See `StateManager.save_task_result`."""
        return self._wait(
            self._asynchronous.save_task_result(result, expected_revision=expected_revision, publish=publish)
        )

    def get_task_result(self, task_id: str) -> TaskResult | None:
        """See `StateManager.get_task_result`."""
        return self._wait(self._asynchronous.get_task_result(task_id))

    def list_task_results(self, **filters: Any) -> list[TaskResult]:
        """See `StateManager.list_task_results`."""
        return self._wait(self._asynchronous.list_task_results(**filters))

    def delete_task_result(self, task_id: str, *, expected_revision: int | None = None, publish: Publish = ()) -> bool:
        """See `StateManager.delete_task_result`."""
        return self._wait(
            self._asynchronous.delete_task_result(task_id, expected_revision=expected_revision, publish=publish)
        )

    def batch(self, operations: Sequence[Operation], *, atomic: bool = False) -> list[Outcome]:
        """See `StateManager.batch`."""
        return self._wait(self._asynchronous.batch(operations, atomic=atomic))

    def statistics(self) -> StateStatistics:
        """See `StateManager.statistics`."""
        return self._wait(self._asynchronous.statistics())

    def watch(self, *kinds: Kind, **filters: Any) -> Iterator[Change]:
        """See `StateManager.watch`."""
        return self._iterate(self._asynchronous.watch(*kinds, **filters))
