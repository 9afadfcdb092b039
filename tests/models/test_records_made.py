"""Records that are made of values that are plainly right are the same as those that validation makes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from trunkline import AgentState, TaskResult, TaskStatus, WorkflowState
from trunkline.models import Record
from trunkline.models.lazy import SOURCE, known_fields
from trunkline.state.codec import Written, decode_record, encode_record

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class _Own(StrEnum):
    NAME = "running"


TASK: dict[str, Any] = {"task_id": "t", "agent_id": "a", "status": "completed", "started_at": NOON}
AGENT: dict[str, Any] = {"agent_id": "a", "agent_type": "coding", "created_at": NOON, "updated_at": NOON}
TEXTS = ["", "x", "é", "\ud83d", b"x", 1, None, _Own.NAME, "running", TaskStatus.FAILED]
TIMES = [None, NOON, NOON.replace(tzinfo=None), NOON.astimezone(timezone(timedelta(hours=2))), "2026-01-01T00:00:00Z"]
OBJECTS = [{}, {"n": 1}, {"n": {"m": [1.5]}}, {1: 2}, {"n": float("nan")}, {"n": b""}, {"n": _Own.NAME}, [], None]
LISTS = [[], ["x"], ["\ud83d"], [1], ("x",), None]
NUMBERS = [0, 1, 1.5, -1, 2**63, True, float("inf"), "1", None]
VALUES: dict[str, list[Any]] = {
    "task_id": TEXTS,
    "agent_id": TEXTS,
    "agent_type": TEXTS,
    "status": TEXTS,
    "current_task_id": TEXTS,
    "error_message": TEXTS,
    "completed_tasks": LISTS,
    "failed_tasks": LISTS,
    "error_count": NUMBERS,
    "duration_seconds": NUMBERS,
    "output_data": OBJECTS,
    "metadata": OBJECTS,
    "last_heartbeat": TIMES,
    "started_at": TIMES,
    "completed_at": TIMES,
    "created_at": TIMES,
    "updated_at": TIMES,
    "unknown": [1],
}


def _outcome(make: Callable[..., Record], values: dict[str, Any]) -> Any:
    """All that is to be seen of a record, or of why there is none."""
    try:
        made = make(**values)
    except ValidationError as error:
        return error.errors(include_url=False)
    return repr(made), made.model_fields_set, made.model_dump(), list(made.__dict__), made.revision, made.model_extra


@pytest.mark.parametrize(
    ("cls", "given", "name", "value"),
    [
        (cls, given, name, value)
        for cls, given in ((TaskResult, TASK), (AgentState, AGENT))
        for name, values in VALUES.items()
        if name in cls.model_fields or name == "unknown"
        for value in values
    ],
)
def test_a_value_is_taken_or_refused_as_validation_does(
    cls: type[Record], given: dict[str, Any], name: str, value: Any
) -> None:
    """Same fields of same types in the same order, same errors; every value on its own."""
    values = {**given, name: value}
    assert _outcome(cls, values) == _outcome(lambda **each: cls.model_validate(each), values)


def test_what_it_was_made_of_is_not_its_own() -> None:
    """What is changed in the caller's dict or list later does not change the record."""
    data, done = {"n": 1}, ["x"]
    result, agent = TaskResult(**TASK, output_data=data), AgentState(**AGENT, completed_tasks=done)
    data["n"] = 2
    done.append("y")
    assert (result.output_data, agent.completed_tasks) == ({"n": 1}, ["x"])
    assert TaskResult(**TASK).metadata is not TaskResult(**TASK).metadata


def test_a_users_own_class_is_validated_whole() -> None:
    """Its defaults and validators apply, and get the context that is given."""
    seen = []

    class Own(TaskResult):
        answer: int = 42

        @field_validator("agent_id")
        @classmethod
        def _upper(cls, value: str, info: Any) -> str:
            seen.append(info.context)
            return value.upper()

    assert (Own(**TASK).agent_id, Own(**TASK).answer) == ("A", 42)
    assert Own.model_validate(TASK, context="c").agent_id == "A"
    assert seen[-1] == "c"
    encoded = encode_record(Own(**TASK))
    assert decode_record(encoded.kind, encoded.body, 1).agent_id == "A"  # type: ignore[union-attr]


def test_errors_within_a_workflow_name_their_place() -> None:
    """As of any model within another."""
    with pytest.raises(ValidationError) as caught:
        WorkflowState.model_validate({"workflow_id": "w", "agent_states": {"k": {"agent_id": ""}}})
    assert {error["loc"] for error in caught.value.errors()} == {
        ("agent_states", "k", "agent_id"),
        ("agent_states", "k", "agent_type"),
    }


def _unread() -> WorkflowState:
    """A record as it came, of which nothing was asked; with others in it."""
    whole = WorkflowState(
        workflow_id="w",
        started_at=NOON,
        phase_history=[{"n": 1}],
        agent_states={"a": AgentState(**AGENT)},
        task_results={"t": TaskResult(**TASK, error_message="", duration_seconds=0.0)},
    )
    kind, _, body = encode_record(whole)
    record = decode_record(kind, body, 7, Written("ann", 1_700_000_000, 5_000_000))
    assert isinstance(record, WorkflowState)
    return record


def _read() -> WorkflowState:
    record = _unread()
    for name in WorkflowState.model_fields:
        getattr(record, name)
    return record


@pytest.mark.parametrize(
    "look",
    [
        repr,
        dir,
        vars,
        dict,
        copy.copy,
        copy.deepcopy,
        lambda record: record.model_dump(),
        lambda record: record.model_dump_json(),
        lambda record: record.model_copy(update={"workflow_id": "other"}),
        lambda record: pickle.loads(pickle.dumps(record)),
        lambda record: pickle.loads(pickle.dumps(record)).revision,
        lambda record: record.model_fields_set,
        lambda record: (record.revision, record.agent_states["a"].revision),
        lambda record: copy.deepcopy(record).revision,
        lambda record: (record.written_by, record.written_at, record.agent_states["a"].written_by),
        lambda record: (pickle.loads(pickle.dumps(record)).written_by, copy.deepcopy(record).written_at),
        lambda record: record.at_revision(9).revision,
        lambda record: encode_record(record).body,
    ],
)
def test_who_looks_at_one_that_came_sees_all_of_it(look: Callable[[WorkflowState], Any]) -> None:
    """Whether its fields were asked for before or not."""
    assert look(_unread()) == look(_read())
    assert SOURCE not in vars(_unread())


def test_what_is_changed_in_one_that_came_stays() -> None:
    """A list or a record within, read once; a field that is assigned, checked as ever."""
    record = _unread()
    record.phase_history.append({"n": 2})
    record.agent_states["a"].completed_tasks.append("x")
    assert SOURCE in known_fields(record)
    with pytest.raises(ValueError, match="status"):
        record.status = ""
    record.status = TaskStatus.FAILED
    kind, _, body = encode_record(record)
    again = decode_record(kind, body, 8)
    assert again == record
    assert isinstance(again, WorkflowState)
    assert (again.phase_history, again.agent_states["a"].completed_tasks) == ([{"n": 1}, {"n": 2}], ["x"])
    assert again.status is TaskStatus.FAILED


def test_it_is_a_field_of_a_users_model() -> None:
    """As it is, and written as JSON and back."""

    class Envelope(BaseModel):
        record: WorkflowState

    envelope = Envelope(record=_unread())
    assert Envelope.model_validate_json(envelope.model_dump_json()) == Envelope(record=_read())
