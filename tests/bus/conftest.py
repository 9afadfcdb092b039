"""Raw stubs against real buses, one of them with small limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import grpc
import pytest

from tests.programs import RunningProgram
from trunkline.limits import MAX_FRAME_BYTES
from trunkline.v1 import bus_pb2_grpc

OPTIONS = (("grpc.max_receive_message_length", MAX_FRAME_BYTES), ("grpc.max_send_message_length", MAX_FRAME_BYTES))
SMALL_MESSAGES = 100
SMALL_BYTES = 200_000


@pytest.fixture
async def stub(bus_address: str) -> AsyncIterator[Any]:
    """A raw stub of the session's bus."""
    async with grpc.aio.insecure_channel(bus_address, options=OPTIONS) as line:
        yield bus_pb2_grpc.BusServiceStub(line)


@pytest.fixture(scope="session")
def small_bus_program() -> Iterator[RunningProgram]:
    """A bus with small limits: 100 messages and 200,000 bytes a queue, 20 subscriptions, 3 pending requests."""
    limits = (
        "--engine",
        "memory",
        "--max-queued-messages",
        str(SMALL_MESSAGES),
        "--max-queued-bytes",
        str(SMALL_BYTES),
    )
    program = RunningProgram("bus", *limits, "--max-subscriptions", "20", "--max-pending-requests", "3")
    try:
        yield program.start()
    finally:
        program.end()


@pytest.fixture
async def small(small_bus_program: RunningProgram) -> AsyncIterator[Any]:
    """A raw stub of the bus with small limits."""
    async with grpc.aio.insecure_channel(small_bus_program.address, options=OPTIONS) as line:
        yield bus_pb2_grpc.BusServiceStub(line)


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"wire:{uuid4().hex}:work"
