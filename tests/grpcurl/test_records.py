"""State saved and read by hand, and shared with Python."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

import trunkline
from tests.grpcurl.conftest import Grpcurl, Stream

STATE = "trunkline.v1.StateService"


@pytest.fixture
def name() -> str:
    """An id that no other test uses."""
    return uuid4().hex


async def test_a_record_saved_by_hand_is_read_in_python(
    grpcurl: Grpcurl, state: str, state_address: str, name: str
) -> None:
    """JSON fields are plain text, well-known names are enums."""
    record = {"agent_id": name, "agent_type": "coding", "status": "running", "metadata_json": '{"host": "größer"}'}
    saved = grpcurl(state, f"{STATE}/Save", {"agent_state": record}).json()
    async with trunkline.GrpcStateManager(state_address) as manager:
        read = await manager.get_agent_state(name)
        assert read is not None
        assert (read.status, read.metadata, read.revision) == ("running", {"host": "größer"}, int(saved["revision"]))
        await manager.save_agent_state(trunkline.AgentState(agent_id=name, agent_type="review", metadata={"n": 1}))
    got = grpcurl(state, f"{STATE}/Get", {"kind": "RECORD_KIND_AGENT_STATE", "id": name}).json()
    assert got["record"]["agent_state"]["agent_type"] == "review"
    assert got["record"]["agent_state"]["metadata_json"].replace(" ", "") == '{"n":1}'


async def test_a_record_saved_without_times_has_those_of_its_arrival(
    grpcurl: Grpcurl, state: str, state_address: str, name: str
) -> None:
    """Who writes JSON by hand need not know the time; what is stored says it, to every reader."""
    before = datetime.now(UTC)
    grpcurl(state, f"{STATE}/Save", {"agent_state": {"agent_id": name, "agent_type": "coding"}}).json()
    task = {"task_id": name, "agent_id": name, "status": "pending"}
    grpcurl(state, f"{STATE}/Save", {"workflow_state": {"workflow_id": name, "task_results": {"t": task}}}).json()
    after = datetime.now(UTC)
    got = grpcurl(state, f"{STATE}/Get", {"kind": "RECORD_KIND_AGENT_STATE", "id": name}).json()
    assert before <= datetime.fromisoformat(got["record"]["agent_state"]["created_at"]) <= after
    async with trunkline.GrpcStateManager(state_address) as manager:
        agent, workflow = await manager.get_agent_state(name), await manager.get_workflow_state(name)
    assert agent is not None
    assert workflow is not None
    assert before <= agent.created_at == agent.updated_at <= after
    assert before <= workflow.started_at == workflow.task_results["t"].started_at <= after


def test_a_watch_shows_records_and_changes(
    grpcurl: Grpcurl, stream: Callable[[str, str, Any], Stream], state: str, name: str
) -> None:
    """What is there, synced, then each change."""
    task = {"task_id": name, "agent_id": "a", "status": "pending"}
    grpcurl(state, f"{STATE}/Save", {"task_result": task}).json()
    watch = stream(state, f"{STATE}/Watch", {"kinds": ["RECORD_KIND_TASK_RESULT"], "id": name})
    assert watch.next()["record"]["task_result"]["status"] == "pending"
    assert "synced" in watch.next()
    grpcurl(state, f"{STATE}/Delete", {"kind": "RECORD_KIND_TASK_RESULT", "id": name}).json()
    left = watch.next()["left"]
    assert (left["id"], left["deleted"]) == (name, True)


@pytest.mark.parametrize(
    ("method", "body", "code", "reason"),
    [
        ("Get", {"kind": "RECORD_KIND_AGENT_STATE", "id": "never saved"}, 5, "NOT_FOUND"),
        ("Get", {"id": "x"}, 3, "INVALID_RECORD"),
        ("Get", {"kind": "RECORD_KIND_AGENT_STATE", "id": "x" * 513}, 3, "INVALID_RECORD"),
        ("Save", {}, 3, "INVALID_RECORD"),
        ("Save", {"agent_state": {"agent_type": "coding"}}, 3, "INVALID_RECORD"),
        ("Save", {"agent_state": {"agent_id": "x", "agent_type": "y", "metadata_json": "[]"}}, 3, "INVALID_RECORD"),
        ("List", {"kind": "RECORD_KIND_AGENT_STATE", "page_token": "never given"}, 3, "INVALID_RECORD"),
        ("List", {"kind": "RECORD_KIND_AGENT_STATE", "page_size": 0}, 3, "INVALID_RECORD"),
        ("List", {"kind": "RECORD_KIND_TASK_RESULT", "filter": {"phase": "devops"}}, 3, "INVALID_RECORD"),
        ("Batch", {}, 3, "INVALID_RECORD"),
        ("Watch", {"after_revision": -1}, 3, "INVALID_RECORD"),
    ],
)
def test_an_error_is_as_the_table_says(
    grpcurl: Grpcurl, state: str, method: str, body: dict[str, Any], code: int, reason: str
) -> None:
    """The status, and one ErrorInfo with the reason."""
    error = grpcurl(state, f"{STATE}/{method}", body).error()
    assert (error["code"], error["reason"]) == (code, reason)
    assert error["message"]


def test_a_revision_mismatch_says_both(grpcurl: Grpcurl, state: str, name: str) -> None:
    """ABORTED, with expected and actual."""
    body = {"workflow_state": {"workflow_id": name}}
    revision = grpcurl(state, f"{STATE}/Save", body).json()["revision"]
    error = grpcurl(state, f"{STATE}/Save", body | {"expected_revision": 0}).error()
    assert (error["code"], error["reason"]) == (10, "REVISION_MISMATCH")
    assert (error["metadata"]["expected"], error["metadata"]["actual"]) == ("0", revision)


def test_an_id_of_any_characters_is_kept(grpcurl: Grpcurl, state: str, name: str) -> None:
    """Stored and returned unchanged."""
    strange = f"{name} / ..\\ '\";--\u0000\u202e🦊"
    record = {"task_id": strange, "agent_id": "a", "status": "pending"}
    grpcurl(state, f"{STATE}/Save", {"task_result": record}).json()
    got = grpcurl(state, f"{STATE}/Get", {"kind": "RECORD_KIND_TASK_RESULT", "id": strange}).json()
    assert got["record"]["task_result"]["task_id"] == strange


async def test_a_save_publishes_by_hand(
    grpcurl: Grpcurl, state: str, state_address: str, bus_address: str, name: str
) -> None:
    """A message beside the record, as JSON; it has an id and a time when it arrives."""
    record = {"task_id": name, "agent_id": "a", "status": "completed"}
    publish = [{"channel": f"{name}:done", "message": {"message_type": "task_result", "json": '{"n": 1}'}}]
    grpcurl(state, f"{STATE}/Save", {"task_result": record, "publish": publish}).json()
    async with trunkline.GrpcMessageBus(bus_address) as bus:
        messages = bus.messages(f"{name}:done", durable=name, start="all")
        message = await anext(messages)
        await messages.aclose()
    assert (message.payload, bool(message.message_id)) == ({"n": 1}, True)
    figures = grpcurl(state, f"{STATE}/GetStateStats", {}).json()["outbox"]
    assert figures["bus_address"] == bus_address


def test_a_save_whose_message_is_none_is_refused_by_hand(grpcurl: Grpcurl, state: str, name: str) -> None:
    """The field is named, and the record is not there."""
    publish = [{"channel": "a::b", "message": {"json": "{}"}}]
    record = {"task_id": name, "agent_id": "a", "status": "completed"}
    refused = grpcurl(state, f"{STATE}/Save", {"task_result": record, "publish": publish}).error()
    assert (refused["reason"], refused["metadata"]["field"]) == ("INVALID_RECORD", "publish[0].channel")
    missing = grpcurl(state, f"{STATE}/Get", {"kind": "RECORD_KIND_TASK_RESULT", "id": name}).error()
    assert missing["reason"] == "NOT_FOUND"
