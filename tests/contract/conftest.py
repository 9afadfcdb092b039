"""Every MessageBus that there is, for the tests that hold for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.redis.replicas import Replicas
from tests.redis.servers import running
from trunkline import AgentMessage, GrpcMessageBus, InMemoryMessageBus, MessageBus

MakeBus = Callable[[], MessageBus]
ADDRESS_OF = {
    "grpc": "bus_address",
    "sidecar": "sidecar_address",
    "redis": "owner_address",
    "replica": "replica_address",
}
KINDS = ("memory", "grpc", "sidecar")
SHARED_KINDS = ("redis", "replica")
DURABLE_PARTS = ("limits", "publish", "refusals", "settling", "subscriptions", "waiting")
DURABLE_FILES = (
    *("test_crashing_workers", "test_many_acks", "test_message_bus_dead_letters", "test_message_bus_release"),
    *("test_message_bus_tasks", *(f"test_message_bus_durable_{part}" for part in DURABLE_PARTS)),
)
"""Files of what the journal promises, which hold over Redis too."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test against each kind of bus that its file holds for."""
    if "bus_kind" in metafunc.fixturenames and not _names_kinds(metafunc):
        is_durable = metafunc.module.__name__.rpartition(".")[2] in DURABLE_FILES
        metafunc.parametrize("bus_kind", KINDS + (SHARED_KINDS if is_durable else ()), indirect=True)


def _names_kinds(metafunc: pytest.Metafunc) -> bool:
    """Whether the test itself says which."""
    return any("bus_kind" in str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize"))


@pytest.fixture
def bus_kind(request: pytest.FixtureRequest) -> str:
    """In memory; against a real bus process; against the same through a real sidecar's UNIX socket; against a bus whose
    journal is in Redis; against a replica of it, which does not own the journal."""
    kind: str = request.param
    return kind


@pytest.fixture(scope="session")
def _replicas() -> Iterator[Replicas]:
    with running(appendonly="yes", appendfsync="always") as redis:
        replicas = Replicas(redis, 2)
        try:
            yield replicas.start()
        finally:
            replicas.end()


@pytest.fixture
def owner_address(_replicas: Replicas) -> str:
    """Where the replica serves that owns the journal."""
    return _replicas.settle().address


@pytest.fixture
def replica_address(_replicas: Replicas) -> str:
    """Where the other one does."""
    return _replicas.others[0].address


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
