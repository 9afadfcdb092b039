"""Encodes models as records of the wire, and decodes them. A record that is saved and read again is equal.

Fields that another language left unset get the model's defaults. Required times were set by the service when the record
arrived; in a body that never passed a service they are 1970-01-01 (`updated_at`: `created_at`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from google.protobuf import message_factory
from google.protobuf.message import Message

from trunkline.errors import InvalidRecordError
from trunkline.models import AgentState, AgentStatus, Record, TaskResult, TaskStatus, WorkflowPhase
from trunkline.models.fields import JsonObject
from trunkline.models.json import NotJsonError, encode_json
from trunkline.models.lazy import SOURCE, set_known
from trunkline.models.states import AGENT_STATUSES, AGENT_TYPES, PHASES, TASK_STATUSES, WorkflowState
from trunkline.records import Kind
from trunkline.state.leases import LeaseInfo
from trunkline.state.presence import AgentPresence
from trunkline.text import safe_text
from trunkline.v1 import state_pb2
from trunkline.wire.encoding import length_prefix, number_tag, write_varint
from trunkline.wire.times import encode_datetime, to_datetime

_Write = Callable[[Any], bytes]
"""Writes a field that has this value, its tag too."""


class Written(NamedTuple):
    """Whose write a record is, as the wire says it: who made it, and the parts of its time."""

    by: str = ""
    seconds: int = 0
    nanos: int = 0


UNKNOWN: Final = Written()

_Source = tuple[Mapping[str, Callable[[Any], Any]], Any, int | None, Written]
"""What a record that came keeps: how its fields are read, the wire message, its revision, and whose write it is."""

_decode_json = msgspec.json.Decoder(dict[str, Any]).decode
_SHOWN: Final = 80
"""Characters of a value that an error shows."""


class Encoded(NamedTuple):
    """An encoded record: its kind, its id, and its message of state.proto."""

    kind: Kind
    id: str
    body: bytes


class _UnwritableError(Exception):
    """A value that cannot be written.

    Attributes:
        place: where it is within the field, such as `[0]` or `.a.b`; empty: the field itself.
        wrong: what is wrong with it.
    """

    def __init__(self, place: str, wrong: str) -> None:
        super().__init__(f"{place} {wrong}")
        self.place = place
        self.wrong = wrong


def encode_record(record: Record | AgentPresence) -> Encoded:
    """Encodes a model.

    Raises:
        InvalidRecordError: a field cannot be encoded, such as text with lone surrogates, or a value that was put into a
            list or a dict after the model had checked it; names the field.
        TypeError: `record` is no record.
    """
    try:
        if isinstance(record, TaskResult):
            return Encoded("task_result", record.task_id, _encode(record, _TASK_RESULT))
        if isinstance(record, AgentState):
            return Encoded("agent_state", record.agent_id, _encode(record, _AGENT_STATE))
        if isinstance(record, WorkflowState):
            return Encoded("workflow_state", record.workflow_id, _encode(record, _WORKFLOW_STATE))
        if isinstance(record, AgentPresence):
            return Encoded("agent_presence", record.agent_id, _encode_values(_presence_values(record), _PRESENCE))
    except _UnwritableError as error:
        raise _refusal(error.place, error) from error.__cause__
    raise TypeError(f"{type(record).__name__} is no record: want AgentState, WorkflowState or TaskResult")


def decode_record(
    kind: Kind, body: bytes, revision: int, written: Written = UNKNOWN
) -> Record | LeaseInfo | AgentPresence:
    """Decodes a record. The service validated the fields: each of a model is converted when it is first asked for, and
    is InvalidRecordError then where its JSON is broken all the same; a lease or a presence is converted at once."""
    if kind == "agent_presence":
        return _presence_from_wire(state_pb2.AgentPresence.FromString(body), revision, written)
    if kind == "lease":
        return lease_from_wire(state_pb2.Lease.FromString(body), revision, written)
    cls, parse, readers = _DECODED[kind]
    record: Record = _unread(cls, readers, parse(body), revision, written)
    return record


def to_json(name: str, value: JsonObject) -> bytes:
    """Returns a field's JSON as bytes. What was put into a dict after the model had checked it is checked here."""
    try:
        return _json_bytes(value)
    except _UnwritableError as error:
        raise _refusal(f"{name}{error.place}", error) from error.__cause__


def _refusal(place: str, error: _UnwritableError) -> InvalidRecordError:
    """Returns the error of a record that cannot be written."""
    place = safe_text(place)
    return InvalidRecordError(f"{place} {safe_text(error.wrong)}", details={"field": place, "value": ""})


