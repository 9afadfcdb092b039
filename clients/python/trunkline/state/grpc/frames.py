"""What goes over the stream of state calls, written; and what comes, read.

A call is put together from parts, around the record that is encoded already: a frame made of protobuf messages copies
the record three times, and costs four times as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC
from typing import Any, Final

from trunkline.errors import RecordNotFoundError, StateError, TrunklineError
from trunkline.models import AgentState, Record, TaskResult
from trunkline.records import RECORD_KINDS, Kind, RecordKind, check_record_id
from trunkline.state.codec import decode_record, encode_record
from trunkline.state.filter import WatchFilter, check_kind, check_revision
from trunkline.state.state_manager import Change, ChangeType, Get, Operation, Outcome, Save, StateStatistics
from trunkline.v1 import error_pb2, state_pb2
from trunkline.wire.encoding import length_prefix, list_parts, number_tag, write_varint
from trunkline.wire.opaque import state_passthrough
from trunkline.wire.status import error_from_item

_twins = state_passthrough()
ServerFrame = _twins["ConnectStateResponse"]
WatchFrame = _twins["WatchResponse"]

_Frame, _Item = state_pb2.ConnectStateRequest, state_pb2.ConnectStateRequest.ClientItem
_item = length_prefix(_Frame, "items")
_item_id = number_tag(_Item, "id")
_CALLS: Final = {name: length_prefix(_Item, name) for name in ("save", "get", "list", "delete", "batch")}
_RECORDS: Final = {label: length_prefix(state_pb2.SaveRequest, label) for label in RECORD_KINDS}
_expected_revision = number_tag(state_pb2.SaveRequest, "expected_revision")
_get_id = length_prefix(state_pb2.GetRequest, "id")
_GET_KINDS: Final = {
    label: number_tag(state_pb2.GetRequest, "kind") + write_varint(kind) for label, kind in RECORD_KINDS.items()
}
_operation = length_prefix(state_pb2.BatchRequest, "operations")
_OPERATIONS: Final = {name: length_prefix(state_pb2.BatchRequest.Operation, name) for name in ("save", "get", "delete")}
_atomic = number_tag(state_pb2.BatchRequest, "atomic")


def write_call(id: int, name: str, request: bytes) -> bytes:
    """Returns the frame of one call: its name in ClientItem, and its encoded request."""
    head = _item_id + write_varint(id) + _CALLS[name](len(request))
    return b"".join((_item(len(head) + len(request)), head, request))


def write_save(record: Record, expected_revision: int | None) -> bytes:
    """Returns an encoded SaveRequest."""
    kind, id, body = encode_record(record)
    check_record_id("id", id)
    if expected_revision is None:
        return _RECORDS[kind](len(body)) + body
    check_revision("expected_revision", expected_revision, 0)
    return b"".join((_RECORDS[kind](len(body)), body, _expected_revision, write_varint(expected_revision)))


def write_get(kind: Kind, id: str) -> bytes:
    """Returns an encoded GetRequest."""
    encoded = str.encode(check_record_id("id", id))
    return b"".join((_GET_KINDS[kind], _get_id(len(encoded)), encoded))


def write_delete(kind: Kind, id: str, expected_revision: int | None) -> bytes:
    """Returns an encoded DeleteRequest."""
    request = state_pb2.DeleteRequest(
        kind=RECORD_KINDS[kind],  # type: ignore[arg-type]  # a number of the enum
        id=check_record_id("id", id),
        expected_revision=check_revision("expected_revision", expected_revision, 1),
    )
    return request.SerializeToString()


def write_list(kind: Kind, filter: Mapping[str, str], page_size: int, page_token: str) -> bytes:
    """Returns an encoded ListRequest."""
    request = state_pb2.ListRequest(
        kind=RECORD_KINDS[kind],  # type: ignore[arg-type]  # a number of the enum
        filter=state_pb2.Filter(**filter),
        page_size=page_size,
        page_token=page_token,
    )
    return request.SerializeToString()


def write_batch(operations: Sequence[Operation], atomic: bool) -> bytes:
    """Returns an encoded BatchRequest."""
    parts = list_parts(_operation, [_write_operation(operation) for operation in operations])
    if atomic:
        parts += (_atomic, b"\x01")
    return b"".join(parts)


def _write_operation(operation: Operation) -> bytes:
    if isinstance(operation, Save):
        name, request = "save", write_save(operation.record, operation.expected_revision)
    elif isinstance(operation, Get):
        check_kind(operation.kind)
        name, request = "get", write_get(operation.kind, operation.id)
    else:
        check_kind(operation.kind)
        name, request = "delete", write_delete(operation.kind, operation.id, operation.expected_revision)
    return _OPERATIONS[name](len(request)) + request


def to_outcome(operation: Operation, outcome: Any) -> Outcome:
    """Returns the outcome of an operation in a BatchResponse."""
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
    """Returns the model of a Record."""
    kind: Kind = wire.WhichOneof("value")
    return decode_record(kind, getattr(wire, kind), wire.revision)


def error_of(encoded: bytes) -> TrunklineError:
    """Returns the exception of an encoded Error."""
    return error_from_item(error_pb2.Error.FromString(encoded))


def to_watch_request(filter: WatchFilter, after_revision: int | None) -> state_pb2.WatchRequest:
    """Returns the request of a watch."""
    request = state_pb2.WatchRequest(
        kinds=[RECORD_KINDS[kind] for kind in filter.kinds],  # type: ignore[misc]  # numbers of the enum
        id=filter.id or "",
        after_revision=after_revision,
    )
    values = filter.fields.values()
    if values:
        request.filter.CopyFrom(state_pb2.Filter(**values))
    return request


def to_change(frame: Any) -> Change:
    """Returns the change of a WatchResponse that is no `progress` frame."""
    match frame.WhichOneof("frame"):
        case "record":
            record = record_of(frame.record)
            kind: Kind = frame.record.WhichOneof("value")
            return Change(ChangeType.SAVED, frame.record.revision, kind, id_of(record), record)
        case "left":
            left = frame.left
            change = ChangeType.DELETED if left.deleted else ChangeType.LEFT
            return Change(change, left.revision, RecordKind(left.kind).label, left.id)
    return Change(ChangeType.SYNCED, frame.synced.revision)


def statistics_from_wire(wire: state_pb2.GetStateStatsResponse) -> StateStatistics:
    """The figures of a store as Python users have them: its fields by the same names."""
    figures = {field.name: getattr(wire, field.name) for field in fields(StateStatistics)}
    started_at = wire.started_at.ToDatetime(tzinfo=UTC)
    return StateStatistics(**figures | {"started_at": started_at, "records": dict(wire.records)})


def id_of(record: Record) -> str:
    """Returns the id of any record."""
    if isinstance(record, AgentState):
        return record.agent_id
    return record.task_id if isinstance(record, TaskResult) else record.workflow_id
