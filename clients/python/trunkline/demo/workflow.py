"""Workflow: the WorkflowState of a run, stored at each step."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from trunkline import TaskStatus, WorkflowPhase, WorkflowState
from trunkline.demo.posts import Job
from trunkline.sync import StateManager


class Workflow:
    """Only the coordinator writes it, and `expected_revision` proves so: a second writer would be an error.

    Args:
        facts: kept as the workflow's metadata.
    """

    def __init__(self, job: Job, store: StateManager, **facts: Any) -> None:
        self.state = WorkflowState(workflow_id=job.id, status=TaskStatus.IN_PROGRESS, metadata=facts)
        self._store = store
        self._revision = 0

    def enter(self, phase: WorkflowPhase, **facts: Any) -> None:
        """The phase begins; the facts are what is known by now."""
        self.state.current_phase = phase
        self.state.phase_history = [
            *self.state.phase_history,
            {"phase": str(phase), "entered_at": datetime.now(UTC).isoformat(), **facts},
        ]
        self._save()

    def end(self, problems: list[str], feedback: int) -> None:
        """It is over: completed, or failed for these reasons."""
        self.state.status = TaskStatus.FAILED if problems else TaskStatus.COMPLETED
        self.state.completed_at = datetime.now(UTC)
        self.state.feedback_count = feedback
        self.state.error_log = [{"problem": problem} for problem in problems]
        self._save()

    def _save(self) -> None:
        self._revision = self._store.save_workflow_state(self.state, expected_revision=self._revision)
