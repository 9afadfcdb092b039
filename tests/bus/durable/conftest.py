"""A bus for each test, over each engine: the real program on a real server, in the process of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.bus.durable.bus import Bus


@pytest.fixture(params=["sqlite", "memory"])
async def bus(request: pytest.FixtureRequest, socket_dir: Path) -> AsyncIterator[Bus]:
    """A bus over each engine, started."""
    async with Bus(socket_dir, request.param) as bus:
        yield bus


@pytest.fixture
async def kept(socket_dir: Path) -> AsyncIterator[Bus]:
    """A bus over the sqlite engine, which alone keeps anything when the bus is started again."""
    async with Bus(socket_dir, "sqlite") as bus:
        yield bus


@pytest.fixture
def stub(bus: Bus) -> Any:
    """Its raw stub."""
    return bus.stub


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"wire:{uuid4().hex}:work"
