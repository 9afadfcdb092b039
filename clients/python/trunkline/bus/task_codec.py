"""Tasks as the wire has them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline.bus.life import Progress
from trunkline.bus.life_codec import event_of
from trunkline.bus.submitted_task import TaskInfo, TaskState
from trunkline.v1 import task_pb2
from trunkline.wire.times import to_datetime

STATES: Final[Mapping[TaskState, task_pb2.TaskState]] = {
    "waiting": task_pb2.TASK_STATE_WAITING,
    "running": task_pb2.TASK_STATE_RUNNING,
    "done": task_pb2.TASK_STATE_DONE,
    "failed": task_pb2.TASK_STATE_FAILED,
    "cancelled": task_pb2.TASK_STATE_CANCELLED,
}
_STATES_BACK: Final[Mapping[int, TaskState]] = {number: state for state, number in STATES.items()}


def task_from_wire(task: task_pb2.Task) -> TaskInfo:
    """A task as Python users have it."""
    updated_at = to_datetime(task.updated_at.seconds, task.updated_at.nanos)
    progress = None
    if task.HasField("progress"):
        said = task.progress
        fraction = said.fraction if said.HasField("fraction") else None
        progress = Progress(0, updated_at, fraction, said.text)
    return TaskInfo(
        id=task.task_id,
        channel=task.channel,
        durable=task.durable,
        state=_STATES_BACK[task.state],
        created_at=to_datetime(task.created_at.seconds, task.created_at.nanos),
        updated_at=updated_at,
        ended_at=to_datetime(task.ended_at.seconds, task.ended_at.nanos) if task.HasField("ended_at") else None,
        attempt=task.attempt,
        responder=task.responder,
        progress=progress,
        cancelling=task.cancelling,
        first_event=task.first_event,
        last_event=task.last_event,
        end=event_of(task.end) if task.HasField("end") else None,
    )
