"""A bus for each test, over each engine: the real program on a real server, in the process of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.bus.durable.bus import Bus
from tests.redis.servers import running


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis that syncs what it takes. Shared: use a prefix of your own."""
    with running(appendonly="yes", appendfsync="always") as server:
        yield server.url


def _bus(request: pytest.FixtureRequest, directory: Path) -> Bus:
    if request.param != "redis":
        return Bus(directory, request.param)
    url = request.getfixturevalue("redis_url")
    return Bus(directory, "redis", redis_url=url, redis_prefix=f"tests-{uuid4().hex}")


@pytest.fixture(params=["sqlite", "memory", "redis"])
async def bus(request: pytest.FixtureRequest, socket_dir: Path) -> AsyncIterator[Bus]:
    """A bus over each engine, started."""
    async with _bus(request, socket_dir) as bus:
        yield bus


@pytest.fixture(params=["sqlite", "redis"])
async def kept(request: pytest.FixtureRequest, socket_dir: Path) -> AsyncIterator[Bus]:
    """A bus over each engine that keeps what it has when the bus is started again."""
    async with _bus(request, socket_dir) as bus:
        yield bus


@pytest.fixture
def stub(bus: Bus) -> Any:
    """Its raw stub."""
    return bus.stub


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"wire:{uuid4().hex}:work"
