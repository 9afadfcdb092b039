"""One suite over every StateManager: in memory, over gRPC against a real state service, and through a real sidecar."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.conftest import MakeManager
from tests.patience import PATIENCE
from trunkline import (
    AgentState,
    AgentStatus,
    AgentType,
    Change,
    ChangeType,
    Delete,
    Get,
    InMemoryStateManager,
    InvalidRecordError,
    MessageTooLargeError,
    RevisionMismatchError,
    Save,
    StateManager,
    StateNotConnectedError,
    TaskResult,
    TaskStatus,
    WorkflowPhase,
    WorkflowState,
)


@pytest.fixture
def unconnected(new_manager: MakeManager) -> StateManager:
    return new_manager()


@pytest.fixture
async def manager(unconnected: StateManager) -> AsyncIterator[StateManager]:
    async with unconnected as manager:
        yield manager


@pytest.fixture
def prefix() -> str:
    """Ids of this test alone: the service is shared."""
    return f"{uuid.uuid4().hex[:12]}-"


def agent(agent_id: str, **fields: Any) -> AgentState:
    return AgentState(agent_id=agent_id, **{"agent_type": "coding", **fields})


def task(task_id: str, **fields: Any) -> TaskResult:
    return TaskResult(task_id=task_id, **{"agent_id": "a", "status": "completed", **fields})


TIME = datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)


async def test_get_of_a_missing_record_is_none_and_delete_of_one_is_false(manager: StateManager, prefix: str) -> None:
    """State: get of a missing record is None, delete of one is False."""
    assert await manager.get_agent_state(prefix) is None
    assert await manager.get_workflow_state(prefix) is None
    assert await manager.get_task_result(prefix) is None
    assert await manager.delete_agent_state(prefix) is False
    assert await manager.delete_workflow_state(prefix) is False
    assert await manager.delete_task_result(prefix) is False


async def test_last_write_wins(manager: StateManager, prefix: str) -> None:
    """State: last write wins."""
    first = await manager.save_agent_state(agent(prefix, error_count=1))
    second = await manager.save_agent_state(agent(prefix, error_count=2))
    assert second > first
    got = await manager.get_agent_state(prefix)
    assert got is not None
    assert (got.error_count, got.revision) == (2, second)


async def test_equal_ids_in_different_entities_do_not_meet(manager: StateManager, prefix: str) -> None:
    """State: equal ids in different entities do not meet."""
    await manager.save_agent_state(agent(prefix))
    await manager.save_workflow_state(WorkflowState(workflow_id=prefix))
    await manager.save_task_result(task(prefix))
    assert await manager.delete_agent_state(prefix) is True
    assert await manager.get_agent_state(prefix) is None
    assert isinstance(await manager.get_workflow_state(prefix), WorkflowState)
    assert isinstance(await manager.get_task_result(prefix), TaskResult)


async def test_nested_models_and_dicts_come_back_equal(manager: StateManager, prefix: str) -> None:
    """State: nested models and dicts come back equal."""
    values = {"deep": [{"x": [1, 2.5, None, True, "é😀\0"]}], "big": 2**70, "small": -(2**63), "float": 0.1, "": {}}
    state = agent(
        prefix,
        agent_type="translator",
        status=AgentStatus.RUNNING,
        current_task_id="t",
        completed_tasks=["1", ""],
        failed_tasks=["2"],
        error_count=2**63 - 1,
        last_heartbeat=TIME - timedelta(days=20_000),
        metadata=values,
        created_at=datetime(1, 1, 1, tzinfo=UTC),
        updated_at=datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
    )
    result = task(prefix, output_data=values, error_message="", duration_seconds=0.1, completed_at=TIME)
    workflow = WorkflowState(
        workflow_id=prefix,
        current_phase=WorkflowPhase.DEVOPS,
        phase_history=[{}, values],
        agent_states={"one": state, "": agent("two")},
        task_results={"three": result},
        completed_at=TIME,
        status="odd",
        error_log=[values],
        feedback_count=3,
        metadata=values,
    )
    await manager.save_agent_state(state)
    await manager.save_task_result(result)
    await manager.save_workflow_state(workflow)
    assert await manager.get_agent_state(prefix) == state
    assert await manager.get_task_result(prefix) == result
    got = await manager.get_workflow_state(prefix)
    assert got == workflow
    assert got is not None
    assert got.model_dump() == workflow.model_dump()
    assert isinstance(got.agent_states["one"].status, AgentStatus)
    assert got.agent_states["one"].agent_type == "translator"
    assert isinstance(got.agent_states[""].agent_type, AgentType)


async def test_connect_and_disconnect_are_idempotent(unconnected: StateManager, prefix: str) -> None:
    """State: connect and disconnect are idempotent."""
    await unconnected.disconnect()
    assert not unconnected.is_connected
    await unconnected.connect()
    await unconnected.save_agent_state(agent(prefix))
    await unconnected.connect()
    assert unconnected.is_connected
    assert await unconnected.get_agent_state(prefix) is not None
    await unconnected.disconnect()
    await unconnected.disconnect()
    assert not unconnected.is_connected
    await unconnected.connect()
    assert unconnected.is_connected
    await unconnected.disconnect()


async def test_the_in_memory_manager_is_empty_after_disconnect() -> None:
    """State: the in-memory manager is empty after disconnect. Only that one: a service keeps what it was given."""
    manager = InMemoryStateManager()
    await manager.connect()
    await manager.save_agent_state(agent("a"))
    await manager.disconnect()
    await manager.connect()
    assert await manager.get_agent_state("a") is None
    assert await manager.save_agent_state(agent("a")) == 1


async def test_values_are_copied_at_the_border(manager: StateManager, prefix: str) -> None:
    """State was passed by reference, and changing an object after save changed the store: values are copied at the
    border."""
    state = agent(prefix, metadata={"list": [1]})
    await manager.save_agent_state(state)
    state.completed_tasks.append("later")
    state.metadata["list"].append(2)  # type: ignore[union-attr]
    got = await manager.get_agent_state(prefix)
    assert got is not None
    assert (got.completed_tasks, got.metadata) == ([], {"list": [1]})
    got.metadata["mine"] = True
    again = await manager.get_agent_state(prefix)
    assert again is not None
    assert again.metadata == {"list": [1]}


async def test_workflows_and_results_have_list_delete_and_versions(manager: StateManager, prefix: str) -> None:
    """No list or delete for workflows and results, no versions: all there."""
    revision = await manager.save_workflow_state(WorkflowState(workflow_id=prefix, status="in_progress"))
    await manager.save_task_result(task(prefix, agent_id=prefix))
    workflows = await manager.list_workflow_states(status="in_progress", phase="development")
    assert [each.revision for each in workflows if each.workflow_id == prefix] == [revision]
    assert [each.task_id for each in await manager.list_task_results(agent_id=prefix)] == [prefix]
    assert await manager.delete_workflow_state(prefix, expected_revision=revision) is True
    assert await manager.delete_task_result(prefix) is True
    assert await manager.list_task_results(agent_id=prefix) == []


async def test_not_connected_raises_in_every_verb(unconnected: StateManager) -> None:
    """Before connect, and after disconnect."""
    await unconnected.connect()
    await unconnected.disconnect()
    for call in (
        unconnected.save_agent_state(agent("a")),
        unconnected.get_agent_state("a"),
        unconnected.list_agent_states(),
        unconnected.delete_agent_state("a"),
        unconnected.batch([Get("agent_state", "a")]),
        anext(aiter(unconnected.watch())),
    ):
        with pytest.raises(StateNotConnectedError):
            await call


async def test_expected_revisions_are_compared(manager: StateManager, prefix: str) -> None:
    """0: must not exist; else it must match; both revisions are in the error."""
    first = await manager.save_agent_state(agent(prefix), expected_revision=0)
    with pytest.raises(RevisionMismatchError) as caught:
        await manager.save_agent_state(agent(prefix), expected_revision=0)
    assert caught.value.details == {"kind": "agent_state", "id": prefix, "expected": 0, "actual": first}
    second = await manager.save_agent_state(agent(prefix), expected_revision=first)
    with pytest.raises(RevisionMismatchError):
        await manager.delete_agent_state(prefix, expected_revision=first)
    assert await manager.delete_agent_state(prefix, expected_revision=second) is True
    with pytest.raises(RevisionMismatchError) as caught:
        await manager.delete_agent_state(prefix, expected_revision=second)
    assert caught.value.details["actual"] == 0


async def test_lists_come_in_order_of_ids_over_many_pages(manager: StateManager, prefix: str) -> None:
    """All of them, once, whatever the page size."""
    ids = [prefix + end for end in ("a", "B", "é", "z", "日", "a\0", "😀")]
    for id in ids:
        await manager.save_agent_state(agent(id, status=prefix))
    listed = await manager.list_agent_states(status=prefix, page_size=2)
    assert [each.agent_id for each in listed] == sorted(ids)
    assert await manager.list_agent_states(status=prefix, type="review") == []
    assert len(await manager.list_agent_states(status=prefix, type=AgentType.CODING)) == len(ids)


@pytest.mark.parametrize("id", ["x" * 512, "a\0b\n", "'; DROP TABLE", " ", "\u202ebidi", "e\u0301"])
async def test_strange_ids_come_back_unchanged(manager: StateManager, id: str) -> None:
    """Stored and returned unchanged."""
    await manager.save_task_result(task(id))
    got = await manager.get_task_result(id)
    assert got is not None
    assert got.task_id == id
    assert await manager.delete_task_result(id)


@pytest.mark.parametrize("id", ["", "x" * 513, "\ud800"])
async def test_ids_that_cannot_be_taken_are_refused(manager: StateManager, id: str) -> None:
    """Empty, too long, or no text that UTF-8 can write: by every verb."""
    for call in (manager.get_agent_state(id), manager.delete_agent_state(id), manager.batch([Get("agent_state", id)])):
        try:
            (outcome,) = await call  # type: ignore[misc]  # only the batch gets here
        except InvalidRecordError:
            continue
        assert isinstance(outcome, InvalidRecordError)
    if len(id) > 512:  # the others are refused by the model already
        with pytest.raises(InvalidRecordError):
            await manager.save_agent_state(agent(id))


async def test_what_json_cannot_say_is_refused_by_its_field(manager: StateManager, prefix: str) -> None:
    """Put into a dict after the model had checked it: never altered silently."""
    for value in (float("nan"), (1, 2), {1: 2}, b"x", TIME):
        state = agent(prefix)
        state.metadata["bad"] = value  # type: ignore[assignment]
        with pytest.raises(InvalidRecordError) as caught:
            await manager.save_agent_state(state)
        assert caught.value.details["field"].startswith("metadata.bad")
    state = agent(prefix)
    state.completed_tasks.append("\ud800")
    with pytest.raises(InvalidRecordError) as caught:
        await manager.save_agent_state(state)
    assert caught.value.details["field"] == "completed_tasks"
    with pytest.raises(TypeError):
        await manager.save_agent_state(task(prefix))  # type: ignore[arg-type]
    assert await manager.get_agent_state(prefix) is None


async def test_a_record_over_the_limit_is_refused_with_both_sizes(manager: StateManager, prefix: str) -> None:
    """4 MiB."""
    with pytest.raises(MessageTooLargeError) as caught:
        await manager.save_agent_state(agent(prefix, metadata={"x": "y" * (4 * 2**20)}))
    assert caught.value.details["limit"] == 4 * 2**20
    assert caught.value.details["size"] > 4 * 2**20


@pytest.mark.parametrize(
    ("verb", "words"), [("list_agent_states", {"page_size": 0}), ("watch", {"after_revision": -1})]
)
async def test_numbers_that_cannot_be_taken_are_refused(manager: StateManager, verb: str, words: Any) -> None:
    """Negative or zero page sizes and revisions."""
    called = getattr(manager, verb)(**words)
    with pytest.raises(InvalidRecordError):
        await (anext(aiter(called)) if verb == "watch" else called)


async def test_each_operation_of_a_batch_has_its_own_outcome(manager: StateManager, prefix: str) -> None:
    """In order."""
    state = agent(prefix)
    saved, got, mismatch, none, deleted, again = await manager.batch(
        [
            Save(state),
            Get("agent_state", prefix),
            Save(state, expected_revision=0),
            Get("task_result", prefix),
            Delete("agent_state", prefix),
            Delete("agent_state", prefix),
        ]
    )
    assert isinstance(saved, int)
    assert got == state
    assert isinstance(mismatch, RevisionMismatchError)
    assert none is None
    assert (deleted, again) == (True, False)


async def test_an_atomic_batch_writes_all_or_nothing(manager: StateManager, prefix: str) -> None:
    """The first failing operation's error is raised with its index."""
    await manager.save_task_result(task(prefix))
    with pytest.raises(RevisionMismatchError) as caught:
        await manager.batch(
            [Save(agent(prefix)), Delete("task_result", prefix), Save(task(prefix), expected_revision=1)], atomic=True
        )
    assert int(caught.value.details["operation"]) == 2
    assert await manager.get_agent_state(prefix) is None
    assert await manager.get_task_result(prefix) is not None
    outcomes = await manager.batch([Save(agent(prefix)), Delete("task_result", prefix)], atomic=True)
    assert isinstance(outcomes[0], int)
    assert outcomes[1] is True


