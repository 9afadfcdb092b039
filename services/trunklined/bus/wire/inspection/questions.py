"""Questions: puts what people ask to all replicas, of which each answers for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from trunklined.bus.broker import Broker
from trunklined.bus.replicas.peers import Replica

ANSWER_SECONDS: Final = 1.0
"""What another replica gets to answer."""

OwnPart = Callable[[bytes], Awaitable[bytes]]
"""Makes a replica's own part of an answer from the encoded request."""


class Part(NamedTuple):
    """What one replica says."""

    replica: Replica
    encoded: bytes | None
    """None: it did not answer in time, or could not."""


class Questions:
    """Knows the parts of this replica by the names of their questions, and asks the others for theirs.

    Args:
        broker: whose replicas they are; it is told how this one answers.
        parts: by name.
    """

    def __init__(self, broker: Broker, parts: Mapping[str, OwnPart]) -> None:
        self._broker = broker
        self._parts = parts
        broker.answer = self._answer

    async def _answer(self, name: str, request: bytes) -> bytes | None:
        part = self._parts.get(name)
        return None if part is None else await part(request)  # a newer replica asks what this one does not know

    async def ask(self, name: str, request: bytes) -> list[Part]:
        """Returns what each replica says, this one first, then the others in order of their names."""
        own = Part(self._broker.peers.own, await self._answer(name, request))
        return [own, *await self.ask_others(name, request)]

    async def ask_others(self, name: str, request: bytes) -> list[Part]:
        """Returns what each of the others says, in order of their names."""
        others = sorted(self._broker.peers.others(), key=lambda each: each.name)
        return await asyncio.gather(*(self.ask_one(each, name, request) for each in others))

    async def ask_one(self, replica: Replica, name: str, request: bytes) -> Part:
        """Returns what another replica says."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return Part(replica, await self._broker.peers.ask(replica, name, request))
        except TimeoutError:
            return Part(replica, None)
