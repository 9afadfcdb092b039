"""Models to the wire and back: whatever a model takes comes back equal. Property tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline import AgentState, AgentStatus, AgentType, TaskResult, TaskStatus, WorkflowPhase, WorkflowState
from trunkline.errors import InvalidRecordError
from trunkline.models import Record
from trunkline.records import Kind
from trunkline.state.codec import decode_record, encode_record
from trunkline.v1 import state_pb2

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = TEXT.filter(bool)
COUNT = st.integers(0, 2**63 - 1)
TIME = st.datetimes(timezones=st.just(UTC)).map(lambda time: time.replace(fold=0))  # UTC has no fold
NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=2)

AGENTS = st.builds(
    AgentState,
    agent_id=NAME,
    agent_type=st.sampled_from(AgentType) | NAME,
    status=st.sampled_from(AgentStatus) | NAME,
    current_task_id=st.none() | NAME,
    completed_tasks=st.lists(TEXT, max_size=3),
    failed_tasks=st.lists(TEXT, max_size=3),
    error_count=COUNT,
    last_heartbeat=st.none() | TIME,
    metadata=OBJECT,
    created_at=TIME,
    updated_at=TIME,
)
RESULTS = st.builds(
    TaskResult,
    task_id=NAME,
    agent_id=NAME,
    status=st.sampled_from(TaskStatus) | NAME,
    output_data=OBJECT,
    error_message=st.none() | TEXT,
    started_at=TIME,
    completed_at=st.none() | TIME,
    duration_seconds=st.none() | st.floats(0, allow_infinity=False),
    metadata=OBJECT,
)
WORKFLOWS = st.builds(
    WorkflowState,
    workflow_id=NAME,
    current_phase=st.sampled_from(WorkflowPhase) | NAME,
    phase_history=st.lists(OBJECT, max_size=1),
    agent_states=st.dictionaries(TEXT, AGENTS, max_size=1),
    task_results=st.dictionaries(TEXT, RESULTS, max_size=1),
    started_at=TIME,
    completed_at=st.none() | TIME,
    status=st.sampled_from(TaskStatus) | NAME,
    error_log=st.lists(OBJECT, max_size=1),
    feedback_count=COUNT,
    metadata=OBJECT,
)


FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Records are large to draw; the machine may be busy."""


@FEW
@given(record=AGENTS | RESULTS | WORKFLOWS, revision=st.integers(1, 2**63 - 1))
def test_a_record_comes_back_equal(record: Record, revision: int) -> None:
    """Every field, with its type: enums, times to the microsecond, floats and integers of any size."""
    kind, id, body = encode_record(record)
    back = decode_record(kind, body, revision)
    assert isinstance(back, AgentState | TaskResult | WorkflowState)
    assert back == record
    assert repr(back) == repr(record)
    assert back.model_dump_json() == record.model_dump_json()
    assert back.revision == revision
    assert id in {getattr(record, name) for name in ("agent_id", "task_id", "workflow_id") if hasattr(record, name)}


@FEW
@given(record=AGENTS | RESULTS | WORKFLOWS)
def test_a_decoded_record_is_a_model_like_any_other(record: Record) -> None:
    """It can be copied, compared, dumped, validated anew and assigned to with checks."""
    kind, _, body = encode_record(record)
    back = decode_record(kind, body, 1)
    assert isinstance(back, AgentState | TaskResult | WorkflowState)
    assert back.model_copy(deep=True) == back
    assert type(record).model_validate(back.model_dump()) == record
    with pytest.raises(ValueError, match="metadata"):
        back.metadata = 5  # type: ignore[assignment]  # that is the point


