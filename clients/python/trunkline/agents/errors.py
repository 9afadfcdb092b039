"""What agents raise.

TrunklineError
└── AgentError                  AGENT_ERROR
    ├── AgentStartError         AGENT_START
    ├── RecoverableError        RECOVERABLE
    └── StepInterruptedError    STEP_INTERRUPTED
"""

from __future__ import annotations

from trunkline.errors import TrunklineError


class AgentError(TrunklineError):
    """Anything that went wrong with an agent. Details: agent."""

    error_code = "AGENT_ERROR"


class AgentStartError(AgentError):
    """It cannot be started: it runs already, or cannot be handed to a process. Details: agent."""

    error_code = "AGENT_START"


class RecoverableError(AgentError):
    """Raised by a `cycle` or a `runner` that failed where the next one may well succeed: it is told as an error, and
    the agent goes on."""

    error_code = "RECOVERABLE"


class StepInterruptedError(AgentError):
    """It was asked to stop while it waited to try again. Details: agent."""

    error_code = "STEP_INTERRUPTED"
