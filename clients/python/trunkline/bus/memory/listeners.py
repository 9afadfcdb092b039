"""MemoryListeners: who listens live to a bus in memory, and what is said to them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass

from trunkline.bus.codec import decode_message
from trunkline.bus.memory.stream import MemoryStream
from trunkline.bus.message_bus import MessageCallback
from trunkline.channels import matches
from trunkline.errors import BusNotConnectedError
from trunkline.models import AgentMessage
from trunkline.v1 import message_pb2

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Listener:
    """One live subscription."""

    pattern: str
    group: str | None
    callback: MessageCallback
    stream: MemoryStream | None = None
    """What its callback fills, if it is an iterator."""
    observer: bool = False
    running: int = 0
    """Callbacks that run now."""

    @property
    def load(self) -> int:
        """How busy it is."""
        return self.running + (len(self.stream) if self.stream is not None else 0)


class MemoryListeners:
    """All live subscriptions of one bus."""

    def __init__(self) -> None:
        self._all: list[Listener] = []
        self._turns: Counter[tuple[str, str]] = Counter()

    def add(self, listener: Listener) -> None:
        """In effect on return."""
        self._all.append(listener)

    def remove(self, listener: Listener) -> None:
        """Idempotent."""
        if listener in self._all:
            self._all.remove(listener)
        if listener.stream is not None:
            listener.stream.end(None)

    def remove_all(self, pattern: str) -> None:
        """Removes those of a pattern."""
        for listener in [each for each in self._all if each.pattern == pattern]:
            self.remove(listener)

    def clear(self) -> None:
        """The bus was disconnected."""
        for listener in self._all:
            if listener.stream is not None:
                listener.stream.end(BusNotConnectedError("the bus was disconnected"))
        self._all.clear()
        self._turns.clear()

    def can_answer(self, channel: str) -> bool:
        """Whether there is somebody who could answer a request."""
        return any(matches(each.pattern, channel) and not each.observer for each in self._all)

    async def tell(self, channel: str, wire: message_pb2.Message) -> None:
        """Gives everybody a copy of a message; returns when all callbacks are done."""
        deliveries = [_deliver(each, decode_message(wire)) for each in self._recipients(channel)]
        if len(deliveries) == 1:
            await deliveries[0]
        elif deliveries:
            await asyncio.gather(*deliveries)

    def _recipients(self, channel: str) -> list[Listener]:
        """Everyone without a group, and of each group the freest; among equals, whose turn it is."""
        found: list[Listener] = []
        groups: dict[tuple[str, str], list[Listener]] = {}
        for each in self._all:
            if matches(each.pattern, channel):
                if each.group is None:
                    found.append(each)
                else:
                    groups.setdefault((each.pattern, each.group), []).append(each)
        for key, members in groups.items():
            turn = self._turns[key] % len(members)
            self._turns[key] += 1
            found.append(min(members[turn:] + members[:turn], key=lambda member: member.load))
        return found


async def _deliver(listener: Listener, message: AgentMessage) -> None:
    listener.running += 1
    try:
        await listener.callback(message)
    except Exception:
        log.exception(
            "callback of %r failed on message %s from %s", listener.pattern, message.message_id, message.sender_id
        )
    finally:
        listener.running -= 1
