"""AgentOwner: makes an orchestrator's agents, and passes on what happens to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trunkline.agents import BaseAgent
from trunkline.orchestrator.events.events import OrchestratorEvent
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentEntry

if TYPE_CHECKING:
    from trunkline.orchestrator.orchestrator import Orchestrator


class AgentOwner:
    """What the `Supervisor` asks."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._of = orchestrator

    def make(self, entry: AgentEntry) -> BaseAgent:
        """A new object of an agent, for one life."""
        channel = self._of.msg_channel
        endpoint = channel.endpoint(entry.name, local=entry.kind == "thread")
        has_own = entry.msg_channel is not None and entry.msg_channel is not channel
        agent = entry.agent_class(
            msg_channel=entry.msg_channel if has_own else endpoint,
            name=entry.name,
            config=entry.config,
            plugin=entry.plugin,
            bus_address=self._of.config.bus_address,
            state_address=self._of.config.state_address,
            **entry.kwargs,
        )
        agent.report_to(endpoint)
        if entry.kind == "thread":
            agent._clients.lend(*self._of.links.lent)
        return agent

    def tell(self, event: OrchestratorEvent, entry: AgentEntry | None, **facts: Any) -> None:
        """Something happened: callbacks are called, and the history keeps it."""
        self._of.announcer.tell(event, None if entry is None else entry.name, **facts)

    def when_heard(self, action: Callable[[], object]) -> None:
        """Calls an action when everything was heard that agents have said by now."""
        self._of.when_heard(action)

    def is_stuck(self) -> bool:
        """Whether the message thread is busy with one message."""
        return self._of.is_stuck()

    def changed(self, entry: AgentEntry) -> None:
        """An agent stands elsewhere than before."""
        if not entry.is_active and entry.has_started and not entry.is_alive():
            self._of.msg_channel.remove(entry.name)  # nobody is there to receive
        self._of.member.changed(entry)

    def concluded(self, entry: AgentEntry, life: Life) -> None:
        """A life of an agent is over."""
        self._of.member.concluded(entry, life)
