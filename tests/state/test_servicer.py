"""The wire: every call on a real server, and the bad input of each."""

from __future__ import annotations

import math
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from tests.state.conftest import MAX_RECORD_BYTES
from tests.state.samples import NOON, agent, task, workflow
from trunkline.addresses import this_process
from trunkline.errors import TrunklineError
from trunkline.v1 import state_pb2 as wire
from trunkline.v1 import state_pb2_grpc
from trunkline.wire.status import error_from_rpc

AGENT_STATE = wire.RECORD_KIND_AGENT_STATE
WORKFLOW_STATE = wire.RECORD_KIND_WORKFLOW_STATE

Stub = state_pb2_grpc.StateServiceStub

STRANGE_IDS = [
    "x" * 512,
    "a\0b",
    "../../etc",
    "'; DROP TABLE records; --",
    "日本 🚃",
    "\u202eright to left",
    " ",
    "\n",
    "e\u0301",
]


async def refused(call: Awaitable[Any]) -> TrunklineError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_from_rpc(caught.value)


async def test_what_is_saved_is_got_unchanged(stub: Stub) -> None:
    """Each kind, with every field, also those that only other languages write."""
    saved: list[Any] = [
        agent("x", status="resting", metadata_json=' {"b": 1.0, "a": [1e2]} ', error_count=2**62),
        task("x", duration_seconds=0.1, error_message="", output_data_json="{}"),
        workflow("x", agent_states={"k": agent()}, task_results={"k": task()}, phase_history_json=["{}", '{"a":1}']),
    ]
    for field, record in zip(("agent_state", "task_result", "workflow_state"), saved, strict=True):
        record.MergeFromString(b"\xf8\x3f\x01")  # field 1023: a newer client's
        revision = (await stub.Save(wire.SaveRequest(**{field: record}))).revision
        kind = f"RECORD_KIND_{field.upper()}"
        got = (await stub.Get(wire.GetRequest(kind=kind, id="x"))).record
        written: dict[str, Any] = {"written_by": this_process(), "written_at": got.written_at}
        assert got == wire.Record(revision=revision, **written, **{field: record})
        assert got.written_at.ToSeconds() > NOON.ToSeconds()


@pytest.mark.parametrize("id", STRANGE_IDS)
async def test_ids_of_any_text_are_stored_and_returned_unchanged(stub: Stub, id: str) -> None:
    """Up to 512 characters; composed and decomposed letters are different ids."""
    await stub.Save(wire.SaveRequest(agent_state=agent(id)))
    assert (await stub.Get(wire.GetRequest(kind=AGENT_STATE, id=id))).record.agent_state.agent_id == id
    listed = await stub.List(wire.ListRequest(kind=AGENT_STATE, page_size=1))
    assert [record.agent_state.agent_id for record in listed.records] == [id]
    assert (await stub.Delete(wire.DeleteRequest(kind=AGENT_STATE, id=id))).deleted


async def test_a_missing_record_is_not_found_on_the_wire(stub: Stub) -> None:
    """And deleting it says that there was none."""
    error = await refused(stub.Get(wire.GetRequest(kind=AGENT_STATE, id="none")))
    assert (error.error_code, error.details) == ("NOT_FOUND", {"kind": "agent_state", "id": "none"})
    assert await stub.Delete(wire.DeleteRequest(kind=AGENT_STATE, id="none")) == wire.DeleteResponse()


async def test_a_revision_mismatch_answers_both_revisions(stub: Stub) -> None:
    """Of a save and of a delete."""
    await stub.Save(wire.SaveRequest(agent_state=agent("a")))
    for call in (
        stub.Save(wire.SaveRequest(agent_state=agent("a"), expected_revision=0)),
        stub.Save(wire.SaveRequest(agent_state=agent("a"), expected_revision=7)),
        stub.Delete(wire.DeleteRequest(kind=AGENT_STATE, id="a", expected_revision=7)),
    ):
        error = await refused(call)
        assert error.error_code == "REVISION_MISMATCH"
        assert error.details["actual"] == 1
    assert (await stub.Delete(wire.DeleteRequest(kind=AGENT_STATE, id="a", expected_revision=1))).deleted


