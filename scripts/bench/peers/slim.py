"""SLIM by its Python bindings: two applications, a data plane between them, and a point-to-point session."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import slim_bindings as slim

from scripts.bench.payload import TEXT
from scripts.bench.peer import Call, Peer, Reception, Server, Service
from scripts.bench.peers import structs
from scripts.bench.peers.nats import REQUEST_SECONDS
from scripts.bench.tally import FIRST_SECONDS, IDLE_SECONDS

SECRET: Final = "a secret of the two applications"
RECEIVER: Final = ("trunkline", "bench", "receiver")
SENDER: Final = ("trunkline", "bench", "sender")
RETRIES: Final = 10
RETRY_AFTER: Final = timedelta(seconds=1)
"""What makes a session reliable: each message is acknowledged, or sent again. All are without MLS, in its favour."""


class Slim(Peer):
    """It carries bytes; here they are the fields of our message, written and read by msgspec.

    What is published goes by a reliable session. Requests do not: a reply is an acknowledgement enough, and with SLIM's
    own beside it, which TCP then holds back, one request takes 90 ms instead of one.
    """

    title = "SLIM, point to point"
    messages = 10_000
    requests = 5_000
    libraries = ("slim-bindings", "msgspec")

    def __init__(self) -> None:
        self._port = 0
        self._reading: asyncio.Task[None] | None = None
        self._session: slim.Session | None = None
        self._kept: slim.App | None = None  # its sessions end with it

    def server(self, service: Service, port: int, scratch: Path) -> Server:
        return Server((sys.executable, "-m", "scripts.bench.peers.slim_node", str(port)))

    async def open(self, service: Service, port: int) -> None:
        self._port = port
        slim.uniffi_set_event_loop(asyncio.get_running_loop())  # type: ignore[arg-type]
        slim.initialize_with_defaults()

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._session is not None:
            await self._session.close_and_wait_async()  # its last acknowledgements are off

    async def subscribe(self, channel: str, count: int) -> Callable[[], Awaitable[Reception]]:
        application, _ = await self._application(RECEIVER)

        async def reception() -> Reception:
            received = octets = 0
            patience = FIRST_SECONDS
            try:
                session = self._session = await application.listen_for_session_async(timedelta(seconds=patience))
                while received < count:
                    message = await session.get_message_async(timedelta(seconds=patience))
                    octets += len(structs.decode(message.payload).payload["data"])
                    received += 1
                    patience = IDLE_SECONDS
            except slim.SlimError:  # its word for a receive that took too long
                return Reception(received, time.monotonic() - patience)
            return Reception(received, time.monotonic())

        return reception

    async def publish(self, channel: str, count: int) -> None:
        session = await self._to_receiver(reliable=True)
        receipts = [await session.publish_async(structs.encode(structs.new_struct()), None, None) for _ in range(count)]
        for receipt in receipts:
            await receipt.wait_async()

    async def respond(self, channel: str) -> None:
        application, _ = await self._application(RECEIVER)
        self._reading = asyncio.create_task(_answer(application))

    async def requester(self, channel: str) -> Call:
        """Replies come back on the session and are told apart by what they correlate with, as ours are."""
        session = await self._to_receiver(reliable=False)
        replies: dict[str | None, asyncio.Future[structs.Struct]] = {}

        async def read() -> None:
            while True:
                message = await session.get_message_async(None)
                reply = structs.decode(message.payload)
                replies.pop(reply.correlation_id).set_result(reply)

        self._reading = asyncio.create_task(read())

        async def request(_: int) -> None:
            message = structs.new_struct()
            reply = replies[message.message_id] = asyncio.get_running_loop().create_future()
            await session.publish_async(structs.encode(message), None, None)
            if (await asyncio.wait_for(reply, REQUEST_SECONDS)).payload["data"] != TEXT:
                raise AssertionError("a reply with another payload came back")

        return request

    async def _application(self, name: tuple[str, str, str]) -> tuple[slim.App, int]:
        """An application of this name, and its connection to the data plane."""
        service = slim.get_global_service()
        application = self._kept = service.create_app_with_secret(slim.Name(*name), SECRET)
        connection = await service.connect_async(slim.new_insecure_client_config(f"http://127.0.0.1:{self._port}"))
        await application.subscribe_async(application.name(), connection)
        return application, connection

    async def _to_receiver(self, reliable: bool) -> slim.Session:
        application, connection = await self._application(SENDER)
        receiver = slim.Name(*RECEIVER)
        await application.set_route_async(receiver, connection)
        config = slim.SessionConfig(
            session_type=slim.SessionType.POINT_TO_POINT,
            max_retries=RETRIES if reliable else None,
            interval=RETRY_AFTER if reliable else None,
            metadata={},
            mls_settings=None,
        )
        return await application.create_session_and_wait_async(config, receiver)


async def _answer(application: slim.App) -> None:
    session = await application.listen_for_session_async(None)
    while True:
        message = await session.get_message_async(None)
        reply = structs.reply_to(structs.decode(message.payload))
        await session.publish_to_async(message.context, structs.encode(reply), None, None)
