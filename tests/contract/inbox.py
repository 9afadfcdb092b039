"""Inbox: a callback that keeps what it was given, and lets a test wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.patience import PATIENCE
from trunkline import AgentMessage


class Inbox:
    """`await bus.subscribe(channel, inbox)`."""

    def __init__(self) -> None:
        self.messages: list[AgentMessage] = []
        self._came = asyncio.Condition()

    async def __call__(self, message: AgentMessage) -> None:
        async with self._came:
            self.messages.append(message)
            self._came.notify_all()

    @property
    def numbers(self) -> list[Any]:
        """The payloads' "n", in the order in which they came; None for one that is no JSON object."""
        return [None if message.data is not None else message.payload.get("n") for message in self.messages]

    async def have(self, count: int, timeout: float = PATIENCE) -> list[AgentMessage]:
        """Returns when `count` messages came."""
        return await self.until(lambda: len(self.messages) >= count, f"{count} messages", timeout)

    async def until(self, reached: Callable[[], bool], what: str, timeout: float = PATIENCE) -> list[AgentMessage]:
        """Returns when something is true of what came."""
        try:
            async with asyncio.timeout(timeout), self._came:
                await self._came.wait_for(reached)
        except TimeoutError:
            raise AssertionError(f"waited for {what}; {len(self.messages)} came: {self.numbers[:50]}") from None
        return self.messages


def numbered(n: object, **words: Any) -> AgentMessage:
    """A message with the payload {"n": n}."""
    return AgentMessage(message_type="status_update", sender_id="tests", payload={"n": n}, **words)
