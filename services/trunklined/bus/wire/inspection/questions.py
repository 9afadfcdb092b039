"""Questions: puts what people ask to all replicas, of which each answers for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, TypeVar

from google.protobuf.message import Message

from trunkline.v1 import inspection_pb2
from trunklined.bus.broker import Broker
from trunklined.bus.replicas.peers import Replica

M = TypeVar("M", inspection_pb2.ExplainResponse, inspection_pb2.TraceResponse, inspection_pb2.StuckResponse)

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

    async def join(self, name: str, request: Message, response: M) -> list[M]:
        """Puts what each replica says into a response, and into its `unheard` who says nothing; returns the parts: this
        replica's first, then the others' in order of their names."""
        question: bytes = request.SerializeToString()
        own = Part(self._broker.peers.own, await self._answer(name, question))
        heard: list[M] = []
        for part in (own, *await self.ask_others(name, question)):
            if part.encoded is None:
                response.unheard.append(part.replica.name)
            else:
                heard.append(type(response).FromString(part.encoded))
                response.MergeFrom(heard[-1])
        return heard

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
