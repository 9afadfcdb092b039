"""A small real program for the tests of rpc: BusService's calls, each doing what a test needs."""

# ruff: noqa: N802  # the wire's names

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import structlog
from grpc import aio
from prometheus_client.registry import Collector

from trunkline.errors import BusDisconnectedError, NoRespondersError, TrunklineError
from trunkline.v1 import bus_pb2, bus_pb2_grpc

Context = aio.ServicerContext[Any, Any]
SERVICE = "trunkline.v1.BusService"


class Greeter(bus_pb2_grpc.BusServiceServicer):
    """Answers by what the channel says."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.running = asyncio.Event()
        self.closed_streams = 0
        self.stream_closed = asyncio.Event()

    async def Publish(self, request: bus_pb2.PublishRequest, context: Context) -> bus_pb2.PublishResponse:
        if request.channel == "refuse":
            raise NoRespondersError("nobody listens on 'refuse'", details={"channel": "refuse", "count": 0})
        if request.channel == "huge":
            raise NoRespondersError("€" * 5000, details={f"field{n}": "€" * 5000 for n in range(20)})
        if request.channel == "bug":
            raise KeyError("a secret of the service")
        if request.channel == "block":
            time.sleep(0.6)  # noqa: ASYNC251  # what a service must not do
        if request.channel == "slow":
            self.running.set()
            structlog.get_logger().info("a call runs")
            await self.draining.wait()
        return bus_pb2.PublishResponse(receipts=[bus_pb2.Receipt(sequence=1)])

    async def PublishStream(
        self, requests: AsyncIterator[bus_pb2.PublishStreamRequest], context: Context
    ) -> AsyncIterator[bus_pb2.PublishStreamResponse]:
        try:
            async for request in requests:
                if request.publish.channel == "bug":
                    raise KeyError("a secret of the service")
                yield bus_pb2.PublishStreamResponse(published=await self.Publish(request.publish, context))
        finally:
            self.closed_streams += 1
            self.stream_closed.set()

    async def OpenStream(self, requests: AsyncIterator[bus_pb2.OpenStreamRequest], context: Context) -> None:
        """By reading and writing, not by iterating."""
        while (frame := await context.read()) is not aio.EOF:
            if not frame.items:
                self.running.set()
                await self.draining.wait()
                raise BusDisconnectedError("the service shuts down")
            await context.write(bus_pb2.OpenStreamResponse())


class GreeterProgram:
    """The program around it. With `drains` False it never finishes what runs."""

    name = "greeter"
    service_names: Sequence[str] = (SERVICE,)

    def __init__(self, fails: TrunklineError | None = None, *, drains: bool = True) -> None:
        self.servicer = Greeter()
        self.closed = 0
        self._fails = fails
        self._drains = drains

    def register(self, server: aio.Server) -> None:
        bus_pb2_grpc.add_BusServiceServicer_to_server(self.servicer, server)

    async def start(self) -> None:
        if self._fails:
            raise self._fails

    async def drain(self, seconds: float) -> None:
        if self._drains:
            self.servicer.draining.set()

    async def close(self) -> None:
        self.closed += 1

    def collectors(self) -> Iterable[Collector]:
        return ()
