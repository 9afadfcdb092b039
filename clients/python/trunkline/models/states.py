"""What the StateService keeps, and the definition of a task."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from trunkline.ids import new_id
from trunkline.models.enums import AgentStatus, AgentType, Priority, TaskStatus, WorkflowPhase
from trunkline.models.fields import Id, JsonObject, Model, Time, now
from trunkline.models.record_model import (
    RecordModel,
    make_quickly,
    optional,
    take_count,
    take_id,
    take_name,
    take_object,
    take_seconds,
    take_text,
    take_texts,
    take_time,
)

AGENT_TYPES: Final = {each.value: each for each in AgentType}
AGENT_STATUSES: Final = {each.value: each for each in AgentStatus}
TASK_STATUSES: Final = {each.value: each for each in TaskStatus}
PHASES: Final = {each.value: each for each in WorkflowPhase}
"""The well-known ones, by their names."""

AgentTypeName = Annotated[AgentType | Id, Field(union_mode="left_to_right")]
AgentStatusName = Annotated[AgentStatus | Id, Field(union_mode="left_to_right")]
TaskStatusName = Annotated[TaskStatus | Id, Field(union_mode="left_to_right")]
PhaseName = Annotated[WorkflowPhase | Id, Field(union_mode="left_to_right")]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class AgentState(RecordModel):
    """Where one agent stands. Id: `agent_id`. Well-known names become enums, any other name stays text."""

    agent_id: Id
    agent_type: AgentTypeName
    status: AgentStatusName = AgentStatus.IDLE
    current_task_id: Id | None = None
    completed_tasks: list[str] = Field(default_factory=list)
    failed_tasks: list[str] = Field(default_factory=list)
    error_count: Count = 0
    last_heartbeat: Time | None = None
    metadata: JsonObject = Field(default_factory=dict)
    created_at: Time = Field(default_factory=now)
    updated_at: Time = Field(default_factory=now)

    @property
    def is_available(self) -> bool:
        """Whether it is idle."""
        return self.status == AgentStatus.IDLE

    @property
    def total_tasks(self) -> int:
        """Tasks that it finished, well or not."""
        return len(self.completed_tasks) + len(self.failed_tasks)

    @property
    def success_rate(self) -> float:
        """Completed of all finished tasks, 0 to 1; 1.0 where there are none."""
        return len(self.completed_tasks) / self.total_tasks if self.total_tasks else 1.0


class TaskResult(RecordModel):
    """What came of one task. Id: `task_id`."""

    task_id: Id
    agent_id: Id
    status: TaskStatusName
    output_data: JsonObject = Field(default_factory=dict)
    error_message: str | None = None
    started_at: Time = Field(default_factory=now)
    completed_at: Time | None = None
    duration_seconds: float | None = Field(default=None, ge=0)
    metadata: JsonObject = Field(default_factory=dict)


class WorkflowState(RecordModel):
    """Where one workflow stands. Id: `workflow_id`."""

    workflow_id: Id
    current_phase: PhaseName = WorkflowPhase.DEVELOPMENT
    phase_history: list[JsonObject] = Field(default_factory=list)
    agent_states: dict[str, AgentState] = Field(default_factory=dict)
    task_results: dict[str, TaskResult] = Field(default_factory=dict)
    started_at: Time = Field(default_factory=now)
    completed_at: Time | None = None
    status: TaskStatusName = TaskStatus.PENDING
    error_log: list[JsonObject] = Field(default_factory=list)
    feedback_count: Count = 0
    metadata: JsonObject = Field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        """Whether it is in progress."""
        return self.status == TaskStatus.IN_PROGRESS

    @property
    def is_complete(self) -> bool:
        """Whether it has ended: completed or failed."""
        return self.status in (TaskStatus.COMPLETED, TaskStatus.FAILED)

    @property
    def duration_seconds(self) -> float | None:
        """Seconds from its start to its end; None until `completed_at` is set."""
        return None if self.completed_at is None else (self.completed_at - self.started_at).total_seconds()

    @property
    def completed_task_count(self) -> int:
        """How many of its task results are completed."""
        return self._count(TaskStatus.COMPLETED)

    @property
    def failed_task_count(self) -> int:
        """How many of its task results are failed."""
        return self._count(TaskStatus.FAILED)

    def _count(self, status: TaskStatus) -> int:
        return sum(result.status == status for result in self.task_results.values())


class TaskDefinition(Model):
    """A task to be done. `timeout_seconds` is 1 to 3600."""

    task_id: Id = Field(default_factory=new_id)
    name: str
    description: str = ""
    assigned_to: AgentTypeName | None = None
    priority: Priority = Priority.MEDIUM
    input_data: JsonObject = Field(default_factory=dict)
    timeout_seconds: int = Field(default=120, ge=1, le=3600)
    created_at: Time = Field(default_factory=now)
    metadata: JsonObject = Field(default_factory=dict)


make_quickly(
    AgentState,
    {
        "agent_id": take_id,
        "agent_type": take_name(AGENT_TYPES),
        "status": take_name(AGENT_STATUSES),
        "current_task_id": optional(take_id),
        "completed_tasks": take_texts,
        "failed_tasks": take_texts,
        "error_count": take_count,
        "last_heartbeat": optional(take_time),
        "metadata": take_object,
        "created_at": take_time,
        "updated_at": take_time,
    },
)
make_quickly(
    TaskResult,
    {
        "task_id": take_id,
        "agent_id": take_id,
        "status": take_name(TASK_STATUSES),
        "output_data": take_object,
        "error_message": optional(take_text),
        "started_at": take_time,
        "completed_at": optional(take_time),
        "duration_seconds": optional(take_seconds),
        "metadata": take_object,
    },
)

Record = AgentState | WorkflowState | TaskResult
"""Any of the three that the StateService keeps."""
