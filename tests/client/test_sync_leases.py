"""Leases and presence by the synchronous face."""

from __future__ import annotations

import threading
from uuid import uuid4

import pytest

import trunkline
from tests.patience import PATIENCE
from trunkline import AgentState, LeaseHeldError, LeaseLostError


def test_a_lease_is_held_renewed_and_lost(state_address: str) -> None:
    """It is a fence and a binding like the asynchronous one; the callback gets the synchronous lease."""
    name, lost = uuid4().hex, threading.Event()
    with trunkline.sync.StateManager(state_address) as state:
        with state.acquire(name, ttl=600) as lease:
            assert lease.is_held
            state.save_agent_state(AgentState(agent_id=name, agent_type="coding"), lease=lease, fence=lease)
            with pytest.raises(LeaseHeldError):
                state.acquire(name)
        assert state.get_agent_state(name) is None
        with pytest.raises(LeaseLostError):
            state.save_agent_state(AgentState(agent_id=name, agent_type="coding"), fence=lease)
        said: list[object] = []

        def note(lease: object) -> None:
            said.append(lease)
            lost.set()

        lease = state.acquire(name, ttl=0.5, on_lost=note)
        state.release_lease(name, lease.number)
        assert lost.wait(PATIENCE)
        assert said == [lease]
        assert isinstance(lease.error, LeaseLostError)


def test_an_agent_is_announced_and_found(state_address: str) -> None:
    """Until it is withdrawn."""
    name = uuid4().hex
    with trunkline.sync.StateManager(state_address) as state:
        with state.announce(name, [name]) as announced:
            announced.update(status="running")
            assert state.find_agents(capability=name, status="running") == [announced.presence]
            assert announced.is_announced
        assert state.find_agents(capability=name) == []
        state.save_agent_state(AgentState(agent_id=name, agent_type="coding"), ttl=60)
        assert state.touch("agent_state", name)
