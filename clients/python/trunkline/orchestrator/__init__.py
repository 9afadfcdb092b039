"""The orchestrator: runs agents, reports their events, and serves commands.

orchestrator     Orchestrator; config: its configuration; message_thread: receives messages and commands
registry/        registered agents, their lives, dependencies and restart policies
supervision/     starts, watches, stops and restarts agents
events/          events, callbacks, history
commands/        commands and their answers, the audit log; permissions: allowed commands
fleet/           several orchestrators over a bus and a state store

`Fleet` is loaded when it is first used (PEP 562): it brings the clients of bus and state, which an orchestrator of one
program needs as little as each of its process agents, which load what their program loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline.lazy_names import lazy_names
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
from trunkline.orchestrator.orchestrator import Orchestrator
from trunkline.orchestrator.permissions import PRESETS, Permissions
from trunkline.orchestrator.registry.entry import AgentEntry, Stage
from trunkline.orchestrator.registry.registry import AgentRegistry as Memory
from trunkline.orchestrator.registry.restart import RestartPolicy

if TYPE_CHECKING:
    from trunkline.orchestrator.fleet.fleet import Fleet as Fleet

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

__getattr__, __dir__ = lazy_names(__name__, {"Fleet": "trunkline.orchestrator.fleet.fleet"})