def _encode(record: Record, fields: Iterable[tuple[str, _Write, bool]]) -> bytes:
    return _encode_values(record.__dict__, fields)


def _encode_values(values: Mapping[str, Any], fields: Iterable[tuple[str, _Write, bool]]) -> bytes:
    """Writes the fields of a record, each as protobuf does: an empty one is left out, unless it is of those that may
    be set and empty."""
    parts = []
    name = ""
    try:
        for name, write, may_be_empty in fields:
            value = values[name]
            if value or (may_be_empty and value is not None):
                parts.append(write(value))
    except _UnwritableError as error:
        raise _UnwritableError(f"{name}{error.place}", error.wrong) from error.__cause__
    except (ValueError, TypeError, AttributeError, struct.error) as error:  # UnicodeEncodeError is a ValueError
        raise _UnwritableError(name, f"cannot be written: {error}") from error
    return b"".join(parts)


def _text(kind: type[Message], field: str) -> _Write:
    prefix = length_prefix(kind, field)

    def write(value: str) -> bytes:
        encoded = value.encode()
        return prefix(len(encoded)) + encoded

    return write


def _name(kind: type[Message], field: str) -> _Write:
    """Writes what is said again and again."""
    return lru_cache(maxsize=1_024)(_text(kind, field))


def _texts(kind: type[Message], field: str) -> _Write:
    write = _text(kind, field)

    def write_all(values: list[str]) -> bytes:
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise _UnwritableError(f"[{index}]", f"is {value!r}, it must be text")
        return b"".join(map(write, values))

    return write_all


def _json(kind: type[Message], field: str) -> _Write:
    prefix = length_prefix(kind, field)

    def write(value: JsonObject) -> bytes:
        encoded = _json_bytes(value)
        return prefix(len(encoded)) + encoded

    return write


def _json_bytes(value: JsonObject) -> bytes:
    if not isinstance(value, dict):
        raise _UnwritableError("", f"is {value!r}, it must be a JSON object")
    try:
        return encode_json(value)
    except NotJsonError as error:
        raise _UnwritableError(f".{error.path}" if error.path else "", error.wrong) from error
    except (ValueError, RecursionError) as error:
        raise _UnwritableError("", f"is no JSON: {error}") from error


def _jsons(kind: type[Message], field: str) -> _Write:
    write = _json(kind, field)

    def write_all(values: list[JsonObject]) -> bytes:
        parts = []
        for index, value in enumerate(values):
            try:
                parts.append(write(value))
            except _UnwritableError as error:
                raise _UnwritableError(f"[{index}]{error.place}", error.wrong) from error.__cause__
        return b"".join(parts)

    return write_all


def _time(kind: type[Message], field: str) -> _Write:
    prefix = length_prefix(kind, field)

    def write(value: datetime) -> bytes:
        encoded = encode_datetime(value)
        return prefix(len(encoded)) + encoded

    return write


def _count(kind: type[Message], field: str) -> _Write:
    tag = number_tag(kind, field)

    def write(value: int) -> bytes:
        if not 0 <= value < 2**63:
            raise ValueError(f"it is {value}, it must be 0 to {2**63 - 1}")
        return tag + write_varint(value)

    return write


def _seconds(kind: type[Message], field: str) -> _Write:
    tag = write_varint(kind.DESCRIPTOR.fields_by_name[field].number << 3 | 1)
    pack = struct.Struct("<d").pack
    return lambda value: tag + pack(value)


def _records(kind: type[Message], field: str, cls: type[Record], fields: Iterable[tuple[str, _Write, bool]]) -> _Write:
    """Writes the records within a workflow, by their keys."""
    prefix = length_prefix(kind, field)
    entries: Any = kind.DESCRIPTOR.fields_by_name[field].message_type
    entry = message_factory.GetMessageClass(entries)
    write_key, value_prefix = _text(entry, "key"), length_prefix(entry, "value")

    def write(records: Mapping[str, Record]) -> bytes:
        parts: list[bytes] = []
        for key, record in records.items():
            place = f"[{key!r}]"
            if not isinstance(key, str) or not isinstance(record, cls):
                raise _UnwritableError(
                    place, f"is {type(record).__name__}, it must be {cls.__name__}, under a key that is text"
                )
            try:
                body = _encode(record, fields)
            except _UnwritableError as error:
                raise _UnwritableError(f"{place}.{error.place}", error.wrong) from error.__cause__
            head = write_key(key) + value_prefix(len(body))
            parts += (prefix(len(head) + len(body)), head, body)
        return b"".join(parts)

    return write


