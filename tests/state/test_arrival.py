"""Times that a record must have and lacked are those of its arrival; what was set is never touched."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.state.conftest import MAX_RECORD_BYTES
from tests.state.samples import NOON, agent, task, workflow
from trunkline.records import RecordKind
from trunkline.v1 import state_pb2 as wire
from trunkline.v1 import state_pb2_grpc
from trunklined.state.wire.validation import read_record

Stub = state_pb2_grpc.StateServiceStub

ARRIVAL = 1_800_000_000_000_000_001
ARRIVED = Timestamp(seconds=1_800_000_000, nanos=1)
NEWER_FIELD = b"\xf8\x3f\x01"
"""Field 1023: only a newer client knows it."""


def kept(kind: RecordKind, record: Any) -> Any:
    return type(record).FromString(read_record(kind, record.SerializeToString(), lambda: ARRIVAL).body)


@pytest.mark.parametrize("lacking", [("created_at",), ("updated_at",), ("created_at", "updated_at")])
def test_an_agent_state_gets_the_times_that_it_lacks(lacking: tuple[str, ...]) -> None:
    """Each by itself; a heartbeat may be unset, and fields of newer clients stay."""
    unset: dict[str, Any] = dict.fromkeys(lacking)
    arrived: dict[str, Any] = dict.fromkeys(lacking, ARRIVED)
    record, want = agent("a", **unset), agent("a", **arrived)
    record.MergeFromString(NEWER_FIELD)
    want.MergeFromString(NEWER_FIELD)
    assert kept(RecordKind.AGENT_STATE, record) == want


def test_what_started_at_an_unknown_time_started_when_it_arrived() -> None:
    """Task results and workflow states; when they completed may stay unset."""
    assert kept(RecordKind.TASK_RESULT, task(started_at=None)) == task(started_at=ARRIVED)
    assert kept(RecordKind.WORKFLOW_STATE, workflow(started_at=None)) == workflow(started_at=ARRIVED)


def test_records_within_a_workflow_state_are_completed_too() -> None:
    """Those that lack a time, and no others."""
    record = workflow(
        agent_states={"whole": agent(), "lacking": agent(updated_at=None)},
        task_results={"whole": task(), "lacking": task(started_at=None)},
    )
    assert kept(RecordKind.WORKFLOW_STATE, record) == workflow(
        agent_states={"whole": agent(), "lacking": agent(updated_at=ARRIVED)},
        task_results={"whole": task(), "lacking": task(started_at=ARRIVED)},
    )


def test_a_whole_record_is_kept_byte_for_byte() -> None:
    """The clock is not even asked; 1970 is a time like any other."""

    def nobody_asks() -> int:
        raise AssertionError("the clock was asked")

    body = NEWER_FIELD + agent(created_at=Timestamp(), updated_at=NOON).SerializeToString()
    assert read_record(RecordKind.AGENT_STATE, body, nobody_asks).body is body


async def test_a_saved_record_has_the_time_of_its_arrival(stub: Stub) -> None:
    """By a call of its own and in a batch."""
    before = time.time_ns()
    await stub.Save(wire.SaveRequest(agent_state=agent("x", created_at=None, updated_at=None)))
    save = wire.SaveRequest(task_result=task("x", started_at=None))
    await stub.Batch(wire.BatchRequest(operations=[wire.BatchRequest.Operation(save=save)]))
    after = time.time_ns()
    got = (await stub.Get(wire.GetRequest(kind="RECORD_KIND_AGENT_STATE", id="x"))).record.agent_state
    assert before <= got.created_at.ToNanoseconds() == got.updated_at.ToNanoseconds() <= after
    result = (await stub.Get(wire.GetRequest(kind="RECORD_KIND_TASK_RESULT", id="x"))).record.task_result
    assert before <= result.started_at.ToNanoseconds() <= after


async def test_the_times_count_for_the_limit(stub: Stub) -> None:
    """A record that is too large with them is refused: nothing larger than the limit is ever kept."""
    record = agent(created_at=None, updated_at=None)
    record.current_task_id = "x" * (MAX_RECORD_BYTES - record.ByteSize() - 4)
    assert record.ByteSize() == MAX_RECORD_BYTES
    with pytest.raises(grpc.aio.AioRpcError, match="at most") as caught:
        await stub.Save(wire.SaveRequest(agent_state=record))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
