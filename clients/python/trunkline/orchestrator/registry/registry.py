"""AgentRegistry: the agents of an orchestrator, by name."""

from __future__ import annotations

from typing import Any

from trunkline.agents import AgentConfig, BaseAgent, ConfigValidationError, PluginSet
from trunkline.agents.attributes import check_attributes
from trunkline.errors import OverloadedError
from trunkline.message_channel import Endpoint, MessageChannel
from trunkline.orchestrator.errors import AgentExistsError, AgentNotFoundError, OrchestratorError
from trunkline.orchestrator.limits import MAX_AGENTS, MAX_NAME_LENGTH
from trunkline.orchestrator.registry.entry import AgentEntry
from trunkline.orchestrator.registry.restart import RestartPolicy


class AgentRegistry:
    """The registered agents, by name and in the order of their registration. Any thread may read."""

    def __init__(self) -> None:
        self._agents: dict[str, AgentEntry] = {}

    @property
    def agents(self) -> list[AgentEntry]:
        """All agents."""
        return list(self._agents.values())

    def __contains__(self, name: object) -> bool:
        return name in self._agents

    def __len__(self) -> int:
        return len(self._agents)

    def names(self) -> list[str]:
        """Returns all names."""
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
        """Returns the agent of a name; None where there is none."""
        return self._agents.get(name)

    def get_agent(self, name: str) -> AgentEntry:
        """Returns the agent of a name.

        Raises:
            AgentNotFoundError: no agent of that name is registered.
        """
        entry = self._agents.get(name)
        if entry is None:
            raise AgentNotFoundError(f"no agent {name!r} is registered", details={"agent": name})
        return entry


def _checked(agent_class: type[BaseAgent], name: str, custom_config: AgentConfig | None) -> AgentConfig:
    """Checks the arguments of a registration, and returns the agent's configuration."""
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
    if found := AgentConfig.validate(
        config
    ):  # the fields that the supervisor uses; the agent checks the rest at its start
        raise ConfigValidationError.of(f"the configuration of agent {name!r}", found)
    return config
