"""The records, TaskDefinition and the enums, row by row of the expected behaviour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from trunkline import (
    AgentState,
    AgentStatus,
    AgentType,
    MessageType,
    Priority,
    TaskDefinition,
    TaskResult,
    TaskStatus,
    WorkflowPhase,
    WorkflowState,
)


@pytest.mark.parametrize(
    ("enum", "names"),
    [
        (MessageType, "task_assignment task_result status_update error feedback control"),
        (Priority, "low medium high critical"),
        (AgentStatus, "idle running waiting completed failed cancelled"),
        (TaskStatus, "pending in_progress completed failed blocked skipped"),
        (WorkflowPhase, "development devops monitoring"),
        (AgentType, "coding review test_data test devops deploying monitor"),
    ],
)
def test_enums_are_strings(enum: type[StrEnum], names: str) -> None:
    """Enums are strings, the value is the name in lower case, in this order."""
    assert [str(each) for each in enum] == names.split()
    assert [each.name.lower() for each in enum] == names.split()
    assert all(isinstance(each, str) for each in enum)


def test_agent_state_defaults() -> None:
    """AgentState: agent_id, agent_type required; the rest as the table says."""
    state = AgentState(agent_id="a", agent_type="coding")
    assert state.agent_type is AgentType.CODING
    assert state.status is AgentStatus.IDLE
    assert (state.current_task_id, state.last_heartbeat) == (None, None)
    assert state.completed_tasks == state.failed_tasks == []
    assert state.error_count == 0
    assert state.metadata == {}
    assert state.created_at.tzinfo is state.updated_at.tzinfo is UTC
    for missing in ("agent_id", "agent_type"):
        with pytest.raises(ValidationError, match=missing):
            AgentState(**{key: "x" for key in ("agent_id", "agent_type") if key != missing})


def test_agent_state_properties() -> None:
    """is_available (IDLE), total_tasks, success_rate (1.0 if none)."""
    state = AgentState(agent_id="a", agent_type="coding")
    assert (state.is_available, state.total_tasks, state.success_rate) == (True, 0, 1.0)
    state = AgentState(
        agent_id="a", agent_type="x", status="running", completed_tasks=["1", "2", "3"], failed_tasks=["4"]
    )
    assert (state.is_available, state.total_tasks, state.success_rate) == (False, 4, 0.75)


def test_workflow_state_defaults() -> None:
    """WorkflowState: workflow_id required; DEVELOPMENT, PENDING, empty lists and dicts, feedback_count 0."""
    state = WorkflowState(workflow_id="w")
    assert state.current_phase is WorkflowPhase.DEVELOPMENT
    assert state.status is TaskStatus.PENDING
    assert state.phase_history == state.error_log == []
    assert state.agent_states == state.task_results == state.metadata == {}
    assert state.completed_at is None
    assert state.feedback_count == 0
    assert abs(state.started_at - datetime.now(UTC)) < timedelta(seconds=60)


def test_workflow_state_properties() -> None:
    """is_running, is_complete, duration_seconds, completed_task_count, failed_task_count."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    results = {
        name: TaskResult(task_id=name, agent_id="a", status=status)
        for name, status in (("1", "completed"), ("2", "completed"), ("3", "failed"), ("4", "of_its_own"))
    }
    state = WorkflowState(
        workflow_id="w",
        status="in_progress",
        started_at=start,
        completed_at=start + timedelta(seconds=90),
        task_results=results,
    )
    assert (state.is_running, state.is_complete) == (True, False)
    assert state.duration_seconds == 90
    assert (state.completed_task_count, state.failed_task_count) == (2, 1)
    ended = [status for status in TaskStatus if WorkflowState(workflow_id="w", status=status).is_complete]
    assert ended == [TaskStatus.COMPLETED, TaskStatus.FAILED]
    assert WorkflowState(workflow_id="w", status="in_progress", started_at=start).duration_seconds is None


def test_task_result() -> None:
    """TaskResult: task_id, agent_id, status required; duration_seconds ≥ 0."""
    result = TaskResult(task_id="t", agent_id="a", status="completed")
    assert result.output_data == result.metadata == {}
    assert (result.error_message, result.completed_at, result.duration_seconds) == (None, None, None)
    assert result.started_at.tzinfo is UTC
    TaskResult(task_id="t", agent_id="a", status="completed", duration_seconds=0)
    for bad in (-0.001, float("nan"), float("inf")):
        with pytest.raises(ValidationError, match="duration_seconds"):
            TaskResult(task_id="t", agent_id="a", status="completed", duration_seconds=bad)


def test_task_definition() -> None:
    """TaskDefinition: task_id (uuid), name required, MEDIUM, timeout_seconds 120 (1 to 3600)."""
    task = TaskDefinition(name="n")
    assert UUID(task.task_id)
    assert (task.description, task.assigned_to, task.priority) == ("", None, Priority.MEDIUM)
    assert (task.input_data, task.timeout_seconds, task.metadata) == ({}, 120, {})
    assert task.created_at.tzinfo is UTC
    assert TaskDefinition(name="n", assigned_to="review").assigned_to is AgentType.REVIEW
    for fits in (1, 3600):
        assert TaskDefinition(name="n", timeout_seconds=fits).timeout_seconds == fits
    for bad in (0, 3601, -1):
        with pytest.raises(ValidationError, match="timeout_seconds"):
            TaskDefinition(name="n", timeout_seconds=bad)
    with pytest.raises(ValidationError, match="name"):
        TaskDefinition()  # type: ignore[call-arg]


@pytest.mark.parametrize("count", [-1, 2**63, 1.5])
def test_counts_are_not_below_zero(count: Any) -> None:
    """error_count and feedback_count: 0, ≥ 0."""
    with pytest.raises(ValidationError, match="error_count"):
        AgentState(agent_id="a", agent_type="x", error_count=count)
    with pytest.raises(ValidationError, match="feedback_count"):
        WorkflowState(workflow_id="w", feedback_count=count)


def test_any_name_is_taken_where_other_languages_have_their_own() -> None:
    """The wire and the store take any name; the enums are the well-known ones. An empty one says nothing."""
    assert AgentState(agent_id="a", agent_type="go_agent", status="thinking").status == "thinking"
    assert WorkflowState(workflow_id="w", current_phase="research").current_phase == "research"
    for field in ("agent_id", "agent_type", "status"):
        with pytest.raises(ValidationError, match=field):
            AgentState(**{"agent_id": "a", "agent_type": "x", field: ""})


def test_unknown_fields_are_ignored_and_naive_times_refused() -> None:
    """Unknown fields are ignored; times are timezone-aware UTC."""
    assert not hasattr(AgentState(agent_id="a", agent_type="x", nonsense=1), "nonsense")
    with pytest.raises(ValidationError, match="created_at"):
        AgentState(agent_id="a", agent_type="x", created_at=datetime(2026, 1, 1))


def test_nested_models_come_back_equal() -> None:
    """Nested models and dicts survive JSON, and are copied when the model is made of plain data."""
    state = WorkflowState(
        workflow_id="w",
        agent_states={"a": AgentState(agent_id="a", agent_type="coding")},
        task_results={
            "t": TaskResult(task_id="t", agent_id="a", status="failed", output_data={"n": [1, {"x": 2**70}]})
        },
        phase_history=[{"phase": "development"}],
    )
    assert WorkflowState.model_validate_json(state.model_dump_json()) == state