def test_what_was_left_unset_reads_the_same_each_time() -> None:
    """Defaults of the model; times that no service has completed are 1970."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    agent = decode_record("agent_state", state_pb2.AgentState(agent_id="a", agent_type="x").SerializeToString(), 1)
    assert agent == AgentState(agent_id="a", agent_type="x", created_at=epoch, updated_at=epoch)
    workflow = decode_record("workflow_state", state_pb2.WorkflowState(workflow_id="w").SerializeToString(), 1)
    assert workflow == WorkflowState(workflow_id="w", started_at=epoch)
    wire = state_pb2.TaskResult(task_id="t", agent_id="a", status="failed")
    assert decode_record("task_result", wire.SerializeToString(), 1) == TaskResult(
        task_id="t", agent_id="a", status=TaskStatus.FAILED, started_at=epoch
    )


def _workflow() -> WorkflowState:
    agent = AgentState(agent_id="a", agent_type="coding")
    result = TaskResult(task_id="t", agent_id="a", status="completed")
    return WorkflowState(
        workflow_id="w",
        phase_history=[{}],
        error_log=[{}],
        agent_states={"a": agent},
        task_results={"t": result},
    )


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), b"bytes", {1, 2}, (1, 2), {1: 2}, Decimal(1), datetime.now(UTC), "\ud83d"]
)
@pytest.mark.parametrize(
    ("field", "place"),
    [
        ("metadata", lambda workflow: workflow.metadata),
        ("phase_history[0]", lambda workflow: workflow.phase_history[0]),
        ("error_log[0]", lambda workflow: workflow.error_log[0]),
        ("agent_states['a'].metadata", lambda workflow: workflow.agent_states["a"].metadata),
        ("task_results['t'].output_data", lambda workflow: workflow.task_results["t"].output_data),
        ("task_results['t'].metadata", lambda workflow: workflow.task_results["t"].metadata),
    ],
)
def test_what_was_changed_into_no_json_is_refused(
    field: str, place: Callable[[WorkflowState], dict[str, Any]], value: Any
) -> None:
    """Wherever it is put after the model was made: never NaN as null, a tuple as a list or bytes as base64."""
    workflow = _workflow()
    place(workflow)["deep"] = [value]
    with pytest.raises(InvalidRecordError) as caught:
        encode_record(workflow)
    assert caught.value.details["field"].startswith(field)
    assert caught.value.message.startswith(caught.value.details["field"])
    caught.value.message.encode()


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("phase_history[1]", lambda workflow: workflow.phase_history.append([1])),
        ("error_log[1]", lambda workflow: workflow.error_log.append(None)),
        ("agent_states['b']", lambda workflow: workflow.agent_states.update(b=workflow.task_results["t"])),
        ("agent_states[b'b']", lambda workflow: workflow.agent_states.update({b"b": workflow.agent_states["a"]})),
        ("task_results['t']", lambda workflow: workflow.task_results.update(t=None)),
        ("agent_states['a'].failed_tasks[0]", lambda workflow: workflow.agent_states["a"].failed_tasks.append(b"x")),
    ],
)
def test_what_was_changed_into_another_type_is_refused(field: str, change: Callable[[WorkflowState], object]) -> None:
    """As it would have been when the model was made."""
    workflow = _workflow()
    change(workflow)
    with pytest.raises(InvalidRecordError) as caught:
        encode_record(workflow)
    assert caught.value.details["field"] == field


@pytest.mark.parametrize(
    ("kind", "record", "field"),
    [
        ("agent_state", state_pb2.AgentState(agent_id="a", metadata_json="[1]"), "metadata_json"),
        ("task_result", state_pb2.TaskResult(task_id="t", output_data_json="{"), "output_data_json"),
        ("workflow_state", state_pb2.WorkflowState(workflow_id="w", error_log_json=["{}", "no"]), "error_log_json[1]"),
    ],
)
def test_what_is_no_json_object_is_told(kind: Kind, record: Any, field: str) -> None:
    """With the field, as a service that stored it by another rule than ours may send it; to whoever reads the field."""
    came: Any = decode_record(kind, record.SerializeToString(), 1)
    name = field.partition("_json")[0]
    reads: list[Callable[[], Any]] = [lambda: getattr(came, name), came.model_dump, lambda: repr(came)]
    for read in reads:
        with pytest.raises(InvalidRecordError, match="is no JSON object") as caught:
            read()
        assert caught.value.details["field"] == field
