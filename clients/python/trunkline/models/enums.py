"""The well-known names. On the wire and in the store they are plain text: agents of other languages have names of
their own, and a field takes any of them. Each enum is a `str`, its value the name in lower case.
"""

from __future__ import annotations

from enum import StrEnum


class MessageType(StrEnum):
    """What a message is for."""

    TASK_ASSIGNMENT = "task_assignment"
    TASK_RESULT = "task_result"
    STATUS_UPDATE = "status_update"
    ERROR = "error"
    FEEDBACK = "feedback"
    CONTROL = "control"


class Priority(StrEnum):
    """Of what waits for one subscriber, the higher goes first. The one closed set: the bus acts upon it."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class AgentStatus(StrEnum):
    """Where an agent stands."""

    IDLE = "idle"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AgentType(StrEnum):
    """What an agent does."""

    CODING = "coding"
    REVIEW = "review"
    TEST_DATA = "test_data"
    TEST = "test"
    DEVOPS = "devops"
    DEPLOYING = "deploying"
    MONITOR = "monitor"


class TaskStatus(StrEnum):
    """Where a task or a workflow stands."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    BLOCKED = "blocked"
    SKIPPED = "skipped"


class WorkflowPhase(StrEnum):
    """The phase that a workflow is in."""

    DEVELOPMENT = "development"
    DEVOPS = "devops"
    MONITORING = "monitoring"