BAD_SAVES = {
    "value": wire.SaveRequest(),
    "agent_id": wire.SaveRequest(agent_state=agent("")),
    "task_id": wire.SaveRequest(task_result=task("y" * 513)),
    "workflow_id": wire.SaveRequest(workflow_state=workflow("")),
    "agent_type": wire.SaveRequest(agent_state=agent(agent_type="")),
    "error_count": wire.SaveRequest(agent_state=agent(error_count=-1)),
    "feedback_count": wire.SaveRequest(workflow_state=workflow(feedback_count=-1)),
    "agent_id ": wire.SaveRequest(task_result=task(agent_id="")),
    "status": wire.SaveRequest(task_result=task(status="")),
    "metadata_json": wire.SaveRequest(agent_state=agent(metadata_json="[1]")),
    "output_data_json": wire.SaveRequest(task_result=task(output_data_json='{"a": NaN}')),
    "metadata_json ": wire.SaveRequest(task_result=task(metadata_json="nonsense")),
    "metadata_json  ": wire.SaveRequest(task_result=task(metadata_json='{"a":' + "[" * 100_00 + "]" * 100_00 + "}")),
    "metadata_json   ": wire.SaveRequest(task_result=task(metadata_json='{"a":1e999}')),
    "phase_history_json[1]": wire.SaveRequest(workflow_state=workflow(phase_history_json=["{}", "1"])),
    "error_log_json[0]": wire.SaveRequest(workflow_state=workflow(error_log_json=[""])),
    "duration_seconds": wire.SaveRequest(task_result=task(duration_seconds=-0.5)),
    "duration_seconds ": wire.SaveRequest(task_result=task(duration_seconds=math.nan)),
    "duration_seconds  ": wire.SaveRequest(task_result=task(duration_seconds=math.inf)),
    "agent_states['k'].agent_type": wire.SaveRequest(workflow_state=workflow(agent_states={"k": agent(agent_type="")})),
    "task_results['k'].metadata_json": wire.SaveRequest(
        workflow_state=workflow(task_results={"k": task(metadata_json="{")})
    ),
    "created_at": wire.SaveRequest(agent_state=agent(created_at={"seconds": 253_402_300_800})),
    "started_at": wire.SaveRequest(task_result=task(started_at={"nanos": -1})),
    "completed_at": wire.SaveRequest(workflow_state=workflow(completed_at={"nanos": 10**9})),
    "expected_revision": wire.SaveRequest(agent_state=agent(), expected_revision=-1),
}


@pytest.mark.parametrize("field", BAD_SAVES)
async def test_a_record_that_cannot_be_taken_is_refused_by_its_field(stub: Stub, field: str) -> None:
    """INVALID_RECORD names the field, nothing is written, and the server goes on."""
    error = await refused(stub.Save(BAD_SAVES[field]))
    assert error.error_code == "INVALID_RECORD"
    assert error.details["field"] == field.strip()
    assert error.message.startswith(field.strip())
    assert (await stub.GetStateStats(wire.GetStateStatsRequest())).revision == 0


