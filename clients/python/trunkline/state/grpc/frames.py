"""What a state manager says to the service and hears from it: models into the opaque twins of state.proto, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trunkline.errors import RecordNotFoundError, StateError, TrunklineError
from trunkline.models import AgentState, Record, TaskResult
from trunkline.state.codec import decode_record, encode_record
from trunkline.state.filter import Interest, check_id, check_kind, check_revision
from trunkline.state.state_manager import Change, ChangeType, Get, Kind, Operation, Outcome, Save
from trunkline.v1 import error_pb2, state_pb2
from trunkline.wire.opaque import state_passthrough
from trunkline.wire.status import error_from_item

_twins = state_passthrough()
ClientFrame = _twins["ConnectStateRequest"]
ServerFrame = _twins["ConnectStateResponse"]
WatchFrame = _twins["WatchResponse"]

KIND_NUMBERS: Final[Mapping[Kind, int]] = {"agent_state": 1, "workflow_state": 2, "task_result": 3}
"""RecordKind of state.proto."""
_KINDS: Final[Mapping[int, Kind]] = {number: kind for kind, number in KIND_NUMBERS.items()}


def save_fields(operation: Save) -> dict[str, Any]:
    """The fields of a SaveRequest."""
    kind, id, body = encode_record(operation.record)
    check_id(id)
    fields: dict[str, Any] = {kind: body}
    if operation.expected_revision is not None:
        fields["expected_revision"] = check_revision("expected_revision", operation.expected_revision, 0)
    return fields


def to_operation(operation: Operation) -> dict[str, Any]:
    """The fields of a BatchRequest.Operation."""
    if isinstance(operation, Save):
        return {"save": save_fields(operation)}
    check_kind(operation.kind)
    fields: dict[str, Any] = {"kind": KIND_NUMBERS[operation.kind], "id": check_id(operation.id)}
    if isinstance(operation, Get):
        return {"get": fields}
    if operation.expected_revision is not None:
        fields["expected_revision"] = check_revision("expected_revision", operation.expected_revision, 1)
    return {"delete": fields}


def to_outcome(operation: Operation, outcome: Any) -> Outcome:
    """What a BatchResponse.Outcome says."""
    match outcome.WhichOneof("outcome"):
        case "saved":
            return int(outcome.saved.revision)
        case "got":
            return record_of(outcome.got.record)
        case "deleted":
            return bool(outcome.deleted.deleted)
    error = error_of(outcome.error)
    if isinstance(operation, Get) and isinstance(error, RecordNotFoundError):
        return None
    return error if isinstance(error, StateError) else StateError(error.message, error.error_code, error.details)


def record_of(wire: Any) -> Record:
    """The model of a Record."""
    kind: Kind = wire.WhichOneof("value")
    return decode_record(kind, getattr(wire, kind), wire.revision)


def error_of(encoded: bytes) -> TrunklineError:
    """The exception that an Error carries."""
    return error_from_item(error_pb2.Error.FromString(encoded))


def to_watch_request(interest: Interest, after_revision: int | None) -> state_pb2.WatchRequest:
    """The request of a watch."""
    request = state_pb2.WatchRequest(
        kinds=[KIND_NUMBERS[kind] for kind in interest.kinds],  # type: ignore[misc]  # numbers of the enum
        id=interest.id or "",
        after_revision=after_revision,
    )
    asked = interest.wanted.asked()
    if asked:
        request.filter.CopyFrom(state_pb2.Filter(**asked))
    return request


def to_change(frame: Any) -> Change:
    """What a WatchResponse says; of a `progress` frame nothing can be told."""
    match frame.WhichOneof("frame"):
        case "record":
            record = record_of(frame.record)
            kind: Kind = frame.record.WhichOneof("value")
            return Change(ChangeType.SAVED, frame.record.revision, kind, id_of(record), record)
        case "left":
            left = frame.left
            change = ChangeType.DELETED if left.deleted else ChangeType.LEFT
            return Change(change, left.revision, _KINDS[left.kind], left.id)
    return Change(ChangeType.SYNCED, frame.synced.revision)


def id_of(record: Record) -> str:
    """The id of any record."""
    if isinstance(record, AgentState):
        return record.agent_id
    return record.task_id if isinstance(record, TaskResult) else record.workflow_id
