"""Letters: what one agent, or the bus about its subscription, says on the channels for failures."""

from __future__ import annotations

from typing import Any

from tests.contract.inbox import Inbox
from trunkline import AgentMessage, MessageBus


class Letters(Inbox):
    """Of those that others say too, only what concerns this name.

    Args:
        name: of the agent and its durable subscription.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    async def __call__(self, message: AgentMessage) -> None:
        if self._name in (message.sender_id, entry_of(message).get("durable")):
            await super().__call__(message)

    async def listen(self, bus: MessageBus, *channels: str) -> Letters:
        """Itself, subscribed."""
        for channel in channels:
            await bus.subscribe(channel, self)
        return self


def entry_of(message: AgentMessage) -> dict[str, Any]:
    """The entry that a message tells of."""
    entry = message.payload["entry"]
    assert isinstance(entry, dict)
    return entry
