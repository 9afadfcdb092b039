"""Engines, a store, and a real aio server around it on a temporary UNIX socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from grpc import aio

from tests.redis.servers import RedisServer
from trunkline.v1 import state_pb2_grpc
from trunklined.redis.target import parse_url
from trunklined.relay.journal import Stock
from trunklined.rpc.errors import ErrorInterceptor
from trunklined.state.engines.engine import Engine
from trunklined.state.engines.memory import MemoryEngine
from trunklined.state.engines.redis.engine import RedisEngine
from trunklined.state.engines.sqlite import SqliteEngine
from trunklined.state.records import History
from trunklined.state.store import Store, StoreLimits
from trunklined.state.watch import Watchers
from trunklined.state.wire.servicer import StateServicer

MAX_RECORD_BYTES = 64 * 1024
PAGE_BYTES = 32 * 1024
ANSWER_BYTES = 256 * 1024
FIXED_WINDOWS = [("grpc.http2.bdp_probe", 0)]
"""A client's windows do not grow with the time that a busy machine lets its answers wait."""

MakeEngine = Callable[..., Engine]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make_engine(request: pytest.FixtureRequest, tmp_path: Path) -> MakeEngine:
    """An engine of each technology, not yet opened; all that one test makes have the same data."""
    prefix = f"tests-{uuid4().hex}"

    def make(history: int = 1000, history_bytes: int = 10**9) -> Engine:
        bounds: dict[str, Any] = {
            "history": History(history, history_bytes),
            "page_bytes": PAGE_BYTES,
            "answer_bytes": ANSWER_BYTES,
            "outbox": make_stock(),
        }
        if request.param == "memory":
            return MemoryEngine(**bounds)
        if request.param == "redis":
            server: RedisServer = request.getfixturevalue("redis_server")
            return RedisEngine(replace(parse_url(server.url), prefix=prefix), **bounds)
        return SqliteEngine(tmp_path / "state.db", **bounds)

    return make


def make_stock(messages: int = 1_000, size: int = 10**6) -> Stock:
    """The bounds of an outbox."""
    return Stock("full", messages, size, messages_limit="max_outbox_messages", bytes_limit="max_outbox_bytes")


@pytest.fixture
async def engine(make_engine: MakeEngine) -> AsyncIterator[Engine]:
    engine = make_engine()
    await engine.open()
    yield engine
    await engine.close()


def make_store(engine: Engine, *, waiting: int = 1000, queue: int = 100, progress: float = 60.0) -> Store:
    watchers = Watchers(engine, max_changes=queue, max_bytes=10**9, progress_seconds=progress)
    return Store(engine, watchers, StoreLimits(waiting, 10**6))


@pytest.fixture
async def store(make_engine: MakeEngine) -> AsyncIterator[Store]:
    store = make_store(make_engine())
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def servicer(store: Store) -> StateServicer:
    return StateServicer(store, MAX_RECORD_BYTES, 0.0)


@pytest.fixture
async def channel(servicer: StateServicer, socket_dir: Path) -> AsyncIterator[aio.Channel]:
    server = aio.server(interceptors=[ErrorInterceptor()])
    servicer.register(server)
    address = f"unix:{socket_dir}/state.sock"
    server.add_insecure_port(address)
    await server.start()
    async with aio.insecure_channel(address, options=FIXED_WINDOWS) as channel:
        yield channel
    await server.stop(0)


@pytest.fixture
def stub(channel: aio.Channel) -> state_pb2_grpc.StateServiceStub:
    return state_pb2_grpc.StateServiceStub(channel)
