"""Memory: the agents that an orchestrator knows."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from trunkline.agents import AgentConfig, BaseAgent, ConfigValidationError, PluginSet, StateEvents
from trunkline.agents.attributes import check_attributes
from trunkline.errors import OverloadedError
from trunkline.message_channel import Endpoint, MessageChannel
from trunkline.orchestrator.errors import AgentExistsError, AgentNotFoundError, OrchestratorError
from trunkline.orchestrator.limits import MAX_AGENTS, MAX_ERRORS_KEPT, MAX_NAME_LENGTH
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.restart import RestartPolicy, Restarts


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


class AgentEntry:
    """One registered agent: what it is made of, and how it fares."""

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
        """What it was given in place of its class's own `Plugin`."""
        self.msg_channel = msg_channel
        """What it speaks through; None: an endpoint of the orchestrator's channel."""
        self.kwargs = kwargs
        self.is_spread = False
        """Whether it may run on any orchestrator of the fleet that knows it."""
        self.restarts = Restarts(restart)
        self.stage = Stage.REGISTERED
        self.state_events = StateEvents()
        """What has happened in its present or last life, to be waited for."""
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

    @property
    def instance(self) -> BaseAgent | None:
        """Its object of its present or last life; None before the first."""
        return None if self.life is None else self.life.instance

    def is_alive(self) -> bool:
        """Whether its thread or process runs."""
        return self.instance is not None and self.instance.is_alive()

    @property
    def state(self) -> str:
        """Where it stands, in a word: its stage, or "hung"."""
        return "hung" if self.is_hung else self.stage.value

    @property
    def is_broken(self) -> bool:
        """Whether it will not become ready any more, unless somebody does something."""
        return self.stage in (Stage.FAILED, Stage.STOPPED) or self.is_hung

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
        custom_plugin: PluginSet | None = None,
        msg_channel: MessageChannel | Endpoint | None = None,
        restart: RestartPolicy | None = None,
        **kwargs: Any,
    ) -> AgentEntry:
        """Registers an agent; see `Orchestrator.register_agent`."""
        config = _checked(agent_class, name, custom_config)
        check_attributes(BaseAgent, name, kwargs)
        if name in self._agents:
            raise AgentExistsError(f"an agent {name!r} is registered already", details={"agent": name})
        if len(self._agents) >= MAX_AGENTS:
            raise OverloadedError(
                f"{MAX_AGENTS} agents are registered", details={"limit": "max_agents", "maximum": MAX_AGENTS}
            )
        entry = AgentEntry(agent_class, name, config, custom_plugin, msg_channel, restart or RestartPolicy(), kwargs)
        self._agents[name] = entry
        return entry

    def find(self, name: str) -> AgentEntry | None:
        """The agent of that name; None where there is none."""
        return self._agents.get(name)

    def get_agent(self, name: str) -> AgentEntry:
        """The agent of that name.

        Raises:
            AgentNotFoundError: there is none.
        """
        entry = self._agents.get(name)
        if entry is None:
            raise AgentNotFoundError(f"no agent {name!r} is registered", details={"agent": name})
        return entry


def _checked(agent_class: type[BaseAgent], name: str, custom_config: AgentConfig | None) -> AgentConfig:
    """The configuration of an agent that can be registered so."""
    if not (isinstance(agent_class, type) and issubclass(agent_class, BaseAgent)):
        raise TypeError(f"agent_class must be a subclass of BaseAgent, not {agent_class!r}")
    missing = sorted(agent_class.__abstractmethods__)
    if missing:
        raise TypeError(f"{agent_class.__name__} must say what {' and '.join(f'{each}()' for each in missing)} does")
    if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
        raise OrchestratorError(f"name must be printable text without blanks around it, not {name!r}")
    if len(name) > MAX_NAME_LENGTH:
        raise OrchestratorError(
            f"name has {len(name)} characters, at most {MAX_NAME_LENGTH} are allowed: {name[:40]!r}…",
            details={"length": len(name), "maximum": MAX_NAME_LENGTH},
        )
    config = agent_class.Config() if custom_config is None else custom_config
    if not isinstance(config, AgentConfig):
        raise TypeError(f"the configuration of agent {name!r} must be an AgentConfig, not {config!r}")
    if found := AgentConfig.validate(config):  # what the supervisor goes by; the agent checks the rest when it starts
        raise ConfigValidationError.of(f"the configuration of agent {name!r}", found)
    return config
