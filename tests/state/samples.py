"""Small records and writes for the tests of the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.records import RecordKind
from trunkline.v1 import state_pb2
from trunklined.state.records import UNKNOWN, Drop, Entry, Facets, Put
from trunklined.state.watch import Left

AGENT = RecordKind.AGENT_STATE
WORKFLOW = RecordKind.WORKFLOW_STATE
TASK = RecordKind.TASK_RESULT

NOON: Final = Timestamp(seconds=1_700_000_000)
"""Of records that have the times that they must have."""


def put(
    id: str, body: bytes = b"body", *, kind: RecordKind = AGENT, status: str = "idle", expected: int | None = None
) -> Put:
    return Put(kind, id, body, Facets(status, "coding", None, id), expected)


def drop(id: str, *, kind: RecordKind = AGENT, expected: int | None = None) -> Drop:
    return Drop(kind, id, expected)


def unsigned(value: Any) -> Any:
    """An entry, or what a watch tells, without whose write it was; anything else as it is."""
    if isinstance(value, Entry):
        return value._replace(written=UNKNOWN)
    return replace(value, written=UNKNOWN) if isinstance(value, Left) else value


def agent(agent_id: str = "a", **fields: Any) -> state_pb2.AgentState:
    return state_pb2.AgentState(
        agent_id=agent_id, **{"agent_type": "coding", "created_at": NOON, "updated_at": NOON, **fields}
    )


def task(task_id: str = "t", **fields: Any) -> state_pb2.TaskResult:
    defaults = {"agent_id": "a", "status": "completed", "started_at": NOON}
    return state_pb2.TaskResult(task_id=task_id, **{**defaults, **fields})


def workflow(workflow_id: str = "w", **fields: Any) -> state_pb2.WorkflowState:
    return state_pb2.WorkflowState(workflow_id=workflow_id, **{"started_at": NOON, **fields})
