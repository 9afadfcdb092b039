"""The well-known names. On the wire and in the store they are plain text: agents of other languages have names of
their own, and a field takes any of them. Each enum is a `str`, its value the name in lower case.
"""

from __future__ import annotations

from enum import Enum


class _Name(str, Enum):
    """A string that prints as its value."""

    def __str__(self) -> str:
        return str(self.value)


class MessageType(_Name):
    """What a message is for."""

    TASK_ASSIGNMENT = "task_assignment"
    TASK_RESULT = "task_result"
    STATUS_UPDATE = "status_update"
    ERROR = "error"
    FEEDBACK = "feedback"
    CONTROL = "control"


class Priority(_Name):
    """Of what waits for one subscriber, the higher goes first. The one closed set: the bus acts upon it."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class AgentStatus(_Name):
    """Where an agent stands."""

    IDLE = "idle"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AgentType(_Name):
    """What an agent does."""

    CODING = "coding"
    REVIEW = "review"
    TEST_DATA = "test_data"
    TEST = "test"
    DEVOPS = "devops"
    DEPLOYING = "deploying"
    MONITOR = "monitor"


class TaskStatus(_Name):
    """Where a task or a workflow stands."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    BLOCKED = "blocked"
    SKIPPED = "skipped"


class WorkflowPhase(_Name):
    """The phase that a workflow is in."""

    DEVELOPMENT = "development"
    DEVOPS = "devops"
    MONITORING = "monitoring"
