"""Errors of agents.

TrunklineError
└── AgentError                  AGENT_ERROR
    ├── AgentStartError         AGENT_START
    ├── RecoverableError        RECOVERABLE
    └── StepInterruptedError    STEP_INTERRUPTED
"""

from __future__ import annotations

from trunkline.errors import TrunklineError


class AgentError(TrunklineError):
    """Base class of the errors of agents. Details: agent."""

    error_code = "AGENT_ERROR"


class AgentStartError(AgentError):
    """An agent cannot be started: it runs already, or cannot be handed to a process. Details: agent."""

    error_code = "AGENT_START"


class RecoverableError(AgentError):
    """Raised by a `cycle` or a `runner` of which the next call may succeed: it is reported as an error, and the agent
    goes on."""

    error_code = "RECOVERABLE"


class StepInterruptedError(AgentError):
    """An agent was stopped while it waited for its next try. Details: agent."""

    error_code = "STEP_INTERRUPTED"
