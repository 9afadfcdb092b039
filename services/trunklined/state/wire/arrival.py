"""Times of arrival: a required time that the writer left unset becomes the time when the record arrived."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, Final

REQUIRED_TIMES: Final[Mapping[str, tuple[str, ...]]] = {
    "AgentPresence": ("announced_at",),
    "AgentState": ("created_at", "updated_at"),
    "TaskResult": ("started_at",),
    "WorkflowState": ("started_at",),
}
"""The required times by the name of the message."""


def with_times(record: Any, now: int) -> bytes:
    """Returns the record encoded anew, with the times that it and the records within it lacked. Times that are set
    stay, and so do fields of newer writers.

    Args:
        record: decoded; it is altered.
        now: UNIX time in nanoseconds.
    """
    within = (
        chain(record.agent_states.values(), record.task_results.values())
        if record.DESCRIPTOR.name == "WorkflowState"
        else ()
    )
    for each in (record, *within):
        for name in REQUIRED_TIMES[each.DESCRIPTOR.name]:
            if not each.HasField(name):
                getattr(each, name).FromNanoseconds(now)
    encoded: bytes = record.SerializeToString()
    return encoded
