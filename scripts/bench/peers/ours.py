"""Trunkline: its public API as any user writes it, with default settings."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Final

import trunkline
from scripts.bench.payload import DURABLE, REPLIES, TEXT, key
from scripts.bench.peer import Call, Peer, Reception, Server, Service
from scripts.bench.peers.our_channel import ChannelAbilities
from scripts.bench.tally import Tally
from trunkline import AgentMessage, MessageType, Part, Request, TaskResult, TaskStatus

CREDIT: Final = 2_048
"""Messages that the service lets a durable subscriber hold at once."""


class Trunkline(ChannelAbilities, Peer):
    """Each message is a fresh AgentMessage, made inside the loop that is timed; each callback reads its payload."""

    title = "Trunkline"
    messages = 300_000
    libraries = ("trunkline", "grpcio")

    def __init__(self) -> None:
        self._bus: trunkline.GrpcMessageBus | None = None
        self._state: trunkline.GrpcStateManager | None = None

    def server(self, service: Service, port: int, scratch: Path) -> Server | None:
        if service == "channel":
            return None
        return program(service, port, PATH=str(scratch / f"{service}.db"))

    async def open(self, service: Service, port: int) -> None:
        if service == "bus":
            self._bus = trunkline.GrpcMessageBus(f"127.0.0.1:{port}")
            await self._bus.connect()
        elif service == "state":
            self._state = trunkline.GrpcStateManager(f"127.0.0.1:{port}")
            await self._state.connect()

    async def close(self) -> None:
        if self._bus is not None:
            await self._bus.disconnect()
        if self._state is not None:
            await self._state.disconnect()

    @property
    def bus(self) -> trunkline.GrpcMessageBus:
        """The bus that `open` connected."""
        if self._bus is None:
            raise RuntimeError("the bus is not open")
        return self._bus

    @property
    def state(self) -> trunkline.GrpcStateManager:
        """The state manager that `open` connected."""
        if self._state is None:
            raise RuntimeError("the state is not open")
        return self._state

    async def subscribe(self, channel: str, count: int) -> Callable[[], Awaitable[Reception]]:
        tally = Tally(count)

        async def on_message(message: AgentMessage) -> None:
            tally.count(str(message.payload["data"]))

        await self.bus.subscribe(channel, on_message)
        return tally.reception

    async def publish(self, channel: str, count: int) -> None:
        bus = self.bus
        for _ in range(count):
            await bus.publish(channel, _message())
        await bus.flush()

    async def respond(self, channel: str) -> None:
        bus = self.bus

        async def on_request(message: AgentMessage) -> None:
            reply = message.create_response("responder", MessageType.TASK_RESULT, {"data": message.payload["data"]})
            await bus.publish(REPLIES, reply)

        await bus.subscribe(channel, on_request)

    async def requester(self, channel: str) -> Call:
        bus = self.bus

        async def request(_: int) -> None:
            reply = await bus.request(channel, _message())
            if reply.payload["data"] != TEXT:
                raise AssertionError("a reply with another payload came back")

        return request

    async def respond_in_parts(self, channel: str, parts: int) -> None:
        async def handler(request: Request) -> AsyncGenerator[AgentMessage, None]:
            for _ in range(parts):
                yield _message()

        await self.bus.respond(channel, handler, concurrency=3)

    async def asker(self, channel: str, parts: int) -> Call:
        bus = self.bus

        async def ask(_: int) -> None:
            came = 0
            async for event in bus.request_stream(channel, _message()):
                if isinstance(event, Part):
                    came += event.payload["data"] == TEXT
            if came != parts:
                raise AssertionError(f"{came} of {parts} parts came")

        return ask

    def saver(self) -> Call:
        state = self.state

        async def save(index: int) -> None:
            await state.save_task_result(
                TaskResult(
                    task_id=key(index), agent_id="bench", status=TaskStatus.COMPLETED, output_data={"data": TEXT}
                )
            )

        return save

    def getter(self) -> Call:
        state = self.state

        async def get(index: int) -> None:
            result = await state.get_task_result(key(index))
            if result is None or result.output_data["data"] != TEXT:
                raise AssertionError(f"{key(index)} did not come back as it was saved")

        return get

    async def storer(self, channel: str) -> Call:
        bus = self.bus

        async def store(_: int) -> None:
            await bus.publish(channel, _message(), stored=True)

        return store

    async def keep(self, channel: str) -> None:
        await self.bus.create_durable(DURABLE, channel, start="all")

    async def consume(self, channel: str, count: int) -> Reception:
        bus, tally = self.bus, Tally(count)

        async def on_message(message: AgentMessage) -> None:
            tally.count(str(message.payload["data"]))
            if tally.received == count:
                await bus.unsubscribe(channel)  # where more wait, they are left

        await bus.subscribe(channel, on_message, durable=DURABLE, credit=CREDIT)
        received, _ = await tally.reception()
        await bus.flush()
        return Reception(received, time.monotonic())


def program(service: Service, port: int, **settings: str) -> Server:
    """One of our programs, with these settings beside its address."""
    named = {"ADDRESS": f"127.0.0.1:{port}", **settings}
    environment = {f"TRUNKLINE_{service.upper()}_{name}": value for name, value in named.items()}
    return Server((sys.executable, "-m", "trunklined", service), environment, port)


def _message() -> AgentMessage:
    return AgentMessage(message_type=MessageType.TASK_RESULT, sender_id="bench", payload={"data": TEXT})
