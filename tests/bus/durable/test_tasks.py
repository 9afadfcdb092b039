"""Tasks on the wire: submitted, worked on, and what is kept of their lives."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from tests.bus.calls import message, refused
from tests.bus.durable.bus import Bus
from tests.bus.durable.calls import create, delete, eventually, get, holding, letters, seconds, seek, settings, store
from tests.patience import PATIENCE
from trunkline.v1 import durable_pb2, task_pb2, waiting_pb2
from trunkline.v1.durable_pb2 import Position

INVALID = grpc.StatusCode.INVALID_ARGUMENT
QUICK = settings(ack_wait=30, max_deliveries=3, backoff=(0.0, 1.0, 0.0))


async def submit(stub: Any, channel: str, id: str = "t-1", **fields: Any) -> task_pb2.SubmitTaskResponse:
    words = {name: fields.pop(name) for name in ("durable", "keep") if name in fields}
    request = task_pb2.SubmitTaskRequest(channel=channel, message=message(id, message_id=id, **fields), **words)
    answer: task_pb2.SubmitTaskResponse = await stub.SubmitTask(request, timeout=PATIENCE)
    return answer


async def task(stub: Any, id: str = "t-1") -> task_pb2.Task:
    answer = await stub.GetTask(task_pb2.GetTaskRequest(task_id=id), timeout=PATIENCE)
    found: task_pb2.Task = answer.task
    return found


async def events(stub: Any, id: str = "t-1", after: int = 0) -> list[Any]:
    answer = await stub.GetTask(task_pb2.GetTaskRequest(task_id=id, after_event=after), timeout=PATIENCE)
    return list(answer.events)


async def kinds(stub: Any, id: str = "t-1") -> list[str]:
    return [each.WhichOneof("event") for each in await events(stub, id)]


async def state(stub: Any, wanted: str, id: str = "t-1") -> task_pb2.Task:
    number = task_pb2.TaskState.Value(f"TASK_STATE_{wanted.upper()}")
    return await eventually(lambda: task(stub, id), lambda found: found.state == number)


async def cancel(stub: Any, id: str = "t-1", **words: str) -> task_pb2.Task:
    answer = await stub.CancelTask(task_pb2.CancelTaskRequest(task_id=id, **words), timeout=PATIENCE)
    found: task_pb2.Task = answer.task
    return found


async def test_a_life_from_submission_to_result(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    submitted = await submit(stub, channel)
    assert submitted.sequence == 1
    assert submitted.task.durable == "work"
    assert submitted.task.state == task_pb2.TASK_STATE_WAITING
    async with holding(stub, "work", channel) as holder:
        (got,) = await holder.take()
        await holder.report(
            got, {"accepted": {"responder": "agent-7"}}, {"progress": {"fraction": 0.5, "text": "half"}}
        )
        running = await state(stub, "running")
        assert (running.responder, running.attempt) == ("agent-7", 1)
        assert (running.progress.fraction, running.progress.text) == (0.5, "half")
        await holder.report(got, {"part": {"message": {"json": "1"}}}, {"result": {"message": {"json": "2"}}})
        done = await state(stub, "done")
    assert done.end.result.message.json == "2"
    assert done.end.number == 4
    assert done.HasField("ended_at")
    assert [each.number for each in await events(stub)] == [1, 2, 3, 4]
    assert await kinds(stub) == ["accepted", "progress", "part", "result"]
    assert [each.number for each in await events(stub, after=2)] == [3, 4]
    work = await get(stub, "work")
    assert (work.acked, work.leased, work.waiting) == (1, 0, 0)


async def test_a_subscriber_that_knows_nothing_of_tasks_does_them_too(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    async with holding(stub, "work", channel) as holder:
        await holder.say("nak", await holder.take(), error="not yet")
        await holder.ack(await holder.take())
        await state(stub, "done")
    first, second = await events(stub)
    assert (first.postponed.attempt, first.postponed.error) == (1, "not yet")
    assert second.HasField("result")
    assert not second.result.HasField("message")


async def test_a_failure_that_may_be_tried_again_and_one_that_may_not(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    async with holding(stub, "work", channel) as holder:
        (got,) = await holder.take()
        await holder.report(got, {"failure": {"type": "IOError", "text": "busy", "retryable": True}})
        (got,) = await holder.take()
        assert got.attempt == 2
        await holder.report(got, {"failure": {"type": "ValueError", "text": "bad", "code": "BAD_INPUT"}})
        failed = await state(stub, "failed")
    assert (failed.end.failure.type, failed.end.failure.text, failed.end.failure.code) == (
        "ValueError",
        "bad",
        "BAD_INPUT",
    )
    assert await kinds(stub) == ["postponed", "failure"]
    (letter,) = await eventually(lambda: letters(stub, durable="work"), bool)
    assert letter.error == "ValueError: bad"


async def test_attempts_that_are_used_up(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    async with holding(stub, "work", channel) as holder:
        for attempt in (1, 2, 3):
            (got,) = await holder.take()
            await holder.report(got, {"accepted": {}}, {"progress": {"fraction": 0.3 / attempt}})
            await holder.report(got, {"failure": {"text": f"no {attempt}", "retryable": True}})
        failed = await state(stub, "failed")
    assert failed.end.failure.text == "no 3"
    assert await kinds(stub) == [*("accepted", "progress", "postponed") * 2, "accepted", "progress", "failure"]


async def test_progress_never_goes_back_within_an_attempt(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    async with holding(stub, "work", channel) as holder:
        (got,) = await holder.take()
        await holder.report(got, {"progress": {"fraction": 0.5}})
        await holder.report(got, {"progress": {"fraction": 0.7}}, {"progress": {"fraction": 0.4}})
        refusal = await holder.call.read()
        assert refusal.refused.error.reason == "INVALID_MESSAGE"
        assert list(refusal.refused.sequences) == [got.sequence]
        await eventually(lambda: task(stub), lambda found: found.progress.fraction == 0.7)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ([], "report.events"),
        ([{}], "report.events[0]"),
        ([{"progress": {"fraction": 1.5}}], "report.events[0].progress.fraction"),
        ([{"progress": {"fraction": float("nan")}}], "report.events[0].progress.fraction"),
        ([{"postponed": {}}], "report.events[0]"),
        ([{"result": {}}, {"part": {}}], "report.events"),
        ([{"progress": {}}] * 1_001, "report.events"),
        ([{"result": {}}, {"failure": {}}], "report.events"),
    ],
)
async def test_what_cannot_be_said(stub: Any, channel: str, said: list[Any], field: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    async with holding(stub, "work", channel) as holder:
        (got,) = await holder.take()
        report: Any = {"sequence": got.sequence, "attempt": 1, "events": said}
        wanted = durable_pb2.SettleRequest(durable="work", report=report)
        error = await refused(stub.Settle(wanted), INVALID, "INVALID_MESSAGE")
        assert error.details["field"] == field
        assert await events(stub) == []
        await holder.report(got, {"result": {}})
        await state(stub, "done")


async def test_a_report_that_is_repeated_is_taken_once(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    async with holding(stub, "work", channel) as holder:
        (got,) = await holder.take()
        said: list[Any] = [{"accepted": {}}, {"part": {"message": {"json": "1"}}}, {"progress": {"fraction": 0.5}}]
        for events_said, offset in ((said, 0), (said[1:], 1), ([*said, {"part": {"message": {"json": "2"}}}], 0)):
            report: Any = {"sequence": got.sequence, "attempt": 1, "events": events_said, "offset": offset}
            await stub.Settle(durable_pb2.SettleRequest(durable="work", report=report), timeout=PATIENCE)
        assert await kinds(stub) == ["accepted", "part", "progress", "part"]


async def test_who_does_not_hold_it_says_nothing(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    async with holding(stub, "work", channel) as holder:
        (got,) = await holder.take()
        for attempt in (2, 7):
            report: Any = {"sequence": got.sequence, "attempt": attempt, "events": [{"result": {}}]}
            wanted = durable_pb2.SettleRequest(durable="work", report=report)
            await refused(stub.Settle(wanted), grpc.StatusCode.FAILED_PRECONDITION, "STALE_ACK")
        assert await events(stub) == []


async def test_one_that_waits_is_cancelled_and_never_handed_out(stub: Any, channel: str) -> None:
    """Whatever stands beside it in the journal is handed out as ever."""
    await create(stub, "work", channel, settings=QUICK)
    for id in ("t-1", "t-2", "t-3"):
        await submit(stub, channel, id)
    cancelled = await cancel(stub, "t-2", by="me", reason="no need")
    assert cancelled.state == task_pb2.TASK_STATE_CANCELLED
    assert (cancelled.end.cancelled.by, cancelled.end.cancelled.reason) == ("me", "no need")
    await store(stub, channel, message("after"))
    async with holding(stub, "work", channel) as holder:
        got = await holder.take(3)
        assert [each.n for each in got] == ["t-1", "t-3", "after"]
        await holder.ack(got)
        assert (await eventually(lambda: get(stub, "work"), lambda found: found.acked == 3)).waiting == 0
    assert await cancel(stub, "t-2") == cancelled, "one that has ended stays as it is"


async def test_a_holder_is_told_and_says_that_it_stopped(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    async with holding(stub, "work", channel) as holder:
        (got,) = await holder.take()
        await holder.report(got, {"accepted": {}})
        assert (await cancel(stub, by="me", reason="late")).cancelling
        told = await holder.cancellation()
        assert (told.sequence, told.attempt, told.by, told.reason) == (got.sequence, 1, "me", "late")
        await holder.say("extend", [got])
        assert (await holder.cancellation()).sequence == got.sequence, "whoever goes on hears it again"
        await holder.report(got, {"cancelled": {"by": "me", "reason": "late"}})
        assert not (await state(stub, "cancelled")).cancelling
    assert (await get(stub, "work")).acked == 1


@pytest.mark.parametrize("said", ["nak", "release"])
async def test_a_cancelled_one_that_comes_back_is_over(stub: Any, channel: str, said: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    await submit(stub, channel, "t-2")
    async with holding(stub, "work", channel) as holder:
        got = await holder.take(2)
        await cancel(stub, by="me")
        await holder.say(said, got)
        ended = await state(stub, "cancelled")
        assert ended.end.cancelled.by == "me"
        assert await holder.take_numbers(1) == ["t-2"]


async def test_a_result_counts_though_it_was_cancelled(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    async with holding(stub, "work", channel) as holder:
        (got,) = await holder.take()
        await cancel(stub)
        await holder.report(got, {"result": {"message": {"json": "done"}}})
        assert (await state(stub, "done")).end.result.message.json == "done"


async def test_everything_survives_a_restart(kept: Bus, channel: str) -> None:
    stub = kept.stub
    await create(stub, "work", channel, settings=QUICK)
    for id in ("t-1", "t-2", "t-3", "t-4"):
        await submit(stub, channel, id)
    await cancel(stub, "t-3")
    async with holding(stub, "work", channel, credit=2) as holder:
        one, two = await holder.take(2)
        await holder.report(one, {"accepted": {"responder": "a"}}, {"progress": {"fraction": 0.9}})
        await holder.report(two, {"result": {"message": {"json": "2"}}})
        await state(stub, "done", "t-2")
        await state(stub, "running")
    stub = await kept.restart()
    assert (await task(stub)).progress.fraction == 0.9
    assert (await task(stub, "t-2")).end.result.message.json == "2"
    assert (await task(stub, "t-3")).state == task_pb2.TASK_STATE_CANCELLED
    report: Any = {"sequence": one.sequence, "attempt": 1, "events": [{"progress": {"fraction": 0.95}}, {"result": {}}]}
    await stub.Settle(durable_pb2.SettleRequest(durable="work", report=report), timeout=PATIENCE)
    assert await kinds(stub) == ["accepted", "progress", "progress", "result"]
    async with holding(stub, "work", channel) as holder:
        (got,) = await holder.take()
        assert got.n == "t-4"
        await holder.ack([got])
        assert (await eventually(lambda: get(stub, "work"), lambda found: not found.leased)).waiting == 0


async def test_whoever_waits_hears_it_at_once(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    wanted = task_pb2.GetTaskRequest(task_id="t-1", after_event=0, wait={"seconds": 60})
    waiting = asyncio.ensure_future(stub.GetTask(wanted))
    async with holding(stub, "work", channel) as holder:
        (got,) = await holder.take()
        await holder.report(got, {"progress": {"text": "on my way"}})
        answer = await asyncio.wait_for(waiting, PATIENCE)
    assert [each.progress.text for each in answer.events] == ["on my way"]
    nothing = task_pb2.GetTaskRequest(task_id="t-1", after_event=1, wait=seconds(0.05))
    assert not (await stub.GetTask(nothing, timeout=PATIENCE)).events


async def test_who_waits_does_not_hold_a_stop_up(kept: Bus, channel: str) -> None:
    await create(kept.stub, "work", channel)
    await submit(kept.stub, channel)
    wanted = task_pb2.GetTaskRequest(task_id="t-1", after_event=0, wait={"seconds": 60})
    waiting = asyncio.ensure_future(kept.stub.GetTask(wanted))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(PATIENCE):
        await kept.stop()
        assert isinstance(
            (await asyncio.gather(waiting, return_exceptions=True))[0], task_pb2.GetTaskResponse | Exception
        )


async def test_the_same_id_is_the_same_task(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    first, second = await asyncio.gather(submit(stub, channel), submit(stub, channel))
    assert sorted([first.duplicate, second.duplicate]) == [False, True]
    assert (await get(stub, "work")).waiting == 1
    await create(stub, "other", f"{channel}:b")
    call = submit(stub, f"{channel}:b")
    assert (await refused(call, INVALID, "INVALID_MESSAGE")).details["field"] == "message.message_id"
    await store(stub, channel, message("plain", message_id="plain"))
    call = submit(stub, channel, "plain")
    assert (await refused(call, INVALID, "INVALID_MESSAGE")).details["value"] == "plain"


async def test_who_does_it(stub: Any, channel: str) -> None:
    await refused(submit(stub, channel), grpc.StatusCode.FAILED_PRECONDITION, "NO_RESPONDERS")
    await create(stub, "a", channel, settings=QUICK)
    await create(stub, "b", ">", settings=QUICK)
    error = await refused(submit(stub, channel), INVALID, "INVALID_MESSAGE")
    assert "(a, b)" in error.message
    await refused(submit(stub, channel, durable="c"), grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")
    assert (await submit(stub, channel, durable="a")).task.durable == "a"
    async with holding(stub, "b", ">") as holder:
        await holder.ack(await holder.take())
        await eventually(lambda: get(stub, "b"), lambda found: found.acked == 1)
    assert (await task(stub)).state == task_pb2.TASK_STATE_WAITING, "whoever else gets the message does not do it"
    await refused(stub.GetTask(task_pb2.GetTaskRequest(task_id="?")), grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
    await refused(cancel(stub, "?"), grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")


@pytest.mark.parametrize("keep", [{"seconds": 0, "nanos": 1}, {"seconds": 8 * 86_400}, {"seconds": -1}])
async def test_keep_out_of_bounds(stub: Any, channel: str, keep: Any) -> None:
    await create(stub, "work", channel)
    error = await refused(submit(stub, channel, keep=keep), INVALID, "INVALID_MESSAGE")
    assert error.details["field"] == "keep"


async def test_what_should_do_it_is_gone(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    await submit(stub, channel, "later", deliver_after={"seconds": 3600})
    await submit(stub, channel, "t-2")
    moved = await seek(stub, "work", Position(sequence=3))
    assert moved.subscription.waiting == 1
    assert (await state(stub, "failed")).end.failure.code == "SKIPPED"
    await delete(stub, "work")
    assert (await state(stub, "failed", "t-2")).end.failure.code == "SUBSCRIPTION_DELETED"
    assert (await state(stub, "failed", "later")).end.failure.code == "SUBSCRIPTION_DELETED"


@pytest.mark.parametrize("cancelled", [False, True])
async def test_one_that_is_held_back(stub: Any, channel: str, cancelled: bool) -> None:
    await create(stub, "work", channel, settings=QUICK)
    assert (await submit(stub, channel, deliver_after=seconds(0.3))).sequence == 0
    if cancelled:
        assert (await cancel(stub)).state == task_pb2.TASK_STATE_CANCELLED
    await submit(stub, channel, "later", deliver_after=seconds(0.4))
    async with holding(stub, "work", channel) as holder:
        if not cancelled:
            (got,) = await holder.take()
            assert got.n == "t-1"
            await holder.report(got, {"result": {}})
            await state(stub, "done")
        assert await holder.take_numbers(1) == ["later"]


async def test_a_ttl_that_ends_first(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel, ttl_seconds=1)
    failed = await state(stub, "failed")
    assert (failed.end.failure.code, failed.end.failure.type) == ("EXPIRED", "DeadLetter")


async def test_one_of_an_ordering_key_is_cancelled(stub: Any, channel: str) -> None:
    """The next of the key follows the one before it."""
    await create(stub, "work", channel, settings=QUICK)
    for id in ("t-1", "t-2", "t-3"):
        await submit(stub, channel, id, ordering_key="k")
    async with holding(stub, "work", channel) as holder:
        first = await holder.take()
        await cancel(stub, "t-2")
        await holder.ack(first)
        assert await holder.take_numbers(1) == ["t-3"]


async def test_lives_are_kept_within_bounds(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    async with holding(stub, "work", channel) as holder:
        (got,) = await holder.take()
        for _ in range(30):
            await holder.report(got, *({"part": {"message": {"json": "x" * 1_000}}} for _ in range(100)))
        await holder.report(got, {"result": {}})
        ended = await state(stub, "done")
    assert ended.last_event == 3_001
    assert 1_900 < ended.first_event <= 3_001 - 900
    numbers = [each.number for each in await events(stub)]
    while numbers[-1] < ended.last_event:
        numbers += [each.number for each in await events(stub, after=numbers[-1])]
    assert numbers == list(range(ended.first_event, 3_002))


async def test_the_list_and_how_long_they_are_kept(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    for n in range(5):
        await submit(stub, channel, f"t-{n}", keep={"seconds": 1} if n == 2 else {"seconds": 60})
    await cancel(stub, "t-2")
    await cancel(stub, "t-3")
    ids, token = [], ""
    while True:
        wanted = task_pb2.ListTasksRequest(channel=channel, page_size=2, page_token=token)
        page = await stub.ListTasks(wanted, timeout=PATIENCE)
        ids += [each.task_id for each in page.tasks]
        token = page.next_page_token
        if not token:
            break
    assert ids == ["t-4", "t-3", "t-2", "t-1", "t-0"]
    over = task_pb2.ListTasksRequest(state=task_pb2.TASK_STATE_CANCELLED)
    async with holding(stub, "work", channel) as holder:
        await holder.take(3)

        async def cancelled() -> list[str]:
            return [each.task_id for each in (await stub.ListTasks(over, timeout=PATIENCE)).tasks]

        await eventually(cancelled, lambda found: found == ["t-3"])
    wrong = stub.ListTasks(task_pb2.ListTasksRequest(state=99))  # type: ignore[arg-type]
    assert (await refused(wrong, INVALID, "INVALID_MESSAGE")).details["field"] == "state"


async def test_no_more_than_there_may_be(socket_dir: Any, channel: str) -> None:
    async with Bus(socket_dir, "memory", max_tasks=2) as bus:
        await create(bus.stub, "work", channel, settings=QUICK)
        await submit(bus.stub, channel, "t-1")
        await submit(bus.stub, channel, "t-2")
        await refused(submit(bus.stub, channel, "t-3"), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        async with holding(bus.stub, "work", channel) as holder:
            (got, _) = await holder.take(2)
            await holder.report(got, {"result": {}})
            await state(bus.stub, "done", "t-1")
            await submit(bus.stub, channel, "t-3")
            assert await holder.take_numbers(1) == ["t-3"]
        await refused(task(bus.stub, "t-1"), grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")


async def test_one_whose_waiting_message_is_cancelled_by_hand(stub: Any, channel: str) -> None:
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    wanted = waiting_pb2.CancelWaitingMessagesRequest(durable="work", filter={"message_ids": ["t-1"]})
    assert (await stub.CancelWaitingMessages(wanted, timeout=PATIENCE)).cancelled == 1
    assert (await task(stub)).state == task_pb2.TASK_STATE_CANCELLED


async def test_one_whose_waiting_message_is_moved(stub: Any, channel: str) -> None:
    """The other durable subscription does it."""
    await create(stub, "work", channel, settings=QUICK)
    await submit(stub, channel)
    await create(stub, "other", channel, settings=QUICK)
    wanted = waiting_pb2.MoveWaitingMessagesRequest(durable="work", to_durable="other", filter={})
    assert (await stub.MoveWaitingMessages(wanted, timeout=PATIENCE)).moved == 1
    assert (await task(stub)).durable == "other"
    async with holding(stub, "other", channel) as holder:
        (got,) = await holder.take()
        await holder.report(got, {"accepted": {}}, {"result": {}})
        await state(stub, "done")


async def test_one_is_cancelled_as_it_is_handed_out(stub: Any, channel: str) -> None:
    """Whichever comes first, it ends, and is not handed out again."""
    await create(stub, "work", channel, settings=QUICK)
    for n in range(20):
        await submit(stub, channel, f"t-{n}")
        cancelling = asyncio.ensure_future(cancel(stub, f"t-{n}", by="me"))
        async with holding(stub, "work", channel) as holder:
            ended = await cancelling
            if ended.cancelling:
                told = await holder.cancellation()
                await holder.report((await holder.take())[0], {"cancelled": {"by": told.by}})
            await state(stub, "cancelled", f"t-{n}")
    found = await eventually(lambda: get(stub, "work"), lambda found: not found.leased)
    assert (found.waiting, found.retrying) == (0, 0)
