"""Two bare streams of grpc.aio and a relay between them, one frame a message: the floor of any Python bus on gRPC."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path
from typing import Any, Final

from grpc import aio

from scripts.bench.payload import PAYLOAD
from scripts.bench.peer import Call, Peer, Server, Service

ASK: Final = "/bench.Relay/Ask"
ANSWER: Final = "/bench.Relay/Answer"
ID_BYTES: Final = 8
"""Before each payload, so that answers are told apart."""

Frames = aio.StreamStreamCall[bytes, bytes]


class BareStreams(Peer):
    """The same grpcio as ours, and nothing else: no channels, no envelope, no model, no deadline on the way."""

    title = "bare grpc.aio streams"
    requests = 20_000
    libraries = ("grpcio",)

    def __init__(self) -> None:
        self._channel: aio.Channel | None = None
        self._reading: asyncio.Task[None] | None = None
        self._replies: dict[bytes, asyncio.Future[bytes]] = {}

    def server(self, service: Service, port: int, scratch: Path) -> Server:
        return Server((sys.executable, "-m", "scripts.bench.peers.bare_relay", str(port)))

    async def open(self, service: Service, port: int) -> None:
        self._channel = aio.insecure_channel(f"127.0.0.1:{port}")
        await self._channel.channel_ready()

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._channel is not None:
            await self._channel.close()

    async def respond(self, channel: str) -> None:
        stream = await self._stream(ANSWER)

        async def answer() -> None:
            async for frame in stream:
                await stream.write(frame[:ID_BYTES] + PAYLOAD)

        self._reading = asyncio.create_task(answer())

    async def requester(self, channel: str) -> Call:
        stream = await self._stream(ASK)

        async def read() -> None:
            async for frame in stream:
                self._replies.pop(frame[:ID_BYTES]).set_result(frame)

        self._reading = asyncio.create_task(read())
        numbers = count()
        one_at_a_time = asyncio.Lock()

        async def request(_: int) -> None:
            id = next(numbers).to_bytes(ID_BYTES)
            reply = self._replies[id] = asyncio.get_running_loop().create_future()
            async with one_at_a_time:
                await stream.write(id + PAYLOAD)
            if (await reply)[ID_BYTES:] != PAYLOAD:
                raise AssertionError("a reply with another payload came back")

        return request

    async def _stream(self, method: str) -> Frames:
        """A stream that the relay has accepted."""
        if self._channel is None:
            raise RuntimeError("the channel is not open")
        call: Any = self._channel.stream_stream(method)()
        await call.initial_metadata()
        stream: Frames = call
        return stream
