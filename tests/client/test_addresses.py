"""What is no address is refused at once, by everything that takes one, and the text says what an address is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import trunkline
from trunkline import sync
from trunkline.agents import BaseThreadAgent
from trunkline.errors import InvalidAddressError
from trunkline.orchestrator import Orchestrator


class Agent(BaseThreadAgent):
    """Does nothing."""

    def execute(self) -> None:
        """Nothing."""


TAKERS: dict[str, Callable[[str], Any]] = {
    "bus": trunkline.GrpcMessageBus,
    "state": trunkline.GrpcStateManager,
    "sync bus": sync.MessageBus,
    "sync state": sync.StateManager,
    "channel": lambda address: trunkline.MessageChannel("thread", address=address),
    "agent's bus": lambda address: Agent(bus_address=address),
    "agent's state": lambda address: Agent(state_address=address),
    "stack's bus": lambda address: trunkline.LocalStack(bus_address=address),
    "stack's sidecar": lambda address: trunkline.LocalStack(sidecar_address=address),
    "orchestrator's bus": lambda address: Orchestrator(Orchestrator.Config(bus_address=address)),
    "orchestrator's state": lambda address: Orchestrator(Orchestrator.Config(state_address=address)),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("address", ["http://127.0.0.1:7431", "127.0.0.1:99999", "", "7431", "unix:"])
def test_what_is_no_address_is_refused_at_once(taker: str, address: str) -> None:
    """Not when it connects, and not with gRPC's own words."""
    with pytest.raises((ValueError, trunkline.TrunklineError), match=r"want host:port|needs a path"):
        TAKERS[taker](address)


def test_the_error_is_caught_by_either_name() -> None:
    """As an error of Trunkline and as a ValueError; it names the value."""
    with pytest.raises(InvalidAddressError) as caught:
        trunkline.GrpcMessageBus("http://127.0.0.1:7431")
    assert isinstance(caught.value, ValueError)
    assert caught.value.to_dict()["details"] == {"field": "address", "value": "http://127.0.0.1:7431"}


@pytest.mark.parametrize("address", [None, 7431])
def test_an_address_is_text(address: Any) -> None:
    """A port alone is none."""
    with pytest.raises(TypeError, match="an address must be text"):
        trunkline.GrpcStateManager(address)
