"""The orchestrator: runs agents, tells what happens to them, and takes commands.

orchestrator   Orchestrator; config: what it can be told
memory         the registered agents; dependencies: who needs whom
supervisor     starts agents, notices how they end; restart: whether they are started again
events         what is told, and to whom; history: what happened lately
commands       what it is commanded, options: with which arguments
permissions    which commands are served; audit: who gave them
reporting      what it says of itself; resources: what its processes take
"""

from trunkline.orchestrator.config import OrchestratorConfig
from trunkline.orchestrator.errors import (
    AgentExistsError,
    AgentNotFoundError,
    AgentStateError,
    CommandDeniedError,
    CommandError,
    DependencyCycleError,
    DependencyError,
    OrchestratorError,
)
from trunkline.orchestrator.events import EventManager, OrchestratorEvent
from trunkline.orchestrator.history import EventRecord, EventStore
from trunkline.orchestrator.memory import AgentEntry, Memory, Stage
from trunkline.orchestrator.orchestrator import Orchestrator
from trunkline.orchestrator.permissions import PRESETS, Permissions
from trunkline.orchestrator.restart import RestartPolicy

__all__ = [
    "PRESETS",
    "AgentEntry",
    "AgentExistsError",
    "AgentNotFoundError",
    "AgentStateError",
    "CommandDeniedError",
    "CommandError",
    "DependencyCycleError",
    "DependencyError",
    "EventManager",
    "EventRecord",
    "EventStore",
    "Memory",
    "Orchestrator",
    "OrchestratorConfig",
    "OrchestratorError",
    "OrchestratorEvent",
    "Permissions",
    "RestartPolicy",
    "Stage",
]
