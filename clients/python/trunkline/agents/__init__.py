"""Agents: work that runs in a thread or a process, reports its status, and ends on request.

base             BaseAgent, the life of an agent; looping, periodic: agents that repeat their work
config           configurations; validation: findings about them
events           STATUS payloads; status_reporter: sends them; state_events: life cycle events to wait for
runner           the thread or process of an agent; stop_request: the request to end
heartbeat        heartbeats; step_runner: steps of the work, with retries and a circuit breaker
plugins          objects with a life as long as the agent's; clients: the bus and the state store
logger           logging
"""

from trunkline.agents.base import BaseAgent, BaseProcessAgent, BaseThreadAgent
from trunkline.agents.config import AgentConfig, ComponentConfig, LoopingConfig, PeriodicConfig
from trunkline.agents.errors import AgentError, AgentStartError, RecoverableError
from trunkline.agents.events import AgentEvent
from trunkline.agents.logger import AgentLogger, LoggerConfig
from trunkline.agents.looping import LoopingAgent, LoopingProcessAgent, LoopingThreadAgent
from trunkline.agents.periodic import PeriodicAgent, PeriodicProcessAgent, PeriodicThreadAgent
from trunkline.agents.plugins import PluginSet
from trunkline.agents.state_events import ControlEvents, StateEvents
from trunkline.agents.validation import (
    ConfigValidationError,
    ValidationPolicy,
    ValidationResult,
    ValidationSeverity,
)

__all__ = [
    "AgentConfig",
    "AgentError",
    "AgentEvent",
    "AgentLogger",
    "AgentStartError",
    "BaseAgent",
    "BaseProcessAgent",
    "BaseThreadAgent",
    "ComponentConfig",
    "ConfigValidationError",
    "ControlEvents",
    "LoggerConfig",
    "LoopingAgent",
    "LoopingConfig",
    "LoopingProcessAgent",
    "LoopingThreadAgent",
    "PeriodicAgent",
    "PeriodicConfig",
    "PeriodicProcessAgent",
    "PeriodicThreadAgent",
    "PluginSet",
    "RecoverableError",
    "StateEvents",
    "ValidationPolicy",
    "ValidationResult",
    "ValidationSeverity",
]
