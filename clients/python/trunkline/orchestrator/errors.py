"""What an orchestrator raises.

TrunklineError
└── OrchestratorError           ORCHESTRATOR_ERROR
    ├── AgentExistsError        AGENT_EXISTS
    ├── AgentNotFoundError      AGENT_NOT_FOUND
    ├── AgentStateError         AGENT_STATE
    ├── DependencyError         DEPENDENCY
    │   └── DependencyCycleError  DEPENDENCY_CYCLE
    ├── CommandError            INVALID_COMMAND
    └── CommandDeniedError      PERMISSION_DENIED
"""

from __future__ import annotations

from trunkline.errors import TrunklineError


class OrchestratorError(TrunklineError):
    """Anything that went wrong with an orchestrator."""

    error_code = "ORCHESTRATOR_ERROR"


class AgentExistsError(OrchestratorError):
    """An agent of that name is registered. Details: agent."""

    error_code = "AGENT_EXISTS"


class AgentNotFoundError(OrchestratorError):
    """No agent of that name is registered. Details: agent."""

    error_code = "AGENT_NOT_FOUND"


class AgentStateError(OrchestratorError):
    """What was asked of the agent does not go with the state that it is in. Details: agent, state."""

    error_code = "AGENT_STATE"


class DependencyError(OrchestratorError, ValueError):
    """A dependency that cannot be met. Details: agent, dependency."""

    error_code = "DEPENDENCY"


class DependencyCycleError(DependencyError):
    """Agents that wait for each other. Details: cycle, the names in their order, the first one again at the end."""

    error_code = "DEPENDENCY_CYCLE"


class CommandError(OrchestratorError):
    """A command that does not exist, or with arguments that it does not take."""

    error_code = "INVALID_COMMAND"


class CommandDeniedError(OrchestratorError):
    """A command that is not allowed here. Details: command."""

    error_code = "PERMISSION_DENIED"