_Agent, _Task, _Workflow = state_pb2.AgentState, state_pb2.TaskResult, state_pb2.WorkflowState
_Presence = state_pb2.AgentPresence
_AGENT_STATE: Final = (
    ("agent_id", _text(_Agent, "agent_id"), False),
    ("agent_type", _name(_Agent, "agent_type"), False),
    ("status", _name(_Agent, "status"), False),
    ("current_task_id", _text(_Agent, "current_task_id"), False),
    ("completed_tasks", _texts(_Agent, "completed_tasks"), False),
    ("failed_tasks", _texts(_Agent, "failed_tasks"), False),
    ("error_count", _count(_Agent, "error_count"), False),
    ("last_heartbeat", _time(_Agent, "last_heartbeat"), False),
    ("metadata", _json(_Agent, "metadata_json"), False),
    ("created_at", _time(_Agent, "created_at"), False),
    ("updated_at", _time(_Agent, "updated_at"), False),
)
_TASK_RESULT: Final = (
    ("task_id", _text(_Task, "task_id"), False),
    ("agent_id", _name(_Task, "agent_id"), False),
    ("status", _name(_Task, "status"), False),
    ("output_data", _json(_Task, "output_data_json"), False),
    ("error_message", _text(_Task, "error_message"), True),
    ("started_at", _time(_Task, "started_at"), False),
    ("completed_at", _time(_Task, "completed_at"), False),
    ("duration_seconds", _seconds(_Task, "duration_seconds"), True),
    ("metadata", _json(_Task, "metadata_json"), False),
)
_WORKFLOW_STATE: Final = (
    ("workflow_id", _text(_Workflow, "workflow_id"), False),
    ("current_phase", _name(_Workflow, "current_phase"), False),
    ("phase_history", _jsons(_Workflow, "phase_history_json"), False),
    ("agent_states", _records(_Workflow, "agent_states", AgentState, _AGENT_STATE), False),
    ("task_results", _records(_Workflow, "task_results", TaskResult, _TASK_RESULT), False),
    ("started_at", _time(_Workflow, "started_at"), False),
    ("completed_at", _time(_Workflow, "completed_at"), False),
    ("status", _name(_Workflow, "status"), False),
    ("error_log", _jsons(_Workflow, "error_log_json"), False),
    ("feedback_count", _count(_Workflow, "feedback_count"), False),
    ("metadata", _json(_Workflow, "metadata_json"), False),
)
_PRESENCE: Final = (
    ("agent_id", _text(_Presence, "agent_id"), False),
    ("agent_type", _name(_Presence, "agent_type"), False),
    ("status", _name(_Presence, "status"), False),
    ("capabilities", _texts(_Presence, "capabilities"), False),
    ("metadata", _json(_Presence, "metadata_json"), False),
    ("announced_at", _time(_Presence, "announced_at"), False),
)
"""By the fields of a model: how each is written, and whether it may be set and empty."""


def _presence_values(presence: AgentPresence) -> dict[str, Any]:
    values = {name: getattr(presence, name) for name, _, _ in _PRESENCE}
    if isinstance(presence.metadata, Mapping):
        values["metadata"] = dict(presence.metadata)
    return values


def _presence_from_wire(wire: state_pb2.AgentPresence, revision: int, written: Written) -> AgentPresence:
    return AgentPresence(
        agent_id=wire.agent_id,
        agent_type=AGENT_TYPES.get(wire.agent_type, wire.agent_type),
        status=AGENT_STATUSES.get(wire.status, wire.status) if wire.status else AgentStatus.IDLE,
        capabilities=tuple(wire.capabilities),
        metadata=_read_json("metadata_json", wire.metadata_json),
        announced_at=_to_time(wire.announced_at),
        revision=revision,
        written_by=written.by or None,
        written_at=time_of(written),
    )


def lease_from_wire(wire: state_pb2.Lease, number: int, written: Written = UNKNOWN) -> LeaseInfo:
    """Returns a lease as others see it; its number is the revision of its record."""
    return LeaseInfo(
        name=wire.name,
        number=number,
        holder=wire.holder,
        ttl=wire.ttl.ToNanoseconds() / 1e9,
        metadata=_read_json("metadata_json", wire.metadata_json),
        acquired_at=_to_time(wire.acquired_at),
        written_by=written.by or None,
        written_at=time_of(written),
    )


def time_of(written: Written) -> datetime | None:
    """Returns when a write was made; None where that is not known."""
    return to_datetime(written.seconds, written.nanos) if written.seconds else None


def _unread(
    cls: Any, readers: Mapping[str, Any], wire: Any, revision: int | None = None, written: Written = UNKNOWN
) -> Any:
    """Returns the model of a wire message, of which nothing is read yet."""
    record = cls.__new__(cls)
    set_known(record, {SOURCE: (readers, wire, revision, written)})
    return record


