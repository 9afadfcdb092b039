"""AgentEvent: the payloads of STATUS messages from an agent to its orchestrator."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from trunkline.models.json import decode_json


class AgentEvent(Enum):
    """The payloads of an agent's STATUS messages."""

    AGENT_START = "agent_started"
    AGENT_READY = "agent_ready"
    AGENT_CLOSE = "agent_close"
    AGENT_HEARTBEAT = "heartbeat"
    AGENT_ERROR = "agent_error"
    """Sent as `ERROR:` and the error's text."""
    AGENT_RESULT = "agent_result"
    """Sent as `RESULT:` and the return value of `execute`, in JSON."""


LIFE_CYCLE: Final = frozenset(
    event.value for event in (AgentEvent.AGENT_START, AgentEvent.AGENT_READY, AgentEvent.AGENT_CLOSE)
)
"""Payloads that change the stage of an agent."""

ERROR_PREFIX: Final = "ERROR:"
RESULT_PREFIX: Final = "RESULT:"


def result_in(payload: str) -> list[Any]:
    """Returns the result in a payload as a list of one; an empty list where the payload has none."""
    if not payload.startswith(RESULT_PREFIX):
        return []
    try:
        return [decode_json(payload.removeprefix(RESULT_PREFIX))]
    except (ValueError, RecursionError):
        return []  # a message of the agent's own that only begins like one
