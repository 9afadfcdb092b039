"""RawBus: a caller that has nothing but the generated messages, as agents in other languages are, for every bus."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from tests.patience import PATIENCE
from trunkline import GrpcMessageBus, InMemoryMessageBus, MessageBus
from trunkline.limits import MAX_MESSAGE_BYTES
from trunkline.v1 import bus_pb2, bus_pb2_grpc
from trunkline.v1.message_pb2 import Message
from trunklined.bus.wire.servicer import BusServicer


class RawBus:
    """Calls a BusService.

    Args:
        calls: the service's unary calls, by name, each of a request.
    """

    def __init__(self, calls: Any) -> None:
        self._calls = calls

    async def publish(self, channel: str, *messages: Message, stored: bool = False) -> None:
        """Publishes messages as they are."""
        durability = bus_pb2.DURABILITY_STORED if stored else bus_pb2.DURABILITY_UNSPECIFIED
        await self._calls.Publish(
            bus_pb2.PublishRequest(channel=channel, messages=messages, durability=durability), timeout=PATIENCE
        )

    async def request(self, channel: str, message: Message) -> Message:
        """Returns the reply as it is."""
        request = bus_pb2.RequestRequest(channel=channel, message=message)
        answer = await self._calls.Request(request, timeout=PATIENCE)
        reply: Message = answer.message
        return reply


class _InProcess:
    """The service's end of a bus in memory, called without a network: encoded requests, as on one."""

    def __init__(self, bus: InMemoryMessageBus) -> None:
        assert bus._broker is not None
        self._servicer = BusServicer(bus._broker, MAX_MESSAGE_BYTES, (), time.time())

    async def Publish(self, request: bus_pb2.PublishRequest, timeout: float) -> bus_pb2.PublishResponse:  # noqa: N802
        return await self._servicer.publish(request.SerializeToString(), _Deadline(timeout))  # type: ignore[arg-type, no-any-return]

    async def Request(self, request: bus_pb2.RequestRequest, timeout: float) -> bus_pb2.RequestResponse:  # noqa: N802
        raw = await self._servicer.request(request.SerializeToString(), _Deadline(timeout))  # type: ignore[arg-type]
        return bus_pb2.RequestResponse.FromString(raw)


class _Deadline:
    """What the service asks gRPC for."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    def time_remaining(self) -> float:
        return self._timeout


@asynccontextmanager
async def raw_bus(bus: MessageBus) -> AsyncIterator[RawBus]:
    """Calls the service that a connected bus speaks to."""
    if isinstance(bus, InMemoryMessageBus):
        yield RawBus(_InProcess(bus))
        return
    assert isinstance(bus, GrpcMessageBus)
    async with grpc.aio.insecure_channel(bus.address) as channel:
        yield RawBus(bus_pb2_grpc.BusServiceStub(channel))
