"""Calls of the state stream, put together from parts: a reader of the public protos sees what was asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from trunkline.message_encoding import encode_message
from trunkline.models import AgentMessage, AgentState, Record, TaskResult, WorkflowState
from trunkline.state.codec import encode_record
from trunkline.state.grpc.frames import write_batch, write_call, write_delete, write_save, write_touch
from trunkline.state.leases import LeaseInfo
from trunkline.state.presence import AgentPresence
from trunkline.state.state_manager import Delete, Get, Save
from trunkline.v1 import message_pb2, state_pb2

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LEASE = LeaseInfo(name="l", number=7, holder="h", ttl=1.0, metadata={}, acquired_at=NOON)
HOLD = state_pb2.Hold(name="l", number=7)
MESSAGE = AgentMessage(message_type="m", sender_id="s", payload={"n": 1})
PUBLISHED = state_pb2.OutboxMessage(channel="c", message=message_pb2.Message.FromString(encode_message(MESSAGE)))
RECORDS: dict[str, Record | AgentPresence] = {
    "agent_state": AgentState(agent_id="a", agent_type="coding"),
    "task_result": TaskResult(task_id="t", agent_id="a", status="success", started_at=NOON),
    "workflow_state": WorkflowState(workflow_id="w"),
    "agent_presence": AgentPresence("p", capabilities=("x", "y"), metadata={"m": 1}, announced_at=NOON),
}


@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, {}),
        ({"expected_revision": 0}, {"expected_revision": 0}),
        ({"ttl": 1.5}, {"ttl": Duration(seconds=1, nanos=500_000_000)}),
        ({"lease": LEASE}, {"lease": HOLD}),
        (
            {"expected_revision": 300, "ttl": 2, "lease": LEASE, "fence": LEASE, "publish": [("c", MESSAGE)]},
            {
                "expected_revision": 300,
                "ttl": Duration(seconds=2),
                "lease": HOLD,
                "fence": HOLD,
                "publish": [PUBLISHED],
            },
        ),
    ],
)
def test_a_save_has_its_record_and_what_it_was_given(kind: str, options: Any, fields: Any) -> None:
    save = Save(RECORDS[kind], **options)
    request = state_pb2.SaveRequest(**fields)
    getattr(request, kind).MergeFromString(encode_record(RECORDS[kind]).body)
    assert state_pb2.SaveRequest.FromString(write_save(save)) == request
    batch = state_pb2.BatchRequest(operations=[state_pb2.BatchRequest.Operation(save=request)], atomic=True)
    assert state_pb2.BatchRequest.FromString(write_batch([save], True)) == batch
    frame = state_pb2.OpenStateStreamRequest.FromString(write_call(5, "save", write_save(save)))
    assert frame == state_pb2.OpenStateStreamRequest(items=[{"id": 5, "save": request}])


def test_a_delete_a_get_and_a_touch_are_what_they_say() -> None:
    agent_state = state_pb2.RECORD_KIND_AGENT_STATE
    delete = state_pb2.DeleteRequest(kind=agent_state, id="a", expected_revision=2, fence=HOLD, publish=[PUBLISHED])
    operation = Delete("agent_state", "a", 2, [("c", MESSAGE)], LEASE)
    assert state_pb2.DeleteRequest.FromString(write_delete(operation)) == delete
    get = state_pb2.GetRequest(kind=agent_state, id="a")
    batch = state_pb2.BatchRequest(operations=[{"delete": delete}, {"get": get}])
    assert state_pb2.BatchRequest.FromString(write_batch([operation, Get("agent_state", "a")], False)) == batch
    touch = state_pb2.TouchRequest(kind=agent_state, id="a", ttl=Duration(seconds=3))
    assert state_pb2.TouchRequest.FromString(write_touch("agent_state", "a", 3)) == touch
    assert not state_pb2.TouchRequest.FromString(write_touch("agent_state", "a", None)).HasField("ttl")
