"""AgentFactory: makes the agents of an orchestrator."""

from __future__ import annotations

from trunkline import sync
from trunkline.agents import BaseAgent
from trunkline.message_channel import MessageChannel
from trunkline.orchestrator.config import OrchestratorConfig
from trunkline.orchestrator.registry.entry import AgentEntry
from trunkline.orchestrator.registry.life import Life


class AgentFactory:
    """Makes an agent object for each life, and removes the mailbox of an agent that has ended; an `Observer`
    of the supervisor.

    Args:
        channel: the orchestrator's channel; each agent gets an endpoint of it.
        config: has the addresses of bus and state store.
        lent: clients that agents in threads share, in place of the addresses; None where there is no such client.
    """

    def __init__(
        self,
        channel: MessageChannel,
        config: OrchestratorConfig,
        lent: tuple[sync.MessageBus | None, sync.StateManager | None],
    ) -> None:
        self._channel = channel
        self._config = config
        self._lent = lent

    def make(self, entry: AgentEntry) -> BaseAgent:
        """Makes an agent object for one life; called in a thread of its own, since the agent's constructor runs."""
        endpoint = self._channel.endpoint(entry.name, local=entry.kind == "thread")
        has_own = entry.msg_channel is not None and entry.msg_channel is not self._channel
        agent = entry.agent_class(
            msg_channel=entry.msg_channel if has_own else endpoint,
            name=entry.name,
            config=entry.config,
            plugin=entry.plugin,
            bus_address=self._config.bus_address,
            state_address=self._config.state_address,
            **entry.kwargs,
        )
        agent.report_to(endpoint)
        if entry.kind == "thread":
            agent._clients.lend(*self._lent)
        return agent

    def changed(self, entry: AgentEntry) -> None:
        """Removes the mailbox of an agent that has ended: its messages could not be received."""
        if not entry.is_active and entry.has_started and not entry.is_alive():
            self._channel.remove(entry.name)

    def concluded(self, entry: AgentEntry, life: Life) -> None:
        """Does nothing: `changed` comes before it."""
