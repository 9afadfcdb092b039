"""The pairs that one program runs on, unchanged but for two constructors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple
from uuid import uuid4

import pytest

from trunkline import (
    GrpcMessageBus,
    GrpcStateManager,
    InMemoryMessageBus,
    InMemoryStateManager,
    MessageBus,
    StateManager,
)


class Pair(NamedTuple):
    """What a program of ConductorAI makes its bus and its store with."""

    new_bus: Callable[[], MessageBus]
    new_state: Callable[[], StateManager]


def _pair(request: pytest.FixtureRequest, bus_fixture: str, state_fixture: str) -> Pair:
    if request.param == "memory":
        return Pair(InMemoryMessageBus, InMemoryStateManager)
    bus, state = (request.getfixturevalue(name).address for name in (bus_fixture, state_fixture))
    return Pair(lambda: GrpcMessageBus(bus), lambda: GrpcStateManager(state))


@pytest.fixture(params=["memory", "grpc"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """In memory, and against the session's services: use channels and ids of your own."""
    return _pair(request, "bus_program", "state_program")


@pytest.fixture(params=["memory", "grpc"])
def own_pair(request: pytest.FixtureRequest) -> Pair:
    """In memory, and against services of this test alone: nobody else's channels and records are there."""
    return _pair(request, "killable_bus", "killable_state")


@pytest.fixture
async def bus(pair: Pair) -> AsyncIterator[MessageBus]:
    """A connected bus."""
    async with pair.new_bus() as bus:
        yield bus


@pytest.fixture
async def state(pair: Pair) -> AsyncIterator[StateManager]:
    """A connected store."""
    async with pair.new_state() as state:
        yield state


@pytest.fixture
def name() -> str:
    """What this test alone calls its channels and records."""
    return f"conductor-{uuid4().hex[:12]}"
