"""Tasks: all that have not ended, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from trunkline.errors import InvalidMessageError, OverloadedError, TaskNotFoundError
from trunklined.bus.attempts import Reason
from trunklined.bus.description import LifeFormat
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.task import Task
from trunklined.bus.durable.task_life import Event, EventKind, TaskState
from trunklined.bus.records import TaskEventRow, TaskRow

FORGOTTEN_AT_ONCE: Final = 256
"""Tasks that one round of housekeeping forgets."""


class Tasks:
    """Everything that changes here is staged, and so durable with what caused it; whoever waits for it is told then.

    Durable subscriptions say what becomes of their messages, by their number and sequences; most are of no task.

    Args:
        context: what is staged, and the engine that has those that ended.
        format: functions of encoded events.
        maximum: how many are kept.
    """

    def __init__(self, context: JournalContext, format: LifeFormat, maximum: int) -> None:
        self.count = 0
        """How many are kept."""
        self.last = 0
        """The last number that was given to one."""
        self._context = context
        self._format = format
        self._maximum = maximum
        self._open: dict[str, Task] = {}
        self._by_sequence: dict[int, dict[int, Task]] = {}
        """Those that have not ended, by durable subscription and sequence."""
        self._withdrawn: dict[str, Task] = {}
        """Those that ended while their message was held back: it is not to be stored."""
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    def __bool__(self) -> bool:
        """Whether a durable subscription has anything to say here."""
        return bool(self._open or self._withdrawn)

    def load(self, rows: Sequence[TaskRow], last: int, count: int) -> None:
        """Takes up those that were kept."""
        self.last, self.count = last, count
        for row in rows:
            task = Task(row)
            if row.is_withdrawn:
                self._withdrawn[row.id] = task
            else:
                self._add(task)

    # Submitting.

    def submit(self, id: str, channel: str, durable: int, durable_name: str, keep: float) -> Task:
        """Makes a task whose message is about to be stored; see `place` and `forget`.

        Raises:
            OverloadedError: too many are kept, and none of them has ended.
        """
        if self.count >= self._maximum:
            ended = self._context.engine.ended_tasks(None, 1 + self.count - self._maximum)
            if not ended:
                raise OverloadedError(
                    f"{self.count} tasks are kept, and none has ended",
                    details={"limit": "max_tasks", "maximum": self._maximum},
                )
            self._forget(ended)
        self.last += 1
        self.count += 1
        now = self._context.clock()
        task = Task(
            TaskRow(
                *(self.last, id, channel, durable, durable_name, 0, False, keep, now, now, None, TaskState.WAITING),
                *(0, 0, "", None, None, None, "", False, 0, 0, 0, None),
            )
        )
        self._open[id] = task
        return task

    def place(self, task: Task, sequence: int, *, is_held_back: bool) -> None:
        """Notes under which sequence the message of a new task is stored with the next commit."""
        task.change(sequence=sequence, is_held_back=is_held_back)
        if not is_held_back:
            self._add(task)
        self._stage(task)

    def release(self, message_id: str, channel: str, sequence: int) -> bool:
        """Notes that a message that was held back takes its place in the order; returns False where it is the message
        of a task that was cancelled meanwhile: nobody is to get it."""
        task = self._open.get(message_id)
        if task is not None and task.row().channel == channel:
            self._unplace(task)  # where a commit failed, it had another place
            self.place(task, sequence, is_held_back=False)
        gone = self._withdrawn.get(message_id)
        if gone is None or gone.row().channel != channel:
            return True

        def forget() -> None:
            self._withdrawn.pop(message_id, None)

        self._stage(gone, is_withdrawn=False)
        self._context.staging.after.append(forget)
        return False

    def forget(self, task: Task) -> None:
        """Forgets a new one: its message could not be stored."""
        row = task.row()
        self._drop(task)
        self.count -= 1
        self._context.staging.tasks.pop(row.number, None)

    # Reading. What is told is what is durable.

    def find(self, id: str) -> TaskRow:
        """Returns one as it is kept. Raises TaskNotFoundError."""
        row = self._context.engine.task(id)
        if row is None:
            raise TaskNotFoundError(f"there is no task {id!r}", details={"task_id": id})
        return row

    async def wait(self, id: str, seconds: float) -> None:
        """Waits until something in the life of a task is durable that was not; so long at the most."""
        waiter = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(id, set())
        waiters.add(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            pass  # then nothing happened
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiters.get(id) is waiters:
                del self._waiters[id]

    def wake_all(self) -> None:
        """Lets nobody wait any longer: the program stops."""
        for id in list(self._waiters):
            self._wake(id)

    # What subscribers say.

    def reported(self, durable: int, sequence: int, attempt: int) -> int:
        """Returns how many events of an attempt at a message's task were reported."""
        task = self._of(durable, sequence)
        return 0 if task is None or task.row().attempt != attempt else task.row().reported

    def report(self, durable: int, sequence: int, attempt: int, event: Event) -> None:
        """Takes an event of whoever has leased a message. A failure is told by what becomes of the message then.

        Raises:
            InvalidMessageError: progress below what was said.
        """
        task = self._of(durable, sequence)
        if task is None:
            return
        if task.row().attempt != attempt:
            task.change(attempt=attempt, reported=0, progress=None, fraction=None)
        match event.kind:
            case EventKind.ACCEPTED:
                task.change(state=TaskState.RUNNING, responder=event.text)
            case EventKind.PROGRESS:
                self._advance(task, event)
            case EventKind.FAILURE:
                task.last_failure = event.body
                return
            case EventKind.RESULT:
                self._end(task, TaskState.DONE, event.body)
                return
            case EventKind.CANCELLED:
                self._end(task, TaskState.CANCELLED, event.body)
                return
        task.change(reported=task.row().reported + 1)
        self._grow(task, self._format.accepted(event.text, attempt) if event.kind is EventKind.ACCEPTED else event.body)

    def _advance(self, task: Task, event: Event) -> None:
        said = task.row().fraction
        if event.fraction is not None:
            if said is not None and event.fraction < said:
                raise InvalidMessageError(
                    f"progress.fraction is {event.fraction:g}, it was {said:g} already",
                    details={"field": "progress.fraction", "value": f"{event.fraction:g}"},
                )
            task.change(fraction=event.fraction)
        task.change(progress=event.body)

    # What becomes of messages.

    def acked(self, durable: int, sequences: Iterable[int]) -> None:
        """Messages are done: where no end was reported, that is one."""
        for task in self._among(durable, sequences):
            self._end(task, TaskState.DONE, self._format.done())

    def postponed(self, durable: int, sequences: Iterable[int], attempt: int, error: str, until: float) -> None:
        """An attempt at messages ended, and another follows."""
        for task in self._among(durable, sequences):
            task.last_failure = None
            task.change(state=TaskState.WAITING, attempt=attempt)
            self._grow(task, self._format.postponed(attempt, error, until))

    def dead(self, durable: int, sequences: Iterable[int], reason: Reason, error: str) -> None:
        """Messages are dead letters."""
        for task in self._among(durable, sequences):
            failure = task.last_failure or self._format.failure("DeadLetter", error, reason.name)
            self._end(task, TaskState.FAILED, failure)

    def given_up(self, durable: int, sequences: Iterable[int] | None, code: str, text: str) -> None:
        """Messages are never handed out any more; None: all of the durable subscription's."""
        if sequences is None:
            found = [task for task in self._open.values() if task.row().durable == durable]
        else:
            found = self._among(durable, sequences)
        for task in found:
            self._end(task, TaskState.FAILED, self._format.failure("GivenUp", text, code))

    def moved(self, durable: int, position: int, name: str) -> None:
        """A durable subscription goes on at another position: what lies before it is given up, the rest begins anew."""
        tasks = self._by_sequence.get(durable, {})
        self.given_up(durable, [each for each in tasks if each < position], "SKIPPED", f"{name!r} was moved past it")
        for task in list(self._by_sequence.get(durable, {}).values()):
            row = task.row()
            if row.cancelled_by is not None:
                self._end_cancelled(task)
            elif row.state == TaskState.RUNNING:
                self._stage(task, state=TaskState.WAITING)

    # Cancelling.

    def wish_end(self, task: Task, by: str, reason: str) -> None:
        """Notes that somebody cancels one that has not ended; the first who does counts. It ends when whoever has its
        message stops, or `withdrawn` says that nobody has it and nobody gets it; one that is held back ends here."""
        if task.row().cancelled_by is None:
            self._stage(task, cancelled_by=by, cancel_reason=reason)
        if task.row().is_held_back:
            self._withdrawn[task.row().id] = task
            self._end_cancelled(task)
            self._stage(task, is_withdrawn=True)

    def relocate(self, durable: int, sequence: int, to: int, name: str, new_sequence: int) -> None:
        """Notes that a message waits in another durable subscription from now on, under another sequence."""
        task = self._of(durable, sequence)
        if task is not None:
            self._unplace(task)
            task.change(durable=to, durable_name=name)
            self.place(task, new_sequence, is_held_back=False)

    def withdrawn(self, durable: int, sequences: Iterable[int]) -> None:
        """Messages that waited are never handed out: somebody cancelled them."""
        for task in self._among(durable, sequences):
            self._end_cancelled(task)

    def open_task(self, id: str) -> Task | None:
        """Returns one that has not ended."""
        return self._open.get(id)

    def cancelled_by(self, durable: int, sequence: int) -> tuple[str, str] | None:
        """Returns who cancelled the task of a message, and why; None: nobody did."""
        task = self._of(durable, sequence)
        if task is None or (row := task.row()).cancelled_by is None:
            return None
        return row.cancelled_by, row.cancel_reason

    def cancelling(self, durable: int, sequences: Iterable[int]) -> list[int]:
        """Ends those of some messages' tasks that somebody cancelled, since whoever had them has them no more; returns
        their sequences."""
        found = []
        for task in self._among(durable, sequences):
            row = task.row()
            if row.cancelled_by is not None:
                self._end_cancelled(task)
                found.append(row.sequence)
        return found

    # Keeping.

    def tidy(self, now: float) -> int:
        """Forgets those whose time is over; returns how many."""
        over = self._context.engine.ended_tasks(now, FORGOTTEN_AT_ONCE)
        self._forget(over)
        return len(over)

    def _forget(self, numbers: Sequence[int]) -> None:
        forgotten = self._context.staging.forgotten_tasks
        self.count -= sum(number not in forgotten for number in numbers)
        forgotten.update(dict.fromkeys(numbers))
        if numbers:
            self._context.schedule()

    def _of(self, durable: int, sequence: int) -> Task | None:
        return self._by_sequence.get(durable, {}).get(sequence)

    def _among(self, durable: int, sequences: Iterable[int]) -> list[Task]:
        found = self._by_sequence.get(durable)
        if not found:
            return []
        return [found[sequence] for sequence in sequences if sequence in found]

    def _add(self, task: Task) -> None:
        row = task.row()
        self._open[row.id] = task
        if not row.is_held_back:
            self._by_sequence.setdefault(row.durable, {})[row.sequence] = task

    def _drop(self, task: Task) -> None:
        self._open.pop(task.row().id, None)
        self._unplace(task)

    def _unplace(self, task: Task) -> None:
        row = task.row()
        tasks = self._by_sequence.get(row.durable, {})
        if tasks.get(row.sequence) is task:
            del tasks[row.sequence]
            if not tasks:
                del self._by_sequence[row.durable]

    def _end_cancelled(self, task: Task) -> None:
        row = task.row()
        self._end(task, TaskState.CANCELLED, self._format.cancelled(row.cancelled_by or "", row.cancel_reason))

    def _end(self, task: Task, state: TaskState, event: bytes) -> None:
        self._drop(task)
        task.last_failure = None
        task.change(state=state, ended_at=self._context.clock(), cancelled_by=None)
        number = self._grow(task, event)
        row = task.row()
        task.change(end=event + self._format.stamp(number, row.updated_at))

    def _grow(self, task: Task, event: bytes) -> int:
        row, now = task.row(), self._context.clock()
        number, first = task.grow(len(event), now)
        staging = self._context.staging
        staging.task_events.append(TaskEventRow(row.number, number, event + self._format.stamp(number, now)))
        if first > row.first_event:
            staging.forgotten_events[row.number] = first
        self._stage(task)
        return number

    def _stage(self, task: Task, **columns: object) -> None:
        task.change(**columns)
        row = task.row()
        staging = self._context.staging
        if row.number not in staging.tasks:  # who begins to wait before it is durable is told too
            staging.after.append(lambda: self._wake(row.id))
        staging.tasks[row.number] = task
        self._context.schedule()

    def _wake(self, id: str) -> None:
        for waiter in self._waiters.pop(id, ()):
            if not waiter.done():
                waiter.set_result(None)
