"""Memory: the agents that an orchestrator knows."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from trunkline.agents import AgentConfig, BaseAgent
from trunkline.errors import OverloadedError
from trunkline.message_channel import Endpoint, MessageChannel
from trunkline.orchestrator.errors import AgentExistsError, AgentNotFoundError, OrchestratorError
from trunkline.orchestrator.limits import MAX_AGENTS, MAX_ERRORS_KEPT
from trunkline.orchestrator.restart import RestartPolicy, Restarts


class Stage(StrEnum):
    """Where an agent stands."""

    REGISTERED = "registered"
    WAITING = "waiting"
    """In the queue: for a free worker, or for what it depends on."""
    STARTED = "started"
    READY = "ready"
    STOPPING = "stopping"
    BACKING_OFF = "backing_off"
    """It failed, and is started again in a moment."""
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"


ACTIVE = frozenset({Stage.WAITING, Stage.STARTED, Stage.READY, Stage.STOPPING, Stage.BACKING_OFF})
"""It runs, or it will without anybody's doing."""


@dataclass(slots=True)
class Life:
    """One run of an agent, from its start to its end. Written by the supervisor's and the message thread."""

    number: int
    started_at: datetime
    ended_at: datetime | None = None
    failure: str | None = None
    """What it ended of; None while it runs, and where it ended well."""
    result: Any = None
    """What its `execute` returned."""
    last_seen: float = field(default_factory=time.monotonic)
    """When something was last heard of it, by the monotonic clock."""
    is_closed: bool = False
    """It has said its last word."""
    said_error: bool = False
    doom: str | None = None
    """Why it was given up: hung, or never ready."""
    has_ended: bool = False
    """Its thread or process is gone."""


class AgentEntry:
    """One registered agent: what it is made of, and how it fares."""

    def __init__(
        self,
        agent_class: type[BaseAgent],
        name: str,
        config: AgentConfig,
        msg_channel: MessageChannel | Endpoint | None,
        restart: RestartPolicy,
        kwargs: dict[str, Any],
    ) -> None:
        self.agent_class = agent_class
        self.name = name
        self.config = config
        self.msg_channel = msg_channel
        """A channel that it was given at its registration; None: the orchestrator's."""
        self.kwargs = kwargs
        self.restarts = Restarts(restart)
        self.stage = Stage.REGISTERED
        self.instance: BaseAgent | None = None
        """Of its present or last life."""
        self.life: Life | None = None
        self.last_heartbeat: datetime | None = None
        self.error_count = 0
        self.errors: deque[tuple[datetime, str]] = deque(maxlen=MAX_ERRORS_KEPT)
        self.reason: str | None = None
        """Why it stands where it stands, where that is not plain."""

    @property
    def kind(self) -> str:
        """ "thread" or "process"."""
        return self.agent_class.a_type

    def is_alive(self) -> bool:
        """Whether its thread or process runs."""
        return self.instance is not None and self.instance.is_alive()

    @property
    def is_hung(self) -> bool:
        """Whether it runs, but was given up."""
        return self.life is not None and self.life.doom is not None and not self.life.has_ended

    @property
    def has_started(self) -> bool:
        """Whether it was ever started."""
        return self.life is not None

    @property
    def in_queue(self) -> bool:
        """Whether it waits for its turn."""
        return self.stage == Stage.WAITING

    @property
    def is_active(self) -> bool:
        """Whether it runs, or will without anybody's doing."""
        return self.stage in ACTIVE

    @property
    def pid(self) -> int | None:
        """Of its process; None for a thread, and while there is none."""
        return self.instance.pid if self.instance is not None and self.is_alive() else None

    def note_error(self, message: str) -> None:
        """Counts and keeps an error."""
        self.error_count += 1
        self.errors.append((datetime.now(UTC), message))

    def status(self) -> dict[str, Any]:
        """What `status NAME` says of it, but its dependencies."""
        return {
            "name": self.name,
            "alive": self.is_alive(),
            "started": self.has_started,
            "in_queue": self.in_queue,
            "state": "hung" if self.is_hung else self.stage.value,
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


class Memory:
    """The registered agents, by name and in the order of their registration. Any thread may read."""

    def __init__(self) -> None:
        self._agents: dict[str, AgentEntry] = {}

    @property
    def agents(self) -> list[AgentEntry]:
        """All of them."""
        return list(self._agents.values())

    def __contains__(self, name: object) -> bool:
        return name in self._agents

    def __len__(self) -> int:
        return len(self._agents)

    def names(self) -> list[str]:
        """Their names."""
        return list(self._agents)

    def add_agent(
        self,
        agent_class: type[BaseAgent],
        name: str,
        custom_config: AgentConfig | None = None,
        msg_channel: MessageChannel | Endpoint | None = None,
        restart: RestartPolicy | None = None,
        **kwargs: Any,
    ) -> AgentEntry:
        """Registers an agent; see `Orchestrator.register_agent`."""
        if not (isinstance(agent_class, type) and issubclass(agent_class, BaseAgent)):
            raise TypeError(f"agent_class must be a subclass of BaseAgent, not {agent_class!r}")
        if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
            raise OrchestratorError(f"name must be printable text without blanks around it, not {name!r}")
        if name in self._agents:
            raise AgentExistsError(f"an agent {name!r} is registered already", details={"agent": name})
        if len(self._agents) >= MAX_AGENTS:
            raise OverloadedError(
                f"{MAX_AGENTS} agents are registered", details={"limit": "max_agents", "maximum": MAX_AGENTS}
            )
        config = agent_class.Config() if custom_config is None else custom_config
        entry = AgentEntry(agent_class, name, config, msg_channel, restart or RestartPolicy(), kwargs)
        self._agents[name] = entry
        return entry

    def get_agent(self, name: str) -> AgentEntry:
        """The agent of that name.

        Raises:
            AgentNotFoundError: there is none.
        """
        entry = self._agents.get(name)
        if entry is None:
            raise AgentNotFoundError(f"no agent {name!r} is registered", details={"agent": name})
        return entry
