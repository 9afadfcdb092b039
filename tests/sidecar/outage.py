"""What tests of the sidecar say while its bus is away."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from grpc import aio

from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from tests.programs import RunningProgram, health
from trunkline import BusDisconnectedError, DurableMessage, DurableSettings, GrpcMessageBus, MessageBus
from trunkline.delivery import Receipt
from trunkline.v1 import bus_pb2, bus_pb2_grpc

BUS = "trunkline.v1.BusService"


@asynccontextmanager
async def away(bus: RunningProgram, sidecar: RunningProgram) -> AsyncIterator[None]:
    """The bus is killed, which the sidecar has noticed; it comes back at the end."""
    await kill(bus, sidecar)
    yield
    await asyncio.to_thread(bus.start)


async def kill(bus: RunningProgram, sidecar: RunningProgram) -> None:
    """Kills the bus; returns when the sidecar has noticed it."""
    await asyncio.to_thread(bus.kill)
    await until_health(sidecar, "NOT_SERVING")


async def until_health(sidecar: RunningProgram, wanted: str) -> None:
    """Returns when the sidecar says that of the bus."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if await asyncio.to_thread(health, sidecar.address, BUS) == wanted:
                return
            await asyncio.sleep(0.02)


def stub_of(program: RunningProgram) -> AbstractAsyncContextManager[Any]:
    """A raw stub of the bus that a program serves."""
    return stub_of_address(program.address)


@asynccontextmanager
async def stub_of_address(address: str) -> AsyncIterator[Any]:
    """A raw stub of the bus behind an address."""
    async with aio.insecure_channel(address) as channel:
        yield bus_pb2_grpc.BusServiceStub(channel)


def stored(channel: str, numbers: Sequence[object], **words: Any) -> bus_pb2.PublishRequest:
    """A publish to be stored, of messages with the payload {"n": n}."""
    messages = [
        {"json": f'{{"n": {n}}}', "message_type": "status_update", "sender_id": "raw", **words} for n in numbers
    ]
    return bus_pb2.PublishRequest(channel=channel, messages=messages, durability=bus_pb2.DURABILITY_STORED)


def metrics_of(program: RunningProgram) -> str:
    """Its metrics page."""
    with urllib.request.urlopen(f"http://{program.metrics_address}/metrics", timeout=10) as answer:
        page: str = answer.read().decode()
    return page


async def store(bus: MessageBus, channel: str, n: object, **words: Any) -> Receipt:
    """Publishes a message until there is a receipt: the same one, so that it is stored once."""
    message = numbered(n)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await bus.publish(channel, message, stored=True, **words)
            except BusDisconnectedError:
                await asyncio.sleep(0.01)


class Consumer:
    """A durable subscription that writes down what it is given: (channel, number), and which attempts."""

    def __init__(self) -> None:
        self.came: list[tuple[str, Any]] = []
        self.attempts: list[int] = []
        self.different: set[tuple[str, Any]] = set()
        self._news = asyncio.Condition()

    async def __call__(self, message: DurableMessage) -> None:
        async with self._news:
            self.came.append((message.channel, message.payload["n"]))
            self.different.add(self.came[-1])
            self.attempts.append(message.attempt)
            self._news.notify_all()

    def numbers(self, channel: str) -> list[Any]:
        """What came on a channel."""
        return [n for where, n in self.came if where == channel]

    async def have(self, count: int) -> None:
        """Returns when so many came; what is given again counts again."""
        await self.until(lambda: len(self.came) >= count, f"{count} messages")

    async def have_different(self, count: int) -> None:
        """Returns when so many came, each counted once."""
        await self.until(lambda: len(self.different) >= count, f"{count} different messages")

    async def until(self, reached: Callable[[], bool], what: str) -> None:
        """Returns when something is true of what came; it is patient as long as something comes."""
        async with self._news:
            while not reached():
                try:
                    await asyncio.wait_for(self._news.wait(), PATIENCE)
                except TimeoutError:
                    raise AssertionError(f"waited for {what}; {len(self.came)} came: {self.came[:50]}") from None


@asynccontextmanager
async def consuming(program: RunningProgram, pattern: str, name: str = "work") -> AsyncIterator[Consumer]:
    """A durable subscription of everything that is kept, from its start on. Its leases are short, since what a killed
    bus had handed out and not sent comes when they are over."""
    settings = DurableSettings(ack_wait=1.0)
    consumer = Consumer()
    async with GrpcMessageBus(program.address) as bus:
        await bus.subscribe(pattern, consumer, durable=name, start="all", credit=512, settings=settings)
        yield consumer
