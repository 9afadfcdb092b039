"""What an agent tells its orchestrator."""

from __future__ import annotations

from enum import Enum
from typing import Final


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


ERROR_PREFIX: Final = "ERROR:"
RESULT_PREFIX: Final = "RESULT:"
