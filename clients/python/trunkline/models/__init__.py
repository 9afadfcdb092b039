"""The models that agents exchange and keep: `AgentMessage`, the three records, `TaskDefinition`, and the enums.

Each is loaded when it is first used (PEP 562): pydantic, which messages and records are made with, is half of what a
process agent or a command would load, and those that only write JSON or name a type need none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline.lazy_names import lazy_names

if TYPE_CHECKING:
    from trunkline.models.enums import AgentStatus as AgentStatus
    from trunkline.models.enums import AgentType as AgentType
    from trunkline.models.enums import MessageType as MessageType
    from trunkline.models.enums import Priority as Priority
    from trunkline.models.enums import TaskStatus as TaskStatus
    from trunkline.models.enums import WorkflowPhase as WorkflowPhase
    from trunkline.models.message import AgentMessage as AgentMessage
    from trunkline.models.states import AgentState as AgentState
    from trunkline.models.states import Record as Record
    from trunkline.models.states import TaskDefinition as TaskDefinition
    from trunkline.models.states import TaskResult as TaskResult
    from trunkline.models.states import WorkflowState as WorkflowState

_HOMES = {
    "AgentMessage": "trunkline.models.message",
    "AgentState": "trunkline.models.states",
    "AgentStatus": "trunkline.models.enums",
    "AgentType": "trunkline.models.enums",
    "MessageType": "trunkline.models.enums",
    "Priority": "trunkline.models.enums",
    "Record": "trunkline.models.states",
    "TaskDefinition": "trunkline.models.states",
    "TaskResult": "trunkline.models.states",
    "TaskStatus": "trunkline.models.enums",
    "WorkflowPhase": "trunkline.models.enums",
    "WorkflowState": "trunkline.models.states",
}

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

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