@pytest.mark.parametrize("count", [0, 10_001])
async def test_a_batch_of_none_or_too_many_is_refused(manager: StateManager, count: int) -> None:
    """1 to 10,000 operations."""
    with pytest.raises(InvalidRecordError):
        await manager.batch([Get("agent_state", "a")] * count)


async def take(changes: AsyncIterator[Change], count: int) -> list[tuple[str, str | None]]:
    async with asyncio.timeout(PATIENCE):
        found = [await anext(changes) for _ in range(count)]
    return [(change.type.value, change.id) for change in found]


async def test_a_watch_tells_the_records_then_synced_then_each_change(manager: StateManager, prefix: str) -> None:
    """With a filter, a record that matches no more has left; and it resumes after a revision."""
    one, two = prefix + "1", prefix + "2"
    await manager.save_task_result(task(one, agent_id=prefix))
    async with aclosing(manager.watch("task_result", agent_id=prefix)) as changes:  # type: ignore[type-var]
        assert await take(changes, 2) == [("saved", one), ("synced", None)]
        revision = await manager.save_task_result(task(two, agent_id=prefix))
        await manager.save_task_result(task(one, agent_id="another"))
        await manager.save_task_result(task(one, agent_id="another"))
        await manager.delete_task_result(two)
        assert await take(changes, 3) == [("saved", two), ("left", one), ("deleted", two)]
    async with aclosing(manager.watch("task_result", agent_id=prefix, after_revision=revision)) as again:  # type: ignore[type-var]
        assert await take(again, 3) == [("left", one), ("deleted", two), ("synced", None)]


