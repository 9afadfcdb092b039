"""A clock that the test turns, and real buses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.failures.clock import Clock
from trunkline import CircuitBreaker, GrpcMessageBus, MessageBus, RetryPolicy


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


@pytest.fixture
async def bus(bus_address: str) -> AsyncIterator[MessageBus]:
    """An agent's own connection to the session's bus."""
    async with GrpcMessageBus(bus_address) as bus:
        yield bus


@pytest.fixture
async def other(bus_address: str) -> AsyncIterator[MessageBus]:
    """Somebody else's."""
    async with GrpcMessageBus(bus_address) as other:
        yield other


@pytest.fixture
def name() -> str:
    """What this test alone calls its channel, its durable subscription and its agent."""
    return f"failures-{uuid4().hex[:12]}"
