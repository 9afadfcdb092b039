"""state leases and state agents against a real StateService."""

from __future__ import annotations

import json
from uuid import uuid4

import trunkline as tl
from tests.cli.conftest import Trunkline


def test_leases_are_listed_shown_and_released(trunkline: Trunkline, state_address: str) -> None:
    """Exit code 3 where nobody holds it; a number that does not hold it any more is refused."""
    name = uuid4().hex
    with tl.sync.StateManager(state_address) as state:
        lease = state.acquire(name, ttl=600, holder="me", metadata={"a": 1})
        for command in (("list",), ("show", name)):
            listed = trunkline("state", "leases", *command, "--format", "json")
            assert listed.returncode == 0, listed.stderr
            [seen] = [each for line in listed.stdout.splitlines() if (each := json.loads(line))["name"] == name]
            assert (seen["number"], seen["holder"], seen["ttl"], seen["metadata"]) == (
                lease.number,
                "me",
                600,
                {"a": 1},
            )
            assert seen["written_by"].startswith("ipv4:127.0.0.1:")
        assert "me" in trunkline("state", "leases", "show", name).stdout
        assert trunkline("state", "leases", "release", name, "--number", str(lease.number + 1)).returncode != 0
        released = trunkline("state", "leases", "release", name)
        assert released.stdout == f"released {name}, which was held with number {lease.number}\n"
        for verb in ("show", "release"):
            said = trunkline("state", "leases", verb, name)
            assert (said.returncode, said.stderr) == (3, f"error: nobody holds the lease '{name}' (NOT_FOUND)\n")


def test_agents_are_found(trunkline: Trunkline, state_address: str) -> None:
    """By what they can do, as a table and as JSON."""
    name = uuid4().hex
    with tl.sync.StateManager(state_address) as state, state.announce(name, [name, "other"], type="coding"):
        found = trunkline("state", "agents", "find", "--capability", name, "--format", "json")
        [seen] = [json.loads(line) for line in found.stdout.splitlines()]
        assert (seen["agent_id"], seen["agent_type"], seen["capabilities"]) == (name, "coding", [name, "other"])
        assert name in trunkline("state", "agents", "find", "--type", "coding", "--status", "idle").stdout
    assert trunkline("state", "agents", "find", "--capability", name, "--format", "json").stdout == ""
