"""Encodes models as records of the wire, and decodes them. A record that is saved and read again is equal.

Fields that another language left unset get the model's defaults. Required times were set by the service when the record
arrived; in a body that never passed a service they are 1970-01-01 (`updated_at`: `created_at`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.errors import InvalidRecordError
from trunkline.models import AgentState, AgentStatus, AgentType, Record, TaskResult, TaskStatus, WorkflowPhase
from trunkline.models.fields import JsonObject
from trunkline.models.json import NotJsonError, encode_json
from trunkline.models.states import WorkflowState
from trunkline.records import Kind
from trunkline.state.leases import LeaseInfo
from trunkline.state.presence import AgentPresence
from trunkline.text import safe_text
from trunkline.v1 import state_pb2
from trunkline.wire.times import EPOCH, to_datetime

_AGENT_TYPES: Final = {each.value: each for each in AgentType}
_AGENT_STATUSES: Final = {each.value: each for each in AgentStatus}
_TASK_STATUSES: Final = {each.value: each for each in TaskStatus}
_PHASES: Final = {each.value: each for each in WorkflowPhase}
_FIELDS: Final[Mapping[type, set[str]]] = {
    cls: set(cls.model_fields) for cls in (AgentState, WorkflowState, TaskResult)
}
"""Shared by all decoded records: pydantic only adds to it, and it holds all names already."""

_decode_json = msgspec.json.Decoder(dict[str, Any]).decode
_SHOWN: Final = 80
"""Characters of a value that an error shows."""
_set = object.__setattr__

_R = TypeVar("_R", AgentState, WorkflowState, TaskResult)


class Encoded(NamedTuple):
    """An encoded record: its kind, its id, and its message of state.proto."""

    kind: Kind
    id: str
    body: bytes


def encode_record(record: Record | AgentPresence) -> Encoded:
    """Encodes a model.

    Raises:
        InvalidRecordError: a field cannot be encoded, such as text with lone surrogates, or a value that was put into a
            list or a dict after the model had checked it; names the field.
        TypeError: `record` is no record.
    """
    if isinstance(record, AgentState):
        return Encoded("agent_state", record.agent_id, _encoded(record, _agent_state_to_wire))
    if isinstance(record, TaskResult):
        return Encoded("task_result", record.task_id, _encoded(record, _task_result_to_wire))
    if isinstance(record, WorkflowState):
        return Encoded("workflow_state", record.workflow_id, _encoded(record, _workflow_state_to_wire))
    if isinstance(record, AgentPresence):
        return Encoded("agent_presence", record.agent_id, _encoded(record, _presence_to_wire))
    raise TypeError(f"{type(record).__name__} is no record: want AgentState, WorkflowState or TaskResult")


def decode_record(kind: Kind, body: bytes, revision: int) -> Record | LeaseInfo | AgentPresence:
    """Decodes a record. The service validated the fields, so they are not validated again."""
    if kind == "agent_state":
        return _agent_state_from_wire(state_pb2.AgentState.FromString(body), revision)
    if kind == "task_result":
        return _task_result_from_wire(state_pb2.TaskResult.FromString(body), revision)
    if kind == "agent_presence":
        return _presence_from_wire(state_pb2.AgentPresence.FromString(body), revision)
    if kind == "lease":
        return lease_from_wire(state_pb2.Lease.FromString(body), revision)
    return _workflow_state_from_wire(state_pb2.WorkflowState.FromString(body), revision)


def _encoded(record: Any, to_wire: Callable[[Any], Any]) -> bytes:
    try:
        encoded: bytes = to_wire(record).SerializeToString()
    except (ValueError, TypeError) as error:  # UnicodeEncodeError is a ValueError
        name = _culprit(record)
        raise InvalidRecordError(
            f"{type(record).__name__}.{name} cannot be written: {error}", details={"field": name, "value": ""}
        ) from error
    return encoded


def _agent_state_to_wire(state: AgentState) -> state_pb2.AgentState:
    wire = state_pb2.AgentState(
        agent_id=state.agent_id,
        agent_type=state.agent_type,
        status=state.status,
        current_task_id=state.current_task_id,
        completed_tasks=_texts("completed_tasks", state.completed_tasks),
        failed_tasks=_texts("failed_tasks", state.failed_tasks),
        error_count=state.error_count,
    )
    if state.metadata:
        wire.metadata_json = to_json("metadata", state.metadata)
    _put_time(wire.created_at, state.created_at)
    _put_time(wire.updated_at, state.updated_at)
    if state.last_heartbeat is not None:
        _put_time(wire.last_heartbeat, state.last_heartbeat)
    return wire


def _task_result_to_wire(result: TaskResult) -> state_pb2.TaskResult:
    wire = state_pb2.TaskResult(
        task_id=result.task_id,
        agent_id=result.agent_id,
        status=result.status,
        error_message=result.error_message,
        duration_seconds=result.duration_seconds,
    )
    if result.output_data:
        wire.output_data_json = to_json("output_data", result.output_data)
    if result.metadata:
        wire.metadata_json = to_json("metadata", result.metadata)
    _put_time(wire.started_at, result.started_at)
    if result.completed_at is not None:
        _put_time(wire.completed_at, result.completed_at)
    return wire


def _workflow_state_to_wire(state: WorkflowState) -> state_pb2.WorkflowState:
    wire = state_pb2.WorkflowState(
        workflow_id=state.workflow_id,
        current_phase=state.current_phase,
        phase_history_json=[to_json(f"phase_history[{n}]", each) for n, each in enumerate(state.phase_history)],
        status=state.status,
        error_log_json=[to_json(f"error_log[{n}]", each) for n, each in enumerate(state.error_log)],
        feedback_count=state.feedback_count,
    )
    _put_nested(wire.agent_states, "agent_states", state.agent_states, AgentState, _agent_state_to_wire)
    _put_nested(wire.task_results, "task_results", state.task_results, TaskResult, _task_result_to_wire)
    if state.metadata:
        wire.metadata_json = to_json("metadata", state.metadata)
    _put_time(wire.started_at, state.started_at)
    if state.completed_at is not None:
        _put_time(wire.completed_at, state.completed_at)
    return wire


def _presence_to_wire(presence: AgentPresence) -> state_pb2.AgentPresence:
    wire = state_pb2.AgentPresence(
        agent_id=presence.agent_id,
        agent_type=presence.agent_type,
        status=presence.status,
        capabilities=_texts("capabilities", list(presence.capabilities)),
    )
    if presence.metadata:
        wire.metadata_json = to_json("metadata", dict(presence.metadata))
    _put_time(wire.announced_at, presence.announced_at)
    return wire


def _presence_from_wire(wire: state_pb2.AgentPresence, revision: int) -> AgentPresence:
    return AgentPresence(
        agent_id=wire.agent_id,
        agent_type=_AGENT_TYPES.get(wire.agent_type, wire.agent_type),
        status=_AGENT_STATUSES.get(wire.status, wire.status) if wire.status else AgentStatus.IDLE,
        capabilities=tuple(wire.capabilities),
        metadata=_decode_json(wire.metadata_json) if wire.metadata_json else {},
        announced_at=_to_time(wire.announced_at),
        revision=revision,
    )


def lease_from_wire(wire: state_pb2.Lease, number: int) -> LeaseInfo:
    """Returns a lease as others see it; its number is the revision of its record."""
    return LeaseInfo(
        name=wire.name,
        number=number,
        holder=wire.holder,
        ttl=wire.ttl.ToNanoseconds() / 1e9,
        metadata=_decode_json(wire.metadata_json) if wire.metadata_json else {},
        acquired_at=_to_time(wire.acquired_at),
    )


def _agent_state_from_wire(wire: state_pb2.AgentState, revision: int | None) -> AgentState:
    created_at = _to_time(wire.created_at)
    return _model(
        AgentState,
        revision,
        {
            "agent_id": wire.agent_id,
            "agent_type": _AGENT_TYPES.get(wire.agent_type, wire.agent_type),
            "status": _AGENT_STATUSES.get(wire.status, wire.status) if wire.status else AgentStatus.IDLE,
            "current_task_id": wire.current_task_id or None,
            "completed_tasks": list(wire.completed_tasks),
            "failed_tasks": list(wire.failed_tasks),
            "error_count": wire.error_count,
            "last_heartbeat": _to_time(wire.last_heartbeat) if wire.HasField("last_heartbeat") else None,
            "metadata": _read_json("metadata_json", wire.metadata_json),
            "created_at": created_at,
            "updated_at": _to_time(wire.updated_at) if wire.HasField("updated_at") else created_at,
        },
    )


def _task_result_from_wire(wire: state_pb2.TaskResult, revision: int | None) -> TaskResult:
    return _model(
        TaskResult,
        revision,
        {
            "task_id": wire.task_id,
            "agent_id": wire.agent_id,
            "status": _TASK_STATUSES.get(wire.status, wire.status),
            "output_data": _read_json("output_data_json", wire.output_data_json),
            "error_message": wire.error_message if wire.HasField("error_message") else None,
            "started_at": _to_time(wire.started_at),
            "completed_at": _to_time(wire.completed_at) if wire.HasField("completed_at") else None,
            "duration_seconds": wire.duration_seconds if wire.HasField("duration_seconds") else None,
            "metadata": _read_json("metadata_json", wire.metadata_json),
        },
    )


def _workflow_state_from_wire(wire: state_pb2.WorkflowState, revision: int | None) -> WorkflowState:
    phase, status = wire.current_phase, wire.status
    return _model(
        WorkflowState,
        revision,
        {
            "workflow_id": wire.workflow_id,
            "current_phase": _PHASES.get(phase, phase) if phase else WorkflowPhase.DEVELOPMENT,
            "phase_history": _read_entries("phase_history_json", wire.phase_history_json),
            "agent_states": {key: _agent_state_from_wire(each, None) for key, each in wire.agent_states.items()},
            "task_results": {key: _task_result_from_wire(each, None) for key, each in wire.task_results.items()},
            "started_at": _to_time(wire.started_at),
            "completed_at": _to_time(wire.completed_at) if wire.HasField("completed_at") else None,
            "status": _TASK_STATUSES.get(status, status) if status else TaskStatus.PENDING,
            "error_log": _read_entries("error_log_json", wire.error_log_json),
            "feedback_count": wire.feedback_count,
            "metadata": _read_json("metadata_json", wire.metadata_json),
        },
    )


def _model(cls: type[_R], revision: int | None, fields: dict[str, Any]) -> _R:
    record = cls.__new__(cls)
    _set(record, "__dict__", fields)
    _set(record, "__pydantic_fields_set__", _FIELDS[cls])
    _set(record, "__pydantic_extra__", None)
    _set(record, "__pydantic_private__", {"_revision": revision})
    return record


def _put_time(wire: Timestamp, time: datetime) -> None:
    since = time - EPOCH
    wire.seconds = since.days * 86_400 + since.seconds
    wire.nanos = since.microseconds * 1_000


def _to_time(wire: Timestamp) -> datetime:
    return to_datetime(wire.seconds, wire.nanos)


def to_json(name: str, value: JsonObject) -> Any:
    """Returns JSON as bytes, which a string field accepts too. What was put into a dict after the model had checked it
    is checked here."""
    if not isinstance(value, dict):
        raise _changed(name, f"is {value!r}, it must be a JSON object")
    try:
        return encode_json(value)
    except NotJsonError as error:
        raise _changed(f"{name}.{error.path}" if error.path else name, error.wrong) from error
    except (ValueError, RecursionError) as error:
        raise _changed(name, f"is no JSON: {error}") from error


def _texts(name: str, values: list[str]) -> list[str]:
    """Returns a list of text as it is; protobuf alone would take bytes for text."""
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise _changed(f"{name}[{index}]", f"is {value!r}, it must be text")
    return values


def _put_nested(into: Any, name: str, records: Mapping[str, _R], cls: type[_R], to_wire: Callable[[_R], Any]) -> None:
    """Encodes the records within a workflow."""
    for key, record in records.items():
        path = f"{name}[{key!r}]"
        if not isinstance(key, str) or not isinstance(record, cls):
            raise _changed(path, f"is {type(record).__name__}, it must be {cls.__name__}, under a key that is text")
        try:
            into[key].CopyFrom(to_wire(record))
        except InvalidRecordError as error:
            raise InvalidRecordError(
                f"{path}.{error.message}", details={**error.details, "field": f"{path}.{error.details['field']}"}
            ) from error


def _changed(field: str, wrong: str) -> InvalidRecordError:
    """Returns the error of a record that was changed into what it cannot be, after the model had checked it."""
    return InvalidRecordError(safe_text(f"{field} {wrong}"), details={"field": safe_text(field), "value": ""})


def _read_json(field: str, text: str) -> JsonObject:
    """Returns the JSON object that a text says; empty: {}. A service refuses to store any other text; one that comes
    all the same is passed off as nothing else."""
    if not text:
        return {}
    try:
        return _decode_json(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRecordError(
            f"{field} is no JSON object: {error}", details={"field": field, "value": text[:_SHOWN]}
        ) from error


def _read_entries(field: str, texts: Iterable[str]) -> list[JsonObject]:
    return [_read_json(f"{field}[{index}]", text) for index, text in enumerate(texts)]


def _culprit(record: Any) -> str:
    """Returns the name of the field that cannot be encoded."""
    for name in (each.name for each in fields(record)) if is_dataclass(record) else record.__dict__:
        value = getattr(record, name)
        texts = value if isinstance(value, list | dict) else [value]
        for text in texts:
            try:
                if isinstance(text, str):
                    text.encode()
            except UnicodeEncodeError:
                return str(name)
    return "metadata"