def _to_time(wire: Any) -> datetime:
    return to_datetime(wire.seconds, wire.nanos)


def _time_or_none(field: str) -> Callable[[_Source], datetime | None]:
    return lambda source: _to_time(getattr(source[1], field)) if source[1].HasField(field) else None


def _object(field: str) -> Callable[[_Source], JsonObject]:
    return lambda source: _read_json(field, getattr(source[1], field))


def _objects(field: str) -> Callable[[_Source], list[JsonObject]]:
    return lambda source: [
        _read_json(f"{field}[{index}]", text) for index, text in enumerate(getattr(source[1], field))
    ]


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


_PRIVATE: Final[Mapping[str, Callable[[_Source], Any]]] = {
    "_revision": lambda source: source[2],
    "_written_by": lambda source: source[3].by or None,
    "_written_at": lambda source: time_of(source[3]),
}
"""What every record has beside its fields."""


def _private(source: _Source) -> dict[str, Any]:
    return {name: read(source) for name, read in _PRIVATE.items()}


def _updated_at(source: _Source) -> datetime:
    wire = source[1]
    return _to_time(wire.updated_at if wire.HasField("updated_at") else wire.created_at)


_AGENT_READERS: Final[Mapping[str, Callable[[_Source], Any]]] = {
    "agent_id": lambda source: source[1].agent_id,
    "agent_type": lambda source: AGENT_TYPES.get(source[1].agent_type, source[1].agent_type),
    "status": lambda source: (
        AGENT_STATUSES.get(source[1].status, source[1].status) if source[1].status else AgentStatus.IDLE
    ),
    "current_task_id": lambda source: source[1].current_task_id or None,
    "completed_tasks": lambda source: list(source[1].completed_tasks),
    "failed_tasks": lambda source: list(source[1].failed_tasks),
    "error_count": lambda source: source[1].error_count,
    "last_heartbeat": _time_or_none("last_heartbeat"),
    "metadata": _object("metadata_json"),
    "created_at": lambda source: _to_time(source[1].created_at),
    "updated_at": _updated_at,
    **_PRIVATE,
    SOURCE: _private,
}
_TASK_READERS: Final[Mapping[str, Callable[[_Source], Any]]] = {
    "task_id": lambda source: source[1].task_id,
    "agent_id": lambda source: source[1].agent_id,
    "status": lambda source: TASK_STATUSES.get(source[1].status, source[1].status),
    "output_data": _object("output_data_json"),
    "error_message": lambda source: source[1].error_message if source[1].HasField("error_message") else None,
    "started_at": lambda source: _to_time(source[1].started_at),
    "completed_at": _time_or_none("completed_at"),
    "duration_seconds": lambda source: source[1].duration_seconds if source[1].HasField("duration_seconds") else None,
    "metadata": _object("metadata_json"),
    **_PRIVATE,
    SOURCE: _private,
}
_WORKFLOW_READERS: Final[Mapping[str, Callable[[_Source], Any]]] = {
    "workflow_id": lambda source: source[1].workflow_id,
    "current_phase": lambda source: (
        PHASES.get(source[1].current_phase, source[1].current_phase)
        if source[1].current_phase
        else WorkflowPhase.DEVELOPMENT
    ),
    "phase_history": _objects("phase_history_json"),
    "agent_states": lambda source: {
        key: _unread(AgentState, _AGENT_READERS, each) for key, each in source[1].agent_states.items()
    },
    "task_results": lambda source: {
        key: _unread(TaskResult, _TASK_READERS, each) for key, each in source[1].task_results.items()
    },
    "started_at": lambda source: _to_time(source[1].started_at),
    "completed_at": _time_or_none("completed_at"),
    "status": lambda source: (
        TASK_STATUSES.get(source[1].status, source[1].status) if source[1].status else TaskStatus.PENDING
    ),
    "error_log": _objects("error_log_json"),
    "feedback_count": lambda source: source[1].feedback_count,
    "metadata": _object("metadata_json"),
    **_PRIVATE,
    SOURCE: _private,
}
_DECODED: Final[Mapping[Kind, tuple[Any, Callable[[bytes], Any], Mapping[str, Callable[[_Source], Any]]]]] = {
    "agent_state": (AgentState, _Agent.FromString, _AGENT_READERS),
    "task_result": (TaskResult, _Task.FromString, _TASK_READERS),
    "workflow_state": (WorkflowState, _Workflow.FromString, _WORKFLOW_READERS),
}
