"""Every MessageBus that there is, for the tests that hold for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.contract.spread import spread
from trunkline import (
    AgentMessage,
    GrpcMessageBus,
    GrpcStateManager,
    InMemoryMessageBus,
    InMemoryStateManager,
    MessageBus,
    StateManager,
)

MakeBus = Callable[[], MessageBus]
MakeManager = Callable[[], StateManager]
ADDRESS_OF = {"grpc": "bus_address", "sidecar": "sidecar_address"}


@pytest.fixture(params=["memory", "grpc", "sidecar"])
def bus_kind(request: pytest.FixtureRequest) -> str:
    """In memory; against a real bus process; against the same through a real sidecar's UNIX socket."""
    kind: str = request.param
    return kind


@pytest.fixture
def new_bus(request: pytest.FixtureRequest, bus_kind: str) -> MakeBus:
    """Makes a bus object that is not connected."""
    if bus_kind == "memory":
        return InMemoryMessageBus
    address: str = request.getfixturevalue(ADDRESS_OF[bus_kind])
    return lambda: GrpcMessageBus(address)


@pytest.fixture
async def bus(new_bus: MakeBus) -> AsyncIterator[MessageBus]:
    """A connected bus."""
    async with new_bus() as bus:
        yield bus


@pytest.fixture
async def other(bus: MessageBus, bus_kind: str, new_bus: MakeBus) -> AsyncIterator[MessageBus]:
    """A second client of the same service. A bus in memory is client and service in one, so there it is the same."""
    if bus_kind == "memory":
        yield bus
        return
    async with new_bus() as other:
        yield other


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"contract:{uuid4().hex}:work"


@pytest.fixture
def expired() -> AgentMessage:
    """A message whose TTL is over."""
    return AgentMessage(
        message_type="x",
        sender_id="tests",
        payload={"n": "expired"},
        timestamp=datetime.now(UTC) - timedelta(seconds=10),
        ttl_seconds=5,
    )


@pytest.fixture
def nearly_expired() -> AgentMessage:
    """A message whose TTL is over in two seconds."""
    return AgentMessage(
        message_type="x",
        sender_id="tests",
        payload={"n": "nearly expired"},
        timestamp=datetime.now(UTC) - timedelta(seconds=3),
        ttl_seconds=5,
    )


@pytest.fixture
def name() -> str:
    """A durable name of this test alone."""
    return f"contract-{uuid4().hex}"


ADDRESSES_OF = {
    "grpc": "state_address",
    "sidecar": "sidecar_address",
    "redis-replicas": "redis_state_addresses",
    "redis-sentinel": "sentinel_state_address",
    "redis-cluster": "cluster_state_address",
}


@pytest.fixture(params=["memory", *ADDRESSES_OF])
def new_manager(request: pytest.FixtureRequest) -> MakeManager:
    """Makes a state manager that is not connected: in memory; of a real state service, or through a real sidecar; of
    two replicas over one Redis, whose calls go to one and to the other in turn; of one over Redis with sentinels, and
    of one over a Redis Cluster."""
    if request.param == "memory":
        return InMemoryStateManager
    where = request.getfixturevalue(ADDRESSES_OF[request.param])
    if isinstance(where, str):
        return lambda: GrpcStateManager(where)
    return lambda: spread([GrpcStateManager(address) for address in where])
