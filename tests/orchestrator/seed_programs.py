"""Programs that somebody has: they do to an orchestrator what the description of the MessageChannel shows."""

from __future__ import annotations

import threading
from typing import Any

from tests.patience import PATIENCE
from trunkline import MessageChannel, ServiceMessage
from trunkline.agents import AgentConfig, AgentEvent, BaseAgent, BaseThreadAgent
from trunkline.message_channel import (
    Endpoint,
)
from trunkline.orchestrator import AgentEntry, Orchestrator, OrchestratorEvent


class AsShown(Orchestrator):
    """A program that somebody has: it registers as the document shows it."""

    def register_agent(
        self,
        agent_class: type[BaseAgent],
        name: str,
        custom_config: AgentConfig | None = None,
        msg_channel: MessageChannel | Endpoint | None = None,
        **kwargs: Any,
    ) -> AgentEntry:
        agent_entry: AgentEntry = self.memory.add_agent(
            agent_class=agent_class,
            name=name,
            custom_config=custom_config,
            msg_channel=msg_channel or self.msg_channel,
            **kwargs,
        )
        return agent_entry


class Listener(BaseThreadAgent):
    """Waits for one message, and tells it."""

    def execute(self) -> str:
        message = self.msg_channel.receive(timeout=PATIENCE)
        assert message is not None
        return f"{message.sender}: {message.payload}"


class Overridden(Orchestrator):
    """A program that somebody has: it does exactly what the document shows, without the base class."""

    def handle_agent_message(self, msg: ServiceMessage) -> None:
        if msg.type == "STATUS":
            if msg.payload == AgentEvent.AGENT_CLOSE.value:
                self.event_manager.emit(OrchestratorEvent.AGENT_TERMINATED, agent_name=msg.sender)
            elif msg.payload == AgentEvent.AGENT_START.value:
                self.event_manager.emit(OrchestratorEvent.AGENT_STARTED, agent_name=msg.sender)


class Extended(Orchestrator):
    """A program that somebody has: it looks at each message, then lets the base class do its work."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[tuple[str, str]] = []
        super().__init__(*args, **kwargs)

    def handle_agent_message(self, msg: ServiceMessage) -> None:
        self.seen.append((msg.sender, msg.payload))
        super().handle_agent_message(msg)


class Counted(Orchestrator):
    """A program that somebody has: it starts the message thread as the document shows it."""

    rounds = 0

    def _start_message_thread(self) -> None:
        self._message_thread_running = True
        self._message_thread = threading.Thread(
            target=self._message_thread_function, daemon=True, name="OrchestratorMessageThread"
        )
        self._message_thread.start()

    def _message_thread_function(self) -> None:
        self.rounds += 1
        super()._message_thread_function()
