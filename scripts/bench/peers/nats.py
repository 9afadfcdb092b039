"""nats-py with nats-server: core NATS for live messages, JetStream with file storage for stored ones and for state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NoMessageError
from nats.js.api import StorageType

from scripts.bench.payload import DURABLE, PAYLOAD, key
from scripts.bench.peer import Call, Peer, Reception, Server, Service
from scripts.bench.tally import IDLE_SECONDS, Tally
from scripts.tools import NATS_SERVER_VERSION, find

REQUEST_SECONDS = 30.0
"""What Trunkline's requests have by default."""

FETCHED = 256
"""Messages that one fetch of a durable consumer asks for."""


def program() -> str:
    """The path of nats-server in the version that is measured; where it is not, its name, which is not found either."""
    return find("nats-server") or f"nats-server {NATS_SERVER_VERSION}"


class Nats(Peer):
    """Default settings on both sides. What JetStream stores is written to files, and synced every two minutes."""

    title = "nats-py"
    messages = 300_000
    libraries: ClassVar[Sequence[str]] = ("nats-py",)

    def __init__(self) -> None:
        self._client: Client | None = None
        self._store: Any = None
        self._waiting: Any = None

    def versions(self) -> Sequence[str]:
        return [*super().versions(), f"nats-server {NATS_SERVER_VERSION.removeprefix('v')}"]

    def server(self, service: Service, port: int, scratch: Path) -> Server:
        return Server((program(), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(scratch / "jetstream")))

    async def open(self, service: Service, port: int) -> None:
        self._client = await nats.connect(f"nats://127.0.0.1:{port}")
        if service == "state":
            self._store = await self._client.jetstream().create_key_value(bucket="bench", storage=StorageType.FILE)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    @property
    def client(self) -> Client:
        """The client that `open` connected."""
        if self._client is None:
            raise RuntimeError("the client is not open")
        return self._client

    async def subscribe(self, channel: str, count: int) -> Callable[[], Awaitable[Reception]]:
        tally = Tally(count)

        async def on_message(message: Msg) -> None:
            tally.count(message.data)

        await self.client.subscribe(channel, cb=on_message)
        await self.client.flush()
        return tally.reception

    async def publish(self, channel: str, count: int) -> None:
        client = self.client
        for _ in range(count):
            await client.publish(channel, PAYLOAD)
        await client.flush()

    async def respond(self, channel: str) -> None:
        async def on_request(message: Msg) -> None:
            await message.respond(message.data)

        await self.client.subscribe(channel, cb=on_request)
        await self.client.flush()

    async def requester(self, channel: str) -> Call:
        client = self.client

        async def request(_: int) -> None:
            reply = await client.request(channel, PAYLOAD, timeout=REQUEST_SECONDS)
            if reply.data != PAYLOAD:
                raise AssertionError("a reply with another payload came back")

        return request

    async def respond_in_parts(self, channel: str, parts: int) -> None:
        """By hand: each part to the asker's inbox, and an empty message behind the last. Nothing holds it back."""
        client = self.client

        async def on_request(message: Msg) -> None:
            for _ in range(parts):
                await client.publish(message.reply, PAYLOAD)
            await client.publish(message.reply, b"")

        await client.subscribe(channel, cb=on_request)
        await client.flush()

    async def asker(self, channel: str, parts: int) -> Call:
        client = self.client

        async def ask(_: int) -> None:
            inbox = client.new_inbox()
            came, ended = 0, asyncio.get_running_loop().create_future()

            async def on_part(message: Msg) -> None:
                nonlocal came
                if message.data:
                    came += message.data == PAYLOAD
                else:
                    ended.set_result(None)

            subscription = await client.subscribe(inbox, cb=on_part)
            await client.publish(channel, PAYLOAD, reply=inbox)
            await asyncio.wait_for(ended, REQUEST_SECONDS)
            await subscription.unsubscribe()
            if came != parts:
                raise AssertionError(f"{came} of {parts} parts came")

        return ask

    def saver(self) -> Call:
        store = self._store

        async def put(index: int) -> None:
            await store.put(key(index), PAYLOAD)

        return put

    def getter(self) -> Call:
        store = self._store

        async def get(index: int) -> None:
            entry = await store.get(key(index))
            if entry.value != PAYLOAD:
                raise AssertionError(f"{key(index)} did not come back as it was put")

        return get

    async def storer(self, channel: str) -> Call:
        jetstream = self.client.jetstream()
        await jetstream.add_stream(name=DURABLE, subjects=[channel], storage=StorageType.FILE)

        async def store(_: int) -> None:
            receipt = await jetstream.publish_async(channel, PAYLOAD)  # a quarter faster than publish()
            await receipt

        return store

    async def keep(self, channel: str) -> None:
        self._waiting = await self.client.jetstream().pull_subscribe(channel, durable=DURABLE, stream=DURABLE)

    async def consume(self, channel: str, count: int) -> Reception:
        fetch = self._waiting.fetch
        received = octets = 0
        while received < count:
            try:
                messages = await fetch(min(FETCHED, count - received), timeout=IDLE_SECONDS)
            except NoMessageError:
                break
            for message in messages:
                octets += len(message.data)
                await message.ack()
            received += len(messages)
        await self.client.flush()
        return Reception(received, time.monotonic())
