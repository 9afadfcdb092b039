"""Every MessageBus that there is, for the tests that hold for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.contract.spread import spread
from tests.redis.replicas import Replicas
from trunkline import (
    AgentMessage,
    GrpcMessageBus,
    GrpcStateManager,
    InMemoryMessageBus,
    InMemoryStateManager,
    MessageBus,
    RedisMessageBus,
    RedisStateManager,
    StateManager,
)

MakeBus = Callable[[], MessageBus]
MakeManager = Callable[[], StateManager]
ADDRESS_OF = {
    "grpc": "bus_address",
    "sidecar": "sidecar_address",
    "redis": "owner_address",
    "replica": "replica_address",
}
KINDS = ("memory", "grpc", "sidecar")
"""In memory; against a real bus process; against the same through a real sidecar's UNIX socket."""
LIVE = {f"tests.contract.test_message_bus{about}" for about in ("", "_groups", "_lives", "_payloads", "_requests")}
"""What is promised of live messages and requests holds for `replicas` too: one bus of two processes over a real Redis,
where `bus` is a client of one and `other` of the other."""
PARTS = ("limits", "publish", "refusals", "settling", "subscriptions", "waiting")
DURABLE = {
    f"tests.contract.test_{about}"
    for about in (
        *("crashing_workers", "many_acks", "message_bus_dead_letters", "message_bus_release", "message_bus_tasks"),
        *(f"message_bus_durable_{part}" for part in PARTS),
    )
}
"""What the journal promises holds where it is in Redis too: for clients of the replica that owns it (`redis`), and of
one that does not (`replica`)."""
TOPOLOGIES = {"sentinel": "sentinel_replicas", "cluster": "cluster_replicas"}
"""And all of both where Redis has sentinels, or is a cluster of three masters: `bus` is a client of a replica that does
not own the journal, `other` one of the replica that does."""
IN_PROCESS = {
    f"tests.contract.test_message_bus{about}"
    for about in ("", "_groups", "_requests", "_durable_publish", "_durable_settling", "_release")
}
"""And where each client is a replica itself, in this process: the way of messages, requests and acks, which is all that
differs. To begin and end takes such a replica longer than most tests do."""
OVER_REDIS = {*TOPOLOGIES, "in process"}
"""Of these a test that has many cases has the first one: the others are sent to Redis, or are refused before, as that
is, and have run over Redis alone."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives each test every kind of bus for which it holds."""
    chosen = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "bus_kind" in metafunc.fixturenames and "bus_kind" not in chosen:
        kinds: tuple[str, ...] = KINDS
        if metafunc.module.__name__ in LIVE:
            kinds += ("replicas",)
        if metafunc.module.__name__ in DURABLE:
            kinds += ("redis", "replica")
        if metafunc.module.__name__ in LIVE | DURABLE:
            kinds += tuple(TOPOLOGIES)
        if metafunc.module.__name__ in IN_PROCESS:
            kinds += ("in process",)
        metafunc.parametrize("bus_kind", kinds)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what `OVER_REDIS` says."""
    left_out = [each for each in items if isinstance(each, pytest.Function) and _is_further_case(each)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [each for each in items if each not in gone]


def _is_further_case(item: pytest.Function) -> bool:
    case = getattr(item, "callspec", None)
    if case is None or case.params.get("bus_kind") not in OVER_REDIS:
        return False
    return any(index for name, index in case.indices.items() if name != "bus_kind")


@pytest.fixture
def new_bus(request: pytest.FixtureRequest, bus_kind: str) -> MakeBus:
    """Makes a bus object that is not connected."""
    if bus_kind == "memory":
        return InMemoryMessageBus
    if bus_kind == "in process":
        url: str = request.getfixturevalue("redis_url")
        return lambda: RedisMessageBus(url)
    if bus_kind == "replicas":
        first: str = request.getfixturevalue("replica_addresses")[0]
        return lambda: GrpcMessageBus(first)
    if bus_kind in TOPOLOGIES:
        several: Replicas = request.getfixturevalue(TOPOLOGIES[bus_kind])
        asked = several.others[0].address
        return lambda: GrpcMessageBus(asked)
    address: str = request.getfixturevalue(ADDRESS_OF[bus_kind])
    return lambda: GrpcMessageBus(address)


@pytest.fixture
def new_other(request: pytest.FixtureRequest, bus_kind: str, new_bus: MakeBus) -> MakeBus:
    """Makes another client of the same service; of replicas, of another one."""
    if bus_kind in TOPOLOGIES:
        several: Replicas = request.getfixturevalue(TOPOLOGIES[bus_kind])
        owner = several.settle().address
        return lambda: GrpcMessageBus(owner)
    if bus_kind != "replicas":
        return new_bus
    second: str = request.getfixturevalue("replica_addresses")[1]
    return lambda: GrpcMessageBus(second)


@pytest.fixture
async def bus(new_bus: MakeBus) -> AsyncIterator[MessageBus]:
    """A connected bus."""
    async with new_bus() as bus:
        yield bus


@pytest.fixture
async def other(bus: MessageBus, bus_kind: str, new_other: MakeBus) -> AsyncIterator[MessageBus]:
    """A second client of the same service. A bus in memory is client and service in one, so there it is the same."""
    if bus_kind == "memory":
        yield bus
        return
    async with new_other() as other:
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


@pytest.fixture(params=["memory", *ADDRESSES_OF, "in process"])
def new_manager(request: pytest.FixtureRequest) -> MakeManager:
    """Makes a state manager that is not connected: in memory; of a real state service, or through a real sidecar; of
    two replicas over one Redis, whose calls go to one and to the other in turn; of one over Redis with sentinels, and
    of one over a Redis Cluster; or a pair of replicas in this process, as those are asked."""
    if request.param == "memory":
        return InMemoryStateManager
    if request.param == "in process":
        url: str = request.getfixturevalue("redis_url")
        return lambda: spread([RedisStateManager(url) for _ in range(2)])
    where = request.getfixturevalue(ADDRESSES_OF[request.param])
    if isinstance(where, str):
        return lambda: GrpcStateManager(where)
    return lambda: spread([GrpcStateManager(address) for address in where])
