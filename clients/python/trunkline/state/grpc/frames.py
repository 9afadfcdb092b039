"""Translation of models into the opaque twins of state.proto, and back."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC
from typing import Any

from trunkline.channels import check_channel
from trunkline.delivery import check_delivery
from trunkline.errors import (
    InvalidChannelError,
    InvalidMessageError,
    RecordNotFoundError,
    StateError,
    TrunklineError,
)
from trunkline.message_encoding import encode_delivery, encode_message
from trunkline.models import AgentMessage, AgentState, Record, TaskResult
from trunkline.records import RECORD_KINDS, Kind, RecordKind, check_record_id, check_write_messages, invalid_publish
from trunkline.state.codec import decode_record, encode_record
from trunkline.state.filter import WatchFilter, check_kind, check_revision
from trunkline.state.outbox import OutboxMessage, OutboxStatistics, Publish, StuckMessage
from trunkline.state.state_manager import Change, ChangeType, Delete, Get, Operation, Outcome, Save, StateStatistics
from trunkline.v1 import error_pb2, state_pb2
from trunkline.wire.opaque import state_passthrough
from trunkline.wire.status import error_from_item

_twins = state_passthrough()
ClientFrame = _twins["ConnectStateRequest"]
ServerFrame = _twins["ConnectStateResponse"]
WatchFrame = _twins["WatchResponse"]


def save_fields(operation: Save) -> dict[str, Any]:
    """Returns the fields of a SaveRequest."""
    kind, id, body = encode_record(operation.record)
    check_record_id("id", id)
    fields: dict[str, Any] = {kind: body}
    if operation.expected_revision is not None:
        fields["expected_revision"] = check_revision("expected_revision", operation.expected_revision, 0)
    if operation.publish:
        fields["publish"] = publish_fields(operation.publish)
    return fields


def delete_fields(operation: Delete) -> dict[str, Any]:
    """Returns the fields of a DeleteRequest."""
    fields = _named(operation)
    if operation.expected_revision is not None:
        fields["expected_revision"] = check_revision("expected_revision", operation.expected_revision, 1)
    if operation.publish:
        fields["publish"] = publish_fields(operation.publish)
    return fields


def publish_fields(publish: Publish) -> list[dict[str, Any]]:
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


def to_operation(operation: Operation) -> dict[str, Any]:
    """Returns the fields of a BatchRequest.Operation."""
    if isinstance(operation, Save):
        return {"save": save_fields(operation)}
    check_kind(operation.kind)
    if isinstance(operation, Get):
        return {"get": _named(operation)}
    return {"delete": delete_fields(operation)}


def _named(operation: Get | Delete) -> dict[str, Any]:
    return {"kind": RECORD_KINDS[operation.kind], "id": check_record_id("id", operation.id)}


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


def id_of(record: Record) -> str:
    """Returns the id of any record."""
    if isinstance(record, AgentState):
        return record.agent_id
    return record.task_id if isinstance(record, TaskResult) else record.workflow_id
