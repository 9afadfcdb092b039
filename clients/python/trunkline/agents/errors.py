"""What agents raise.

TrunklineError
└── AgentError              AGENT_ERROR
    └── AgentStartError     AGENT_START
"""

from __future__ import annotations

from trunkline.errors import TrunklineError


class AgentError(TrunklineError):
    """Anything that went wrong with an agent. Details: agent."""

    error_code = "AGENT_ERROR"


class AgentStartError(AgentError):
    """It cannot be started: it runs already, or cannot be handed to a process. Details: agent."""

    error_code = "AGENT_START"
