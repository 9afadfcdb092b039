"""Fleets of real orchestrators for the tests, over a bus and a state store of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.fleet.nodes import Node
from tests.programs import RunningProgram
from trunkline.orchestrator import Fleet

StartNode = Callable[..., Node]


@pytest.fixture
def start_node(killable_bus: RunningProgram, killable_state: RunningProgram) -> Iterator[StartNode]:
    """`start_node("a", max_workers=3)` starts an orchestrator that ends with the test; `wait_ready()` waits for it."""
    nodes: list[Node] = []

    def start(name: str, **config: Any) -> Node:
        node = Node(name, killable_bus.address, killable_state.address, **config)
        nodes.append(node)
        return node

    try:
        yield start
    finally:
        for node in nodes:
            if node.process.poll() is None and node.process.stdin is not None:
                node.resume()
                node.process.stdin.close()  # all of them at once; `end` waits for each
        for node in nodes:
            node.end()


@pytest.fixture
async def fleet(killable_bus: RunningProgram, killable_state: RunningProgram) -> AsyncIterator[Fleet]:
    """The same fleet, from outside."""
    async with Fleet(killable_bus.address, killable_state.address) as fleet:
        yield fleet