BAD_CALLS: dict[str, tuple[str, Message]] = {
    "kind": ("Get", wire.GetRequest(id="a")),
    "kind ": ("Get", wire.GetRequest(kind=77, id="a")),  # type: ignore[arg-type]  # an unknown enum value
    "id": ("Get", wire.GetRequest(kind=AGENT_STATE)),
    "id ": ("Delete", wire.DeleteRequest(kind=AGENT_STATE, id="x" * 513)),
    "expected_revision": ("Delete", wire.DeleteRequest(kind=AGENT_STATE, id="a", expected_revision=0)),
    "page_size": ("List", wire.ListRequest(kind=AGENT_STATE, page_size=0)),
    "page_size ": ("List", wire.ListRequest(kind=AGENT_STATE, page_size=-5)),
    "page_token": ("List", wire.ListRequest(kind=AGENT_STATE, page_token="made up")),
    "page_token ": ("List", wire.ListRequest(kind=AGENT_STATE, page_token="é")),
    "page_token  ": ("List", wire.ListRequest(kind=AGENT_STATE, page_token="AAAA" * 100)),
    "filter.phase": ("List", wire.ListRequest(kind=AGENT_STATE, filter={"phase": "devops"})),
    "filter.type": ("List", wire.ListRequest(kind=wire.RECORD_KIND_TASK_RESULT, filter={"type": "coding"})),
    "filter.agent_id": ("List", wire.ListRequest(kind=WORKFLOW_STATE, filter={"agent_id": "a"})),
    "operations": ("Batch", wire.BatchRequest()),
    "operations ": ("Batch", wire.BatchRequest(operations=[wire.BatchRequest.Operation()] * 10_001)),
}


@pytest.mark.parametrize("field", BAD_CALLS)
async def test_a_call_that_cannot_be_taken_is_refused_by_its_field(stub: Stub, field: str) -> None:
    """Unknown kinds, page sizes below 1, tokens that were never given, filters that the kind does not have."""
    method, request = BAD_CALLS[field]
    error = await refused(getattr(stub, method)(request))
    assert (error.error_code, error.details["field"]) == ("INVALID_RECORD", field.strip())


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("kinds", wire.WatchRequest(kinds=[9])),  # type: ignore[list-item]  # an unknown enum value
        ("kinds", wire.WatchRequest(id="a")),
        ("kinds", wire.WatchRequest(kinds=[AGENT_STATE, wire.RECORD_KIND_TASK_RESULT], filter={"status": "idle"})),
        ("filter.phase", wire.WatchRequest(kinds=[AGENT_STATE], filter={"phase": "devops"})),
        ("after_revision", wire.WatchRequest(after_revision=-1)),
        ("id", wire.WatchRequest(kinds=[AGENT_STATE], id="x" * 513)),
    ],
)
async def test_a_watch_that_cannot_be_taken_is_refused_by_its_field(
    stub: Stub, field: str, request_: wire.WatchRequest
) -> None:
    """Before anything is sent."""
    error = await refused(stub.Watch(request_).read())
    assert (error.error_code, error.details["field"]) == ("INVALID_RECORD", field)


async def test_a_record_over_the_limit_is_refused_with_both_sizes(stub: Stub) -> None:
    """MESSAGE_TOO_LARGE; one at the limit is taken."""
    record = agent(metadata_json='{"x":"' + "y" * MAX_RECORD_BYTES + '"}')
    error = await refused(stub.Save(wire.SaveRequest(agent_state=record)))
    assert error.error_code == "MESSAGE_TOO_LARGE"
    assert error.details == {"size": record.ByteSize(), "limit": MAX_RECORD_BYTES}
    record.metadata_json = '{"x":"' + "y" * (MAX_RECORD_BYTES * 2 - record.ByteSize()) + '"}'
    assert record.ByteSize() == MAX_RECORD_BYTES
    await stub.Save(wire.SaveRequest(agent_state=record))


async def test_lists_come_in_pages_whose_tokens_are_good_for_their_question_only(stub: Stub) -> None:
    """All records once, in order; the same token with another kind or filter is refused."""
    ids = [f"r{number:02}" for number in range(25)]
    for id in ids:
        await stub.Save(wire.SaveRequest(agent_state=agent(id)))
    found: list[str] = []
    token = ""
    while True:
        page = await stub.List(wire.ListRequest(kind=AGENT_STATE, page_size=10, page_token=token))
        found += [record.agent_state.agent_id for record in page.records]
        assert page.revision == 25
        if not page.next_page_token:
            break
        token = page.next_page_token
        for other in (
            wire.ListRequest(kind=wire.RECORD_KIND_TASK_RESULT, page_token=token),
            wire.ListRequest(kind=AGENT_STATE, page_token=token, filter={"status": "idle"}),
            wire.ListRequest(kind=AGENT_STATE, page_token=token + "="),
        ):
            assert (await refused(stub.List(other))).details["field"] == "page_token"
    assert found == ids


