"""Problems: what is wrong with an agent, and how much."""

from __future__ import annotations

from typing import Any

from trunkline.orchestrator.limits import MAX_ERROR_REPORTED, MAX_ERRORS_REPORTED
from trunkline.orchestrator.registry.registry import AgentEntry, Stage

_BAD = ("hung", Stage.FAILED.value, Stage.BACKING_OFF.value)
"""States in which somebody should look, the worst first."""


def urgency(entry: AgentEntry) -> int:
    """0 is the worst; agents that are in order, but had errors before, come behind those that are not."""
    state = entry.state
    return _BAD.index(state) if state in _BAD else len(_BAD) + (not entry.errors)


def problem_of(entry: AgentEntry) -> dict[str, Any] | None:
    """What is wrong with an agent, or was; None where nothing ever was."""
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
