"""The three kinds of records as the command line names them: agent, workflow, task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from trunkline.cli.times import json_time, local_time

if TYPE_CHECKING:
    from trunkline import AgentPresence, Change, LeaseInfo, Record, StateManager
    from trunkline.records import Kind


@dataclass(frozen=True, slots=True)
class KindOf:
    """How to reach one kind through a StateManager."""

    name: Kind
    """As the StateManager names it; its methods are called by it."""
    model: str
    filters: frozenset[str]
    """Options of `list` and `watch` that it knows."""
    columns: Sequence[str]

    async def get(self, manager: StateManager, id: str) -> Record | None:
        """Returns one record; None where there is none."""
        found: Record | None = await getattr(manager, f"get_{self.name}")(id)
        return found

    async def list(self, manager: StateManager, filters: Mapping[str, str]) -> Sequence[Record]:
        """Returns the records that match."""
        found: Sequence[Record] = await getattr(manager, f"list_{self.name}s")(**filters)
        return found

    async def save(self, manager: StateManager, record: Record, expected_revision: int | None) -> int:
        """Saves a record; returns its new revision."""
        revision: int = await getattr(manager, f"save_{self.name}")(record, expected_revision=expected_revision)
        return revision

    async def delete(self, manager: StateManager, id: str, expected_revision: int | None) -> bool:
        """Deletes a record; returns whether there was one."""
        deleted: bool = await getattr(manager, f"delete_{self.name}")(id, expected_revision=expected_revision)
        return deleted

    def make(self, fields: dict[str, Any]) -> Record:
        """Returns a record made of its JSON. Raises pydantic.ValidationError."""
        from trunkline import AgentState, TaskResult, WorkflowState

        models: tuple[type[Record], ...] = (AgentState, WorkflowState, TaskResult)
        return next(model for model in models if model.__name__ == self.model).model_validate(fields)


KINDS: Mapping[str, KindOf] = {
    "agent": KindOf(
        "agent_state",
        "AgentState",
        frozenset({"status", "type"}),
        ("agent", "revision", "status", "type", "task", "completed", "failed", "updated", "written by"),
    ),
    "workflow": KindOf(
        "workflow_state",
        "WorkflowState",
        frozenset({"status", "phase"}),
        ("workflow", "revision", "status", "phase", "completed", "failed", "started", "written by"),
    ),
    "task": KindOf(
        "task_result",
        "TaskResult",
        frozenset({"status", "agent"}),
        ("task", "revision", "status", "agent", "seconds", "error", "started", "written by"),
    ),
}


def filters_of(kind: str | None, options: Mapping[str, str | None]) -> dict[str, str]:
    """Returns the filters that were given, as StateManager names them.

    Raises:
        click.UsageError: one that the kind does not know, or any without a kind.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if kind is None:
            raise click.UsageError(f"--{name} needs a KIND")
        if name not in KINDS[kind].filters:
            raise click.UsageError(f"--{name} is no filter of a {kind}")
    return {"agent_id" if name == "agent" else name: value for name, value in given.items()}


def describe(record: Record | LeaseInfo | AgentPresence) -> dict[str, Any]:
    """Returns what is kept of a record, for JSON."""
    from trunkline import AgentPresence, LeaseInfo

    if not isinstance(record, LeaseInfo | AgentPresence):
        kept = {"revision": record.revision, **written_of(record)}
        return {**kept, **record.model_dump(mode="json")}
    facts = {name: getattr(record, name) for name in ("revision", *record.__slots__)}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in facts.items()} | (
        written_of(record)
    )


def written_of(written: Record | LeaseInfo | AgentPresence | Change) -> dict[str, Any]:
    """Returns whose write a record or a change is, and when it was made, for JSON; null: that is not known."""
    at = written.written_at
    return {"written_by": written.written_by, "written_at": None if at is None else json_time(at)}


def id_of(record: Record) -> str:
    """Returns the record's id."""
    from trunkline import AgentState, WorkflowState

    if isinstance(record, AgentState):
        return record.agent_id
    return record.workflow_id if isinstance(record, WorkflowState) else record.task_id


LEASE_COLUMNS: Final = ("lease", "number", "holder", "ttl", "remaining", "acquired", "written by")
PRESENCE_COLUMNS: Final = ("agent", "revision", "status", "type", "capabilities", "announced", "written by")


def row_of(record: Record | LeaseInfo | AgentPresence) -> Sequence[Any]:
    """Returns the cells of a record's row, under its kind's columns."""
    return (*_cells_of(record), record.written_by)


def _cells_of(record: Record | LeaseInfo | AgentPresence) -> Sequence[Any]:
    from trunkline import AgentPresence, AgentState, LeaseInfo, WorkflowState

    if isinstance(record, LeaseInfo):
        acquired = "" if record.acquired_at is None else local_time(record.acquired_at)
        return (record.name, record.number, record.holder, record.ttl, record.remaining, acquired)
    if isinstance(record, AgentPresence):
        presence = (record.agent_id, record.revision, record.status, record.agent_type)
        return (*presence, ", ".join(record.capabilities), local_time(record.announced_at))
    if isinstance(record, AgentState):
        done, failed = len(record.completed_tasks), len(record.failed_tasks)
        agent = (record.agent_id, record.revision, record.status, record.agent_type, record.current_task_id)
        return (*agent, done, failed, local_time(record.updated_at))
    if isinstance(record, WorkflowState):
        done, failed = record.completed_task_count, record.failed_task_count
        workflow = (record.workflow_id, record.revision, record.status, record.current_phase)
        return (*workflow, done, failed, local_time(record.started_at))
    result = (record.task_id, record.revision, record.status, record.agent_id, record.duration_seconds)
    return (*result, record.error_message, local_time(record.started_at))
