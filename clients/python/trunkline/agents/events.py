"""What an agent tells its orchestrator."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Final


class AgentEvent(Enum):
    """The payloads of an agent's STATUS messages."""

    AGENT_START = "agent_started"
    AGENT_READY = "agent_ready"
    AGENT_CLOSE = "agent_close"
    AGENT_HEARTBEAT = "heartbeat"
    AGENT_ERROR = "agent_error"
    """Said as `ERROR:` and what went wrong."""
    AGENT_RESULT = "agent_result"
    """Said as `RESULT:` and what `execute` returned, in JSON."""


LIFE_CYCLE: Final = frozenset(
    event.value for event in (AgentEvent.AGENT_START, AgentEvent.AGENT_READY, AgentEvent.AGENT_CLOSE)
)
"""Payloads that say where an agent stands."""

ERROR_PREFIX: Final = "ERROR:"
RESULT_PREFIX: Final = "RESULT:"


def result_in(payload: str) -> list[Any]:
    """The result that a payload tells, alone in a list; an empty one where it tells none."""
    if not payload.startswith(RESULT_PREFIX):
        return []
    try:
        return [json.loads(payload.removeprefix(RESULT_PREFIX))]
    except ValueError:
        return []  # text of the agent's own that only begins so
