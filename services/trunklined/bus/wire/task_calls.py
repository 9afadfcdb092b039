"""The unary calls about tasks: see task.proto."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf.message import Message

from trunkline.channels import check_channel, check_name, check_pattern, matches
from trunkline.errors import InvalidMessageError, TaskNotFoundError
from trunkline.limits import (
    DEFAULT_TASK_KEEP,
    MAX_ANSWER_BYTES,
    MAX_TASK_KEEP,
    MAX_TASK_WAIT,
    MIN_TASK_KEEP,
)
from trunkline.v1 import bus_pb2, life_pb2, task_pb2
from trunklined.admission import parse
from trunklined.bus.broker import Broker
from trunklined.bus.durable.task_life import TaskState
from trunklined.bus.durable.tasks import Tasks
from trunklined.bus.durable.waiting import WaitingQuery
from trunklined.bus.journal.commit_waiter import CommitWaiter
from trunklined.bus.journal.journal import Journal
from trunklined.bus.records import HeldBack, TaskQuery, TaskRow
from trunklined.bus.wire.publishing import Publisher
from trunklined.bus.wire.translation import check_between, cut_text, seconds_in
from trunklined.rpc.page_token import fill_page, make_page_token, page_size_of, read_page_token
from trunklined.rpc.times import stamp_of

Call = Callable[[bytes, Any], Awaitable[Message]]

_EVENT_BYTES: Final = MAX_ANSWER_BYTES // 4
"""Events of one answer: the last of them may be as large as a message, and the task has its end beside them."""
_TASKS_READ: Final = 128


class TaskCalls:
    """Each checks what it is asked, calls the journal, and translates.

    Args:
        broker: whose tasks they are.
        publisher: admits their messages.
    """

    def __init__(self, broker: Broker, publisher: Publisher) -> None:
        self._broker = broker
        self._publisher = publisher

    @property
    def _journal(self) -> Journal:
        return self._broker.journal

    @property
    def _tasks(self) -> Tasks:
        return self._broker.journal.tasks

    def by_name(self) -> dict[str, Call]:
        """The calls by their names on the wire."""
        return {"SubmitTask": self.submit, "GetTask": self.get, "ListTasks": self.list, "CancelTask": self.cancel}

    async def submit(self, raw: bytes, _: Any) -> task_pb2.SubmitTaskResponse:
        """Stores a message as a task; returns it when that is durable. One that is there is returned as it is.

        Raises:
            InvalidChannelError, InvalidMessageError, MessageTooLargeError: as a publish; InvalidMessageError: several
                durable subscriptions match, or the named one does not; the message id is in use otherwise.
            NoRespondersError: no durable subscription matches.
            SubscriptionNotFoundError: there is none of that name.
            OverloadedError: too much waits for the disk, or too many tasks are kept.
        """
        request = parse(task_pb2.SubmitTaskRequest, raw)
        check_channel(request.channel)
        keep = DEFAULT_TASK_KEEP
        if request.HasField("keep"):
            keep = check_between("keep", seconds_in("keep", request.keep), MIN_TASK_KEEP, MAX_TASK_KEEP)
        if not request.HasField("message"):
            raise InvalidMessageError("message is not set", details={"field": "message"})
        durable = self._journal.durables.doing(request.channel, request.durable)
        publication, id = await self._publisher.admit_one(
            bus_pb2.PublishRequest(channel=request.channel, messages=[request.message])
        )
        if await self._is_there(id, request.channel):
            return task_pb2.SubmitTaskResponse(task=to_wire(self._tasks.find(id)), duplicate=True)
        if publication is None:
            raise InvalidMessageError(
                f"message {id!r} is past its TTL, or was stored on {request.channel!r} already and is no task",
                details={"field": "message.message_id", "value": id},
            )
        waiter = CommitWaiter()
        self._journal.submit(publication, durable, id, keep, waiter.done)
        await waiter.wait()
        part = publication.parts[0]
        sequence = 0 if isinstance(part, HeldBack) else publication.batches[0].first_sequence
        return task_pb2.SubmitTaskResponse(task=to_wire(self._tasks.find(id)), sequence=sequence)

    async def _is_there(self, id: str, channel: str) -> bool:
        """Whether there is a task with this id; of one that is being stored, when it is known.

        Raises:
            InvalidMessageError: it is one of another channel.
        """
        if self._tasks.open_task(id) is not None:
            waiter = CommitWaiter()
            self._journal.after_commit(waiter.done)
            await waiter.wait()
        try:
            there = self._tasks.find(id)
        except TaskNotFoundError:
            return False
        if there.channel != channel:
            raise InvalidMessageError(
                f"message_id {id!r} is the task of another channel, {there.channel!r}",
                details={"field": "message.message_id", "value": id},
            )
        return True

    async def get(self, raw: bytes, context: Any) -> task_pb2.GetTaskResponse:
        """Returns a task as it is now, and its events behind a number; waits for some where it shall.

        Raises:
            TaskNotFoundError: there is none.
            InvalidMessageError: a number below 0, or a wait out of bounds.
        """
        request = parse(task_pb2.GetTaskRequest, raw)
        if request.HasField("after_event") and request.after_event < 0:
            raise InvalidMessageError(
                f"after_event is {request.after_event}, it must be at least 0",
                details={"field": "after_event", "value": str(request.after_event)},
            )
        wait = check_between("wait", seconds_in("wait", request.wait), 0, MAX_TASK_WAIT)
        row = self._tasks.find(request.task_id)
        if wait and request.HasField("after_event") and row.last_event <= request.after_event and not _has_ended(row):
            remaining = None if context is None else context.time_remaining()
            await self._tasks.wait(row.id, wait if remaining is None else min(wait, max(0.0, remaining * 0.9)))
            row = self._tasks.find(request.task_id)
        response = task_pb2.GetTaskResponse(task=to_wire(row))
        if request.HasField("after_event"):
            events = self._journal.engine.task_events(row.number, request.after_event, _EVENT_BYTES)
            response.events.extend(life_pb2.LifeEvent.FromString(each.event) for each in events)
        return response

    async def list(self, raw: bytes, _: Any) -> task_pb2.ListTasksResponse:
        """Lists the tasks that match, the newest first, in pages.

        Raises:
            InvalidChannelError, InvalidMessageError: a filter, a page size or a page token that cannot be.
        """
        request = parse(task_pb2.ListTasksRequest, raw)
        page_size = page_size_of(request, InvalidMessageError)
        if request.channel:
            check_pattern(request.channel)
        if request.durable:
            check_name("durable", request.durable)
        if request.state not in task_pb2.TaskState.values():
            raise InvalidMessageError(
                f"state {request.state} is unknown", details={"field": "state", "value": str(request.state)}
            )
        channels = None
        if request.channel:
            known = self._journal.engine.task_channels()
            channels = frozenset(name for name in known if matches(request.channel, name))
        query = TaskQuery(request.state or None, channels, request.durable or None)
        question = f"tasks {request.state} {request.channel} {request.durable}".encode()
        below = int(read_page_token(request.page_token, question, InvalidMessageError) or 0) or None

        def found() -> Any:
            under = below
            while rows := self._journal.engine.tasks(query, under, _TASKS_READ):
                for row in rows:
                    yield str(row.number), to_wire(row)
                under = rows[-1].number

        response = task_pb2.ListTasksResponse()
        last = await fill_page(response.tasks, found(), page_size)
        if last is not None:
            response.next_page_token = make_page_token(last, question)
        return response

    async def cancel(self, raw: bytes, _: Any) -> task_pb2.CancelTaskResponse:
        """Cancels a task; returns it as it is when that is durable. Raises TaskNotFoundError."""
        request = parse(task_pb2.CancelTaskRequest, raw)
        row = self._tasks.find(request.task_id)
        durable = self._journal.durables.by_id(row.durable)
        if durable is not None and not _has_ended(row):
            self._journal.commits.check_health()
            by, reason = cut_text(request.by), cut_text(request.reason)
            if (waiting := durable.cancel_task(row.id, by, reason)) is not None:
                await self._journal.waiting.cancel(durable.name, WaitingQuery(sequences=(waiting,)), dry_run=False)
                durable.cancel_task(row.id, by, reason)  # somebody may have got it meanwhile, who is told now
            waiter = CommitWaiter()
            self._journal.after_commit(waiter.done)
            await waiter.wait()
            row = self._tasks.find(request.task_id)
        return task_pb2.CancelTaskResponse(task=to_wire(row))


def to_wire(row: TaskRow) -> task_pb2.Task:
    """A task as the wire has it."""
    task = task_pb2.Task(
        task_id=row.id,
        channel=row.channel,
        durable=row.durable_name,
        state=task_pb2.TaskState.Name(row.state),
        created_at=stamp_of(row.created_at),
        updated_at=stamp_of(row.updated_at),
        attempt=row.attempt,
        responder=row.responder,
        cancelling=row.cancelled_by is not None,
        first_event=row.first_event,
        last_event=row.last_event,
    )
    if row.ended_at is not None:
        task.ended_at.CopyFrom(stamp_of(row.ended_at))
    if row.progress is not None:
        task.progress.CopyFrom(life_pb2.LifeEvent.FromString(row.progress).progress)
    if row.end is not None:
        task.end.MergeFromString(row.end)
    return task


def _has_ended(row: TaskRow) -> bool:
    return TaskState(row.state).is_end
