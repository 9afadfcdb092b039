"""A clock that the test turns, and real buses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.failures.clock import Clock
from trunkline import CircuitBreaker, GrpcMessageBus, InMemoryMessageBus, MessageBus, RetryPolicy


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def policy(clock: Clock) -> RetryPolicy:
    """The defaults, without chance."""
    return RetryPolicy(sleep=clock.sleep, random=lambda: 0.0)


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """The defaults."""
    return CircuitBreaker(clock=clock, sleep=clock.sleep)


@pytest.fixture(params=["memory", "grpc"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[MessageBus]:
    """An agent's own connection: to a bus in memory, and to the session's."""
    in_memory = request.param == "memory"
    async with InMemoryMessageBus() if in_memory else GrpcMessageBus(request.getfixturevalue("bus_address")) as bus:
        yield bus


@pytest.fixture
async def other(bus: MessageBus) -> AsyncIterator[MessageBus]:
    """Somebody else's. A bus in memory is client and service in one, so there it is the same."""
    if not isinstance(bus, GrpcMessageBus):
        yield bus
        return
    async with GrpcMessageBus(bus.address) as other:
        yield other


@pytest.fixture
def name() -> str:
    """What this test alone calls its channel, its durable subscription and its agent."""
    return f"failures-{uuid4().hex[:12]}"