async def test_an_empty_status_is_found_as_what_it_stands_for(stub: Stub) -> None:
    """idle, pending and development; the record itself stays as it came."""
    await stub.Save(wire.SaveRequest(agent_state=agent()))
    await stub.Save(wire.SaveRequest(workflow_state=workflow()))
    listed = await stub.List(
        wire.ListRequest(kind=AGENT_STATE, filter={"status": "idle", "type": "coding", "agent_id": "a"})
    )
    assert listed.records[0].agent_state.status == ""
    listed = await stub.List(
        wire.ListRequest(kind=WORKFLOW_STATE, filter={"status": "pending", "phase": "development"})
    )
    assert len(listed.records) == 1
    assert not (await stub.List(wire.ListRequest(kind=WORKFLOW_STATE, filter={"phase": "devops"}))).records


async def test_each_operation_of_a_batch_has_its_own_outcome(stub: Stub) -> None:
    """In order; those that fail do so alone."""
    answer = await stub.Batch(
        wire.BatchRequest(
            operations=[
                {"save": {"agent_state": agent()}},
                {"get": {"kind": 1, "id": "a"}},
                {"save": {"agent_state": agent(), "expected_revision": 0}},
                {"save": {}},
                {"get": {"kind": 1, "id": "none"}},
                {"delete": {"kind": 1, "id": "a"}},
                {"delete": {"kind": 1, "id": "a"}},
                {},
            ]
        )
    )
    said = [outcome.WhichOneof("outcome") for outcome in answer.outcomes]
    assert said == ["saved", "got", "error", "error", "error", "deleted", "deleted", "error"]
    reasons = [outcome.error.reason for outcome in answer.outcomes if outcome.HasField("error")]
    assert reasons == ["REVISION_MISMATCH", "INVALID_RECORD", "NOT_FOUND", "INVALID_RECORD"]
    assert [outcome.error.code for outcome in answer.outcomes if outcome.HasField("error")] == [10, 3, 5, 3]
    assert answer.outcomes[1].got.record.revision == 1
    assert [answer.outcomes[index].deleted.deleted for index in (5, 6)] == [True, False]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"save": {"agent_state": agent("b"), "expected_revision": 9}}, "REVISION_MISMATCH"),
        ({"save": {}}, "INVALID_RECORD"),
    ],
)
async def test_an_atomic_batch_writes_all_or_nothing(stub: Stub, bad: dict[str, Any], reason: str) -> None:
    """The first failing operation's error is the call's, with its index."""
    good: list[Any] = [
        {"save": {"agent_state": agent("a")}},
        {"get": {"kind": 1, "id": "a"}},
        {"get": {"kind": 1, "id": "no"}},
    ]
    error = await refused(stub.Batch(wire.BatchRequest(operations=[*good, bad], atomic=True)))
    assert error.error_code == reason
    assert str(error.details["operation"]) == "3"
    assert (await refused(stub.Get(wire.GetRequest(kind=AGENT_STATE, id="a")))).error_code == "NOT_FOUND"
    answer = await stub.Batch(wire.BatchRequest(operations=good, atomic=True))
    assert [outcome.WhichOneof("outcome") for outcome in answer.outcomes] == ["saved", "got", "error"]


async def test_stats_tell_counts_and_holdings(stub: Stub) -> None:
    """Since the start, and now."""
    await stub.Save(wire.SaveRequest(agent_state=agent()))
    await stub.Get(wire.GetRequest(kind=AGENT_STATE, id="a"))
    stats = await stub.GetStateStats(wire.GetStateStatsRequest())
    assert (stats.revision, stats.saves, stats.gets, stats.commits) == (1, 1, 1, 1)
    kinds = dict.fromkeys(("workflow_state", "task_result", "lease", "agent_presence"), 0)
    assert dict(stats.records) == kinds | {"agent_state": 1}
    assert stats.engine in {"memory", "sqlite", "redis"}
