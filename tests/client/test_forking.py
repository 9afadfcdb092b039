"""A process that was forked from a connected one: gRPC does not survive that, and it is told so instead of waiting."""

from __future__ import annotations

import json

import pytest

from tests.programs import run_program


@pytest.mark.parametrize("client", ["own", "inherited"])
@pytest.mark.parametrize("kind", ["bus", "state", "sync-bus", "sync-state"])
def test_a_forked_child_is_told_and_its_parent_goes_on(
    bus_address: str, state_address: str, kind: str, client: str
) -> None:
    """Whether it makes a client of its own or uses its parent's, which it can also let go of."""
    address = state_address if kind.endswith("state") else bus_address
    done = run_program(kind, client, address, module="tests.client.forking")
    assert done.returncode == 0, done.stderr
    child, parent = map(json.loads, done.stdout.splitlines())
    assert child["error"] == ("STATE_DISCONNECTED" if kind.endswith("state") else "BUS_DISCONNECTED")
    assert "this process was forked from one that had a Trunkline connection open" in child["text"]
    assert "multiprocessing.get_context('spawn'), or fork before anything connects" in child["text"]
    assert (child["who"], parent) == ("child", {"who": "parent", "error": None})
