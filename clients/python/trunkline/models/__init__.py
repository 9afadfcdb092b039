"""The models that agents exchange and keep: `AgentMessage`, the three records, `TaskDefinition`, and the enums."""

from trunkline.models.enums import (
    AgentStatus,
    AgentType,
    MessageType,
    Priority,
    TaskStatus,
    WorkflowPhase,
)
from trunkline.models.message import AgentMessage
from trunkline.models.states import AgentState, Record, TaskDefinition, TaskResult, WorkflowState

__all__ = [
    "AgentMessage",
    "AgentState",
    "AgentStatus",
    "AgentType",
    "MessageType",
    "Priority",
    "Record",
    "TaskDefinition",
    "TaskResult",
    "TaskStatus",
    "WorkflowPhase",
    "WorkflowState",
]
