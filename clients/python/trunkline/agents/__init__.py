"""Agents: work that runs in a thread or a process, says how it fares, and ends when it is asked to.

base           BaseAgent, the life of an agent; looping, periodic: agents with a rhythm
config         what they are told; validation: what is wrong with it
events         what they tell their orchestrator; voice: how; state_events: what has happened by now
vessel         what they run in; stop_request: that they shall end
heart          their heartbeats; steps: their work, tried again and counted
plugins        what they take along; clients: the bus and the state store
logger         where they say what they do
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