async def test_a_watch_of_one_record_gives_the_record_with_its_revision(manager: StateManager, prefix: str) -> None:
    """As it would have been got."""
    state = agent(prefix, metadata={"a": 1})
    async with aclosing(manager.watch("agent_state", id=prefix)) as changes:  # type: ignore[type-var]
        assert (await anext(aiter(changes))).type is ChangeType.SYNCED
        revision = await manager.save_agent_state(state)
        change = await anext(aiter(changes))
    assert change == Change(ChangeType.SAVED, revision, "agent_state", prefix, state)
    assert change.record is not None
    assert change.record.revision == revision


async def test_a_record_says_who_wrote_it_and_when(manager: StateManager, prefix: str) -> None:
    """However it was written and however it is read; so does its end. One that was made here says nothing."""
    before, state = datetime.now(UTC), agent(prefix)
    assert (state.written_by, state.written_at) == (None, None)
    await manager.save_agent_state(state)
    one = await manager.get_agent_state(prefix)
    assert one is not None
    assert one == state
    await manager.batch([Save(state), Save(task(prefix))])
    [two] = [each for each in await manager.list_agent_states() if each.agent_id == prefix]
    [three] = await manager.batch([Get("task_result", prefix)])
    assert isinstance(three, TaskResult)
    await manager.delete_agent_state(prefix)
    async with (
        asyncio.timeout(PATIENCE),
        aclosing(  # type: ignore[type-var]
            manager.watch("agent_state", id=prefix, after_revision=one.revision)
        ) as changes,
    ):
        saved, gone, _ = [await anext(aiter(changes)) for _ in range(3)]
    assert (saved.type, gone.type) == (ChangeType.SAVED, ChangeType.DELETED)
    writers = {each.written_by for each in (one, two, three, saved, saved.record, gone)}  # type: ignore[union-attr]
    assert all(writers)
    times = [each.written_at for each in (one, saved, gone)]
    assert None not in times
    assert times == sorted(times)  # type: ignore[type-var]
    assert before - timedelta(seconds=1) <= times[0] <= datetime.now(UTC)  # type: ignore[operator]
    for each in (two, saved.record):
        assert each is not None
        assert (each.written_by, each.written_at) == (saved.written_by, saved.written_at)


