"""Errors of orchestrators.

TrunklineError
└── OrchestratorError           ORCHESTRATOR_ERROR
    ├── AgentExistsError        AGENT_EXISTS
    ├── AgentNotFoundError      AGENT_NOT_FOUND
    ├── AgentStateError         AGENT_STATE
    │   └── AgentElsewhereError AGENT_ELSEWHERE
    ├── AgentFailedError        AGENT_FAILED, or the code of what it failed of
    ├── OrchestratorExistsError ORCHESTRATOR_EXISTS
    ├── OrchestratorNotFoundError  ORCHESTRATOR_NOT_FOUND
    ├── DependencyError         DEPENDENCY
    │   └── DependencyCycleError  DEPENDENCY_CYCLE
    ├── CommandError            INVALID_COMMAND
    └── CommandDeniedError      PERMISSION_DENIED
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trunkline.errors import TrunklineError, from_wire


class OrchestratorError(TrunklineError):
    """Base class of the errors of orchestrators."""

    error_code = "ORCHESTRATOR_ERROR"


class AgentExistsError(OrchestratorError):
    """An agent of that name is registered. Details: agent."""

    error_code = "AGENT_EXISTS"


class AgentNotFoundError(OrchestratorError, ValueError):
    """No agent of that name is registered. Details: agent."""

    error_code = "AGENT_NOT_FOUND"


class AgentStateError(OrchestratorError):
    """The state of an agent does not allow the request. Details: agent, state."""

    error_code = "AGENT_STATE"


class AgentElsewhereError(AgentStateError):
    """Another orchestrator runs the agent. Details: agent, orchestrator."""

    error_code = "AGENT_ELSEWHERE"


class AgentFailedError(OrchestratorError):
    """An agent failed, and is not restarted. Details: agent, orchestrator, lives, restarts."""

    error_code = "AGENT_FAILED"


class OrchestratorExistsError(OrchestratorError):
    """Another orchestrator of that name is alive. Details: orchestrator, host."""

    error_code = "ORCHESTRATOR_EXISTS"


class OrchestratorNotFoundError(OrchestratorError):
    """No orchestrator is alive, or none of that name. Details: orchestrator."""

    error_code = "ORCHESTRATOR_NOT_FOUND"


class DependencyError(OrchestratorError, ValueError):
    """A dependency cannot be met. Details: agent, dependency."""

    error_code = "DEPENDENCY"


class DependencyCycleError(DependencyError):
    """Agents wait for each other. Details: cycle, the names in their order, with the first one again at the end."""

    error_code = "DEPENDENCY_CYCLE"


class CommandError(OrchestratorError):
    """A command does not exist, or does not take these arguments."""

    error_code = "INVALID_COMMAND"


class CommandDeniedError(OrchestratorError):
    """A command is not allowed. Details: command."""

    error_code = "PERMISSION_DENIED"


def from_answer(answer: Mapping[str, Any]) -> TrunklineError:
    """Returns the error of an answer: `{"status": "error", "message": …, "error_code": …}`."""
    message = str(answer.get("message", "the command failed"))
    code = str(answer.get("error_code", CommandError.error_code))
    for cls in _tree(OrchestratorError):
        if cls.error_code == code:
            return cls(message)
    return from_wire(code, message, {})


def _tree(cls: type[OrchestratorError]) -> Iterator[type[OrchestratorError]]:
    yield cls
    for below in cls.__subclasses__():
        yield from _tree(below)
