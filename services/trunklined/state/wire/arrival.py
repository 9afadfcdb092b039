"""Arrival: the times that a record must have and that its writer left unset become the time when it arrived."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, Final

REQUIRED_TIMES: Final[Mapping[str, tuple[str, ...]]] = {
    "AgentState": ("created_at", "updated_at"),
    "TaskResult": ("started_at",),
    "WorkflowState": ("started_at",),
}
"""By the name of the message."""


def with_times(record: Any, now: int) -> bytes:
    """The record encoded anew, with what it and the records within it lacked; what was set stays, and so do fields
    that only newer writers know.

    Args:
        record: decoded; it is changed.
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