@pytest.mark.parametrize("words", [{"phase": "devops"}, {"id": "x" * 600}])
async def test_a_watch_that_cannot_be_taken_is_refused(manager: StateManager, words: Any) -> None:
    """A field that the kind does not have, an id that is too long."""
    with pytest.raises(InvalidRecordError):
        await anext(aiter(manager.watch("agent_state", **words)))


async def test_disconnect_ends_watches(unconnected: StateManager) -> None:
    """They raise StateNotConnectedError; nobody waits for ever."""
    await unconnected.connect()

    async def watch() -> None:
        async for _ in unconnected.watch("workflow_state", id="none"):
            synced.set()

    synced = asyncio.Event()
    watching = asyncio.create_task(watch())
    await asyncio.wait_for(synced.wait(), PATIENCE)
    await unconnected.disconnect()
    with pytest.raises(StateNotConnectedError):
        await asyncio.wait_for(watching, PATIENCE)


async def test_statuses_of_other_languages_stay_text(manager: StateManager, prefix: str) -> None:
    """Unknown names are kept, known ones become enums."""
    await manager.save_task_result(task(prefix, status="verdampft"))
    got = await manager.get_task_result(prefix)
    assert got is not None
    assert got.status == "verdampft"
    await manager.save_task_result(task(prefix, status="failed"))
    got = await manager.get_task_result(prefix)
    assert got is not None
    assert got.status is TaskStatus.FAILED


