"""What goes over the stream of state calls, written; and what comes, read.

A call is put together from parts, around the record that is encoded already: a frame made of protobuf messages copies
the record three times, and costs four times as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

from trunkline.channels import check_channel
from trunkline.delivery import check_delivery
from trunkline.errors import (
    InvalidChannelError,
    InvalidMessageError,
    RecordNotFoundError,
    StateError,
    TrunklineError,
)
from trunkline.limits import MAX_RECORD_TTL, MIN_TTL
from trunkline.message_encoding import encode_delivery, encode_message
from trunkline.models import AgentMessage, AgentState, TaskResult
from trunkline.records import (
    RECORD_KINDS,
    Kind,
    RecordKind,
    check_record_id,
    check_seconds,
    check_write_messages,
    invalid_publish,
)
from trunkline.state.codec import Written, decode_record, encode_record, lease_from_wire, time_of
from trunkline.state.filter import WatchFilter, check_kind, check_revision
from trunkline.state.leases import Held, LeaseInfo
from trunkline.state.outbox import OutboxMessage, OutboxStatistics, Publish, StuckMessage
from trunkline.state.presence import AgentPresence
from trunkline.state.record_manager import Stored
from trunkline.state.state_manager import (
    Change,
    ChangeType,
    Delete,
    EndReason,
    Get,
    Operation,
    Outcome,
    Save,
    StateStatistics,
)
from trunkline.v1 import error_pb2, state_pb2
from trunkline.wire.encoding import length_prefix, list_parts, number_tag, write_varint
from trunkline.wire.opaque import state_passthrough
from trunkline.wire.status import error_from_item

_REASONS: Final = {
    state_pb2.END_REASON_DELETED: EndReason.DELETED,
    state_pb2.END_REASON_EXPIRED: EndReason.EXPIRED,
    state_pb2.END_REASON_LEASE_ENDED: EndReason.LEASE_ENDED,
}

_twins = state_passthrough()
ServerFrame = _twins["OpenStateStreamResponse"]
WatchFrame = _twins["WatchResponse"]
_SaveRequest, _DeleteRequest = _twins["SaveRequest"], _twins["DeleteRequest"]

_Frame, _Item = state_pb2.OpenStateStreamRequest, state_pb2.OpenStateStreamRequest.ClientItem
_item = length_prefix(_Frame, "items")
_item_id = number_tag(_Item, "id")
_CALLS: Final = {each.name: length_prefix(_Item, each.name) for each in _Item.DESCRIPTOR.oneofs_by_name["item"].fields}
_RECORDS: Final = {
    each.name: length_prefix(state_pb2.SaveRequest, each.name)
    for each in state_pb2.SaveRequest.DESCRIPTOR.fields
    if each.name in RECORD_KINDS
}
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


def write_save(save: Save) -> bytes:
    """Returns an encoded SaveRequest."""
    kind, id, body = encode_record(save.record)
    check_record_id("id", id)
    parts = [_RECORDS[kind](len(body)), body]
    expected_revision = save.expected_revision
    if expected_revision is not None:
        check_revision("expected_revision", expected_revision, 0)
        parts += (_expected_revision, write_varint(expected_revision))
    if save.lease is not None or save.ttl is not None or save.fence is not None or save.publish:
        parts.append(_rarer_fields(save))
    return b"".join(parts)


def _rarer_fields(save: Save) -> bytes:
    """Returns what few saves have. Encoded messages joined are one message with the fields of both."""
    fields: dict[str, Any] = {}
    if save.lease is not None:
        fields["lease"] = _hold_fields("lease", save.lease)
    if save.ttl is not None:
        fields["ttl"] = _ttl_fields(save.ttl)
    if save.fence is not None:
        fields["fence"] = _hold_fields("fence", save.fence)
    if save.publish:
        fields["publish"] = _publish_fields(save.publish)
    encoded: bytes = _SaveRequest(**fields).SerializeToString()
    return encoded


def write_get(kind: Kind, id: str) -> bytes:
    """Returns an encoded GetRequest."""
    encoded = str.encode(check_record_id("id", id))
    return b"".join((_GET_KINDS[kind], _get_id(len(encoded)), encoded))


def write_delete(delete: Delete) -> bytes:
    """Returns an encoded DeleteRequest."""
    check_kind(delete.kind)
    fields: dict[str, Any] = {"kind": RECORD_KINDS[delete.kind], "id": check_record_id("id", delete.id)}
    if delete.expected_revision is not None:
        fields["expected_revision"] = check_revision("expected_revision", delete.expected_revision, 1)
    if delete.fence is not None:
        fields["fence"] = _hold_fields("fence", delete.fence)
    if delete.publish:
        fields["publish"] = _publish_fields(delete.publish)
    encoded: bytes = _DeleteRequest(**fields).SerializeToString()
    return encoded


def write_list(kind: Kind, filter: Mapping[str, str], page_size: int, page_token: str) -> bytes:
    """Returns an encoded ListRequest."""
    request = state_pb2.ListRequest(
        kind=RECORD_KINDS[kind],  # type: ignore[arg-type]  # a number of the enum
        filter=state_pb2.Filter(**filter),
        page_size=page_size,
        page_token=page_token,
    )
    return request.SerializeToString()


def write_touch(kind: Kind, id: str, ttl: float | None) -> bytes:
    """Returns an encoded TouchRequest."""
    check_kind(kind)
    request = state_pb2.TouchRequest(
        kind=RECORD_KINDS[kind],  # type: ignore[arg-type]  # a number of the enum
        id=check_record_id("id", id),
        ttl=None if ttl is None else _ttl(ttl),
    )
    return request.SerializeToString()


def write_renew(name: str, number: int) -> bytes:
    """Returns an encoded RenewLeaseRequest."""
    return state_pb2.RenewLeaseRequest(lease=state_pb2.Hold(name=name, number=number)).SerializeToString()


def write_release(name: str, number: int) -> bytes:
    """Returns an encoded ReleaseLeaseRequest."""
    check_record_id("name", name)
    check_revision("number", number, 1)
    return state_pb2.ReleaseLeaseRequest(lease=state_pb2.Hold(name=name, number=number)).SerializeToString()


def write_batch(operations: Sequence[Operation], atomic: bool) -> bytes:
    """Returns an encoded BatchRequest."""
    parts = list_parts(_operation, [_write_operation(operation) for operation in operations])
    if atomic:
        parts += (_atomic, b"\x01")
    return b"".join(parts)


def _write_operation(operation: Operation) -> bytes:
    if isinstance(operation, Save):
        name, request = "save", write_save(operation)
    elif isinstance(operation, Delete):
        name, request = "delete", write_delete(operation)
    else:
        check_kind(operation.kind)
        name, request = "get", write_get(operation.kind, operation.id)
    return _OPERATIONS[name](len(request)) + request


def _hold_fields(field: str, held: Held) -> dict[str, Any]:
    """Returns the fields of a Hold. Raises `LeaseLostError` for a lease that this program has lost, by its clock."""
    if (check := getattr(held, "check", None)) is not None:
        check()
    check_record_id(f"{field}.name", held.name)
    check_revision(f"{field}.number", held.number, 1)
    return {"name": held.name, "number": held.number}


def _ttl_fields(seconds: float) -> dict[str, int]:
    """Returns the fields of a Duration, which is another class in each passthrough type. Raises `InvalidRecordError`
    for a TTL that cannot be."""
    duration = _ttl(seconds)
    return {"seconds": duration.seconds, "nanos": duration.nanos}


def _ttl(seconds: float) -> Duration:
    return duration_of(check_seconds("ttl", seconds, MIN_TTL, MAX_RECORD_TTL))


def duration_of(seconds: float) -> Duration:
    """Returns the duration of some seconds."""
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration


def _publish_fields(publish: Publish) -> list[dict[str, Any]]:
    """Returns the fields of the OutboxMessages of a write."""
    check_write_messages(len(publish))
    return [_outbox_fields(index, OutboxMessage(*each)) for index, each in enumerate(publish)]


def _outbox_fields(index: int, each: OutboxMessage) -> dict[str, Any]:
    channel, message, ordering_key, deliver_at, deliver_after = each
    if not isinstance(message, AgentMessage):
        raise TypeError(f"publish[{index}]: want a pair of a channel and an AgentMessage, not {type(message).__name__}")
    try:
        check_channel(channel)
        check_delivery(ordering_key, deliver_at, deliver_after)
        delivery = encode_delivery(ordering_key, deliver_at, deliver_after)
        return {"channel": channel, "message": encode_message(message) + delivery}
    except (InvalidChannelError, InvalidMessageError) as error:
        raise invalid_publish(index, error) from error


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


def record_of(wire: Any) -> Stored:
    """Returns the model of a Record."""
    kind: Kind = wire.WhichOneof("value")
    return decode_record(kind, getattr(wire, kind), wire.revision, _written(wire))


def _written(wire: Any) -> Written:
    """Returns whose write a Record, a Left or a Lease is."""
    at = wire.written_at
    return Written(wire.written_by, at.seconds, at.nanos)


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
            by, at = record.written_by, record.written_at
            return Change(
                ChangeType.SAVED, frame.record.revision, kind, id_of(record), record, written_by=by, written_at=at
            )
        case "left":
            left = frame.left
            change = ChangeType.DELETED if left.deleted else ChangeType.LEFT
            reason = _REASONS.get(left.reason, EndReason.DELETED) if left.deleted else None
            written = _written(left)
            return Change(
                change,
                left.revision,
                RecordKind(left.kind).label,
                left.id,
                reason=reason,
                written_by=written.by or None,
                written_at=time_of(written),
            )
    return Change(ChangeType.SYNCED, frame.synced.revision)


def statistics_from_wire(wire: state_pb2.GetStateStatsResponse) -> StateStatistics:
    """The figures of a store as Python users have them: its fields by the same names."""
    figures = {field.name: getattr(wire, field.name) for field in fields(StateStatistics)}
    figures["started_at"] = wire.started_at.ToDatetime(tzinfo=UTC)
    figures["records"] = dict(wire.records)
    figures["outbox"] = _outbox_from_wire(wire.outbox) if wire.HasField("outbox") else None
    return StateStatistics(**figures)


def _outbox_from_wire(wire: state_pb2.Outbox) -> OutboxStatistics:
    figures = {field.name: getattr(wire, field.name) for field in fields(OutboxStatistics)}
    figures["oldest_at"] = wire.oldest_at.ToDatetime(tzinfo=UTC) if wire.HasField("oldest_at") else None
    figures["last_stuck"] = tuple(
        StuckMessage(
            stuck.channel, stuck.message_id, stuck.refused_at.ToDatetime(tzinfo=UTC), stuck.reason, stuck.error
        )
        for stuck in wire.last_stuck
    )
    return OutboxStatistics(**figures)


def lease_info(wire: state_pb2.Lease) -> LeaseInfo:
    """Returns the lease of an answer about leases."""
    info = lease_from_wire(wire, wire.number, _written(wire))
    return replace(info, remaining=wire.remaining.ToNanoseconds() / 1e9)


def id_of(record: Stored) -> str:
    """Returns the id of any record."""
    if isinstance(record, AgentState | AgentPresence):
        return record.agent_id
    if isinstance(record, LeaseInfo):
        return record.name
    return record.task_id if isinstance(record, TaskResult) else record.workflow_id
