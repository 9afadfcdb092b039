"""AgentEntry: one registered agent."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from trunkline.agents import AgentConfig, BaseAgent, PluginSet, StateEvents
from trunkline.message_channel import Endpoint, MessageChannel
from trunkline.orchestrator.limits import MAX_ERRORS_KEPT
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.restart import RestartPolicy, Restarts


class Stage(StrEnum):
    """Stage of an agent's life cycle."""

    REGISTERED = "registered"
    WAITING = "waiting"
    """In the queue, until a worker is free and its dependencies are ready."""
    STARTED = "started"
    READY = "ready"
    STOPPING = "stopping"
    BACKING_OFF = "backing_off"
    """Ended, and restarted after a delay."""
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"


ACTIVE = frozenset({Stage.WAITING, Stage.STARTED, Stage.READY, Stage.STOPPING, Stage.BACKING_OFF})
"""Stages of an agent that runs, or will run without another request."""


class AgentEntry:
    """One registered agent: its class and arguments, and its present state."""

    def __init__(
        self,
        agent_class: type[BaseAgent],
        name: str,
        config: AgentConfig,
        plugin: PluginSet | None,
        msg_channel: MessageChannel | Endpoint | None,
        restart: RestartPolicy,
        kwargs: dict[str, Any],
    ) -> None:
        self.agent_class = agent_class
        self.name = name
        self.config = config
        self.plugin = plugin
        """Replaces the class's own `Plugin`; None: not replaced."""
        self.msg_channel = msg_channel
        """Channel of the agent; None: an endpoint of the orchestrator's channel."""
        self.kwargs = kwargs
        self.is_spread = False
        """Whether the agent may run on any orchestrator of the fleet that has it registered."""
        self.restarts = Restarts(restart)
        self.stage = Stage.REGISTERED
        self.state_events = StateEvents()
        """Life cycle events of the present or last life, to be waited for."""
        self.life: Life | None = None
        self.last_heartbeat: datetime | None = None
        self.error_count = 0
        self.errors: deque[tuple[datetime, str]] = deque(maxlen=MAX_ERRORS_KEPT)
        self.reason: str | None = None
        """Reason of the present stage; None where there is none to give."""

    @property
    def kind(self) -> str:
        """Kind of the agent: "thread" or "process"."""
        return self.agent_class.a_type

    @property
    def instance(self) -> BaseAgent | None:
        """Agent object of the present or last life; None before the first."""
        return None if self.life is None else self.life.instance

    def is_alive(self) -> bool:
        """Tells whether the thread or process of the agent runs."""
        return self.instance is not None and self.instance.is_alive()

    @property
    def state(self) -> str:
        """State in a word: the stage, or "hung"."""
        return "hung" if self.is_hung else self.stage.value

    @property
    def is_broken(self) -> bool:
        """Whether the agent will not become ready without another request."""
        return self.stage in (Stage.FAILED, Stage.STOPPED) or self.is_hung

    @property
    def is_hung(self) -> bool:
        """Whether the agent runs, but was given up."""
        return self.life is not None and self.life.verdict is not None and not self.life.has_ended

    @property
    def has_started(self) -> bool:
        """Whether the agent was ever started."""
        return self.life is not None

    @property
    def in_queue(self) -> bool:
        """Whether the agent waits in the queue."""
        return self.stage == Stage.WAITING

    @property
    def is_active(self) -> bool:
        """Whether the agent runs, or will run without another request."""
        return self.stage in ACTIVE

    @property
    def pid(self) -> int | None:
        """Process id; None for a thread, and while there is no process."""
        return self.instance.pid if self.instance is not None and self.is_alive() else None

    def note_error(self, message: str) -> None:
        """Counts an error, and keeps it among the newest."""
        self.error_count += 1
        self.errors.append((datetime.now(UTC), message))

    def status(self) -> dict[str, Any]:
        """Returns the answer of `status NAME`, but the dependencies."""
        return {
            "name": self.name,
            "alive": self.is_alive(),
            "started": self.has_started,
            "in_queue": self.in_queue,
            "state": self.state,
            "kind": self.kind,
            "class": self.agent_class.__name__,
            "pid": self.pid,
            "restarts": self.restarts.count,
            "restart_policy": self.restarts.policy.when,
            "errors": self.error_count,
            "last_error": self.errors[-1][1] if self.errors else None,
            "reason": self.reason,
            "last_heartbeat": None if self.last_heartbeat is None else self.last_heartbeat.isoformat(),
            "started_at": None if self.life is None else self.life.started_at.isoformat(),
            "ended_at": None if self.life is None or self.life.ended_at is None else self.life.ended_at.isoformat(),
            "result": None if self.life is None else self.life.result,
        }