async def test_statistics_count_what_was_done(manager: StateManager, prefix: str) -> None:
    """Each figure rises by what was done; what is held now is told as it is."""
    before = await manager.statistics()
    await manager.save_agent_state(agent(f"{prefix}a"))
    revision = await manager.save_agent_state(agent(f"{prefix}b"))
    await manager.get_agent_state(f"{prefix}a")
    await manager.list_agent_states()
    await manager.delete_agent_state(f"{prefix}b")
    after = await manager.statistics()
    assert after.started_at == before.started_at <= datetime.now(UTC)
    assert (after.engine, after.version) == (before.engine, before.version)
    assert after.engine in ("memory", "sqlite", "redis")
    assert after.revision > revision
    assert after.oldest_revision <= after.revision
    assert set(after.records) == {"agent_state", "workflow_state", "task_result", "lease", "agent_presence"}
    assert after.records["agent_state"] - before.records["agent_state"] == 1
    risen = [getattr(after, each) - getattr(before, each) for each in ("saves", "gets", "lists", "deletes")]
    assert all(figure >= done for figure, done in zip(risen, (2, 1, 1, 1), strict=True))
    assert after.commits > before.commits


async def test_statistics_count_watchers(manager: StateManager) -> None:
    """Those that are open now."""
    before = await manager.statistics()
    async with aclosing(manager.watch("task_result")) as changes:  # type: ignore[type-var]
        await anext(changes)
        assert (await manager.statistics()).watchers == before.watchers + 1


async def test_statistics_need_a_connection(unconnected: StateManager) -> None:
    """As every call."""
    with pytest.raises(StateNotConnectedError):
        await unconnected.statistics()
