"""Trunkline asked to carry bytes that were made before: each still goes in a fresh AgentMessage, its only way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from scripts.bench.payload import PAYLOAD
from scripts.bench.peer import Reception
from scripts.bench.peers.ours import Trunkline
from scripts.bench.tally import Tally
from trunkline import AgentMessage, MessageType


class TrunklineBytes(Trunkline):
    """The bytes are the message's `data`; the callback reads them as they are."""

    title = "Trunkline, bytes as data"

    async def subscribe(self, channel: str, count: int) -> Callable[[], Awaitable[Reception]]:
        tally = Tally(count)

        async def on_message(message: AgentMessage) -> None:
            tally.count(message.data or b"")

        await self.bus.subscribe(channel, on_message)
        return tally.reception

    async def publish(self, channel: str, count: int) -> None:
        bus = self.bus
        for _ in range(count):
            message = AgentMessage(message_type=MessageType.TASK_RESULT, sender_id="bench", data=PAYLOAD)
            await bus.publish(channel, message)
        await bus.flush()
