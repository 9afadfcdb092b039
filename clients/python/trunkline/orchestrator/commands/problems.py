"""Problems of agents, for reports."""

from __future__ import annotations

from typing import Any

from trunkline.orchestrator.limits import MAX_ERROR_REPORTED, MAX_ERRORS_REPORTED
from trunkline.orchestrator.registry.entry import AgentEntry, Stage

_BAD = ("hung", Stage.FAILED.value, Stage.BACKING_OFF.value)
"""States that need attention, the worst first."""


def urgency(entry: AgentEntry) -> int:
    """Returns the rank of an agent in a report, 0 for the worst: bad states, then earlier errors, then the others."""
    state = entry.state
    return _BAD.index(state) if state in _BAD else len(_BAD) + (not entry.errors)


def problem_of(entry: AgentEntry) -> dict[str, Any] | None:
    """Returns the present or past problem of an agent; None where it never had one."""
    state = entry.state
    if state not in _BAD and not entry.errors:
        return None
    return {
        "agent": entry.name,
        "state": state,
        "is_over": state not in _BAD,
        "reason": None if entry.reason is None else entry.reason[:MAX_ERROR_REPORTED],
        "errors": entry.error_count,
        "restarts": entry.restarts.count,
        "recent_errors": [
            {"time": at.isoformat(timespec="milliseconds"), "error": message[:MAX_ERROR_REPORTED]}
            for at, message in list(entry.errors)[-MAX_ERRORS_REPORTED:]
        ],
    }
