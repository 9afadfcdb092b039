"""The orchestrator: runs agents, tells what happens to them, and takes commands.

orchestrator   Orchestrator; config: what it can be told
links          the bus and the state store that it is given
memory         the registered agents; life: one run of one; dependencies: who needs whom
supervisor     decides who runs, with
launcher stopping vital_signs restarter worker_queue loop_thread   its parts; restart: the policies
owner          what it asks of its orchestrator
events         what is told, and to whom; callback_pool: where; history: what happened lately
commands       what it is commanded, options: with which arguments
permissions    which commands are served; audit: who gave them
final_failures what becomes of what agents fail of
records        what the state store has of it; recorder: writes that
roster         which orchestrators live; claims: which agents are its own; placement: which of those that may run
membership     anywhere it takes; all together: its part in a fleet
fleet          several orchestrators as one; fleet_view: how they stand
reporting      what it says of itself; resources: what its processes take
"""

from trunkline.orchestrator.config import OrchestratorConfig, RunMode
from trunkline.orchestrator.errors import (
    AgentElsewhereError,
    AgentExistsError,
    AgentFailedError,
    AgentNotFoundError,
    AgentStateError,
    CommandDeniedError,
    CommandError,
    DependencyCycleError,
    DependencyError,
    OrchestratorError,
    OrchestratorExistsError,
    OrchestratorNotFoundError,
)
from trunkline.orchestrator.events.events import EventManager, OrchestratorEvent
from trunkline.orchestrator.events.history import EventRecord, EventStore
from trunkline.orchestrator.fleet.fleet import Fleet
from trunkline.orchestrator.orchestrator import Orchestrator
from trunkline.orchestrator.permissions import PRESETS, Permissions
from trunkline.orchestrator.registry.registry import AgentEntry, Memory, Stage
from trunkline.orchestrator.registry.restart import RestartPolicy

__all__ = [
    "PRESETS",
    "AgentElsewhereError",
    "AgentEntry",
    "AgentExistsError",
    "AgentFailedError",
    "AgentNotFoundError",
    "AgentStateError",
    "CommandDeniedError",
    "CommandError",
    "DependencyCycleError",
    "DependencyError",
    "EventManager",
    "EventRecord",
    "EventStore",
    "Fleet",
    "Memory",
    "Orchestrator",
    "OrchestratorConfig",
    "OrchestratorError",
    "OrchestratorEvent",
    "OrchestratorExistsError",
    "OrchestratorNotFoundError",
    "Permissions",
    "RestartPolicy",
    "RunMode",
    "Stage",
]
