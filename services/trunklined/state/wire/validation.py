"""Validation of encoded records. A record is stored as it arrived, plus the required times that it lacked (`arrival`).

Every client can read a valid record: its JSON texts are objects, its times lie within the years 1 to 9999.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from google.protobuf.message import DecodeError

from trunkline.errors import MessageTooLargeError
from trunkline.limits import MAX_RECORD_ENTRIES
from trunkline.records import RecordKind, check_capabilities, check_record_id, invalid_record
from trunkline.v1 import state_pb2
from trunklined.rpc.times import check_time
from trunklined.state.records import Facets, Put, join_capabilities
from trunklined.state.wire.arrival import with_times

IDLE: Final = "idle"
PENDING: Final = "pending"
DEVELOPMENT: Final = "development"
"""The meaning of an empty status or phase (state.proto)."""

_decode_object = msgspec.json.Decoder(dict).decode


class Reading(NamedTuple):
    """The id and facets of an encoded record, and the body to store."""

    id: str
    facets: Facets
    body: bytes


Clock = Callable[[], int]
"""UNIX time in nanoseconds."""


def read_record(kind: RecordKind, body: bytes, clock: Clock = time.time_ns) -> Reading:
    """Validates an encoded record. `clock` gives the times that it lacks.

    Raises:
        InvalidRecordError: a field is invalid; the error names the field.
    """
    try:
        return _READERS[kind](body, clock)
    except DecodeError as error:
        raise invalid_record(kind.label, "cannot be decoded") from error


def make_put(kind: RecordKind, body: bytes, expected: int | None, max_bytes: int, writer: str = "") -> Put:
    """Makes the save of an encoded record.

    Args:
        kind: what the body is.
        body: a message of state.proto, such as `trunkline.v1.AgentState`.
        expected: the revision that the record must have; 0: there must be none; None: any.
        max_bytes: of the body, also with the times that it lacked.
        writer: who saves it.

    Raises:
        InvalidRecordError: see `read_record`.
        MessageTooLargeError: the body is larger than `max_bytes`.
    """
    _check_size(body, max_bytes)
    id, facets, kept = read_record(kind, body)
    _check_size(kept, max_bytes)
    return Put(kind, id, kept, facets, expected, writer=writer)


def _check_size(body: bytes, limit: int) -> None:
    size = len(body)
    if size > limit:
        raise MessageTooLargeError(
            f"the record has {size} bytes, at most {limit} are allowed", details={"size": size, "limit": limit}
        )


def _read_agent_state(body: bytes, clock: Clock) -> Reading:
    state = state_pb2.AgentState.FromString(body)
    id = check_record_id("agent_id", state.agent_id)
    if not _check_agent_state(state, ""):
        body = with_times(state, clock())
    return Reading(id, Facets(state.status or IDLE, state.agent_type, None, id), body)


def _read_task_result(body: bytes, clock: Clock) -> Reading:
    result = state_pb2.TaskResult.FromString(body)
    id = check_record_id("task_id", result.task_id)
    if not _check_task_result(result, ""):
        body = with_times(result, clock())
    return Reading(id, Facets(result.status, None, None, result.agent_id), body)


def _read_workflow_state(body: bytes, clock: Clock) -> Reading:
    state = state_pb2.WorkflowState.FromString(body)
    id = check_record_id("workflow_id", state.workflow_id)
    entries = sum(map(len, (state.phase_history_json, state.error_log_json, state.agent_states, state.task_results)))
    if entries > MAX_RECORD_ENTRIES:
        raise invalid_record(
            "phase_history, error_log, agent_states and task_results",
            f"have {entries} entries together, at most {MAX_RECORD_ENTRIES} are allowed",
            entries,
        )
    _check_count("feedback_count", state.feedback_count)
    check_json("metadata_json", state.metadata_json)
    for name, texts in (("phase_history_json", state.phase_history_json), ("error_log_json", state.error_log_json)):
        for index, text in enumerate(texts):
            check_json(f"{name}[{index}]", text, may_be_empty=False)
    has_times = state.HasField("started_at")
    for key, agent_state in state.agent_states.items():
        path = f"agent_states[{key!r}]."
        check_record_id(path + "agent_id", agent_state.agent_id)
        has_times &= _check_agent_state(agent_state, path)
    for key, result in state.task_results.items():
        path = f"task_results[{key!r}]."
        check_record_id(path + "task_id", result.task_id)
        has_times &= _check_task_result(result, path)
    for name in ("started_at", "completed_at"):
        if state.HasField(name):
            check_time(name, getattr(state, name), invalid_record)
    if not has_times:
        body = with_times(state, clock())
    return Reading(id, Facets(state.status or PENDING, None, state.current_phase or DEVELOPMENT, None), body)


def _read_agent_presence(body: bytes, clock: Clock) -> Reading:
    presence = state_pb2.AgentPresence.FromString(body)
    id = check_record_id("agent_id", presence.agent_id)
    if not presence.agent_type:
        raise invalid_record("agent_type", "is empty")
    check_capabilities(presence.capabilities)
    check_json("metadata_json", presence.metadata_json)
    if presence.HasField("announced_at"):
        check_time("announced_at", presence.announced_at, invalid_record)
    else:
        body = with_times(presence, clock())
    capabilities = join_capabilities(presence.capabilities)
    return Reading(id, Facets(presence.status or IDLE, presence.agent_type, None, id, capabilities), body)


def _check_agent_state(state: state_pb2.AgentState, path: str) -> bool:
    """Checks an agent state; returns whether all required times are set."""
    if not state.agent_type:
        raise invalid_record(path + "agent_type", "is empty")
    if state.error_count < 0:
        _check_count(path + "error_count", state.error_count)
    if state.metadata_json:
        check_json(path + "metadata_json", state.metadata_json)
    for name in ("created_at", "updated_at", "last_heartbeat"):
        if state.HasField(name):
            check_time(path + name, getattr(state, name), invalid_record)
    return state.HasField("created_at") and state.HasField("updated_at")


def _check_task_result(result: state_pb2.TaskResult, path: str) -> bool:
    """Checks a task result; returns whether the required time is set."""
    if not result.agent_id:
        raise invalid_record(path + "agent_id", "is empty")
    if not result.status:
        raise invalid_record(path + "status", "is empty")
    if result.HasField("duration_seconds"):
        seconds = result.duration_seconds
        if not (math.isfinite(seconds) and seconds >= 0):
            raise invalid_record(
                path + "duration_seconds", f"is {seconds}, it must be a number of seconds not below 0", seconds
            )
    if result.output_data_json:
        check_json(path + "output_data_json", result.output_data_json)
    if result.metadata_json:
        check_json(path + "metadata_json", result.metadata_json)
    for name in ("started_at", "completed_at"):
        if result.HasField(name):
            check_time(path + name, getattr(result, name), invalid_record)
    return result.HasField("started_at")


def _check_count(field: str, count: int) -> None:
    if count < 0:
        raise invalid_record(field, f"is {count}, it must not be below 0", count)


def check_json(field: str, text: str, may_be_empty: bool = True) -> None:
    """Raises `InvalidRecordError` unless a text is a JSON object."""
    if not text and may_be_empty:
        return
    try:
        _decode_object(text)
    except msgspec.DecodeError as error:
        raise invalid_record(field, f"is no JSON object: {error}", text[:80]) from error
    except RecursionError as error:
        raise invalid_record(field, "is nested too deeply", text[:80]) from error


_READERS: Final[dict[RecordKind, Callable[[bytes, Clock], Reading]]] = {
    RecordKind.AGENT_STATE: _read_agent_state,
    RecordKind.WORKFLOW_STATE: _read_workflow_state,
    RecordKind.TASK_RESULT: _read_task_result,
    RecordKind.AGENT_PRESENCE: _read_agent_presence,
}
