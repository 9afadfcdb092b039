"""Peers: the orchestrators that are there."""

from __future__ import annotations

from trunkline import AgentState, AgentStatus
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.fleet.peers import Peers
from trunkline.orchestrator.fleet.records import ORCHESTRATOR


def record(name: str = "a", id: str = "1", *, running: int = 0, waiting: int = 0) -> AgentState:
    """An orchestrator's, with 4 workers."""
    return AgentState(
        agent_id=name,
        agent_type=ORCHESTRATOR,
        status=AgentStatus.RUNNING,
        metadata={
            "kind": ORCHESTRATOR,
            "orchestrator_id": id,
            "running_count": running,
            "waiting_count": waiting,
            "max_workers": 4,
        },
    )


def test_each_start_is_another() -> None:
    """One that was started again under its name is not the one that it was."""
    peers = Peers()
    peers.saw(record(id="1"))
    assert peers.lives(Holder("a", "1"))
    peers.saw(record(id="2"))
    assert not peers.lives(Holder("a", "1"))
    assert peers.lives(Holder("a", "2"))
    assert not peers.lives(Holder("b", "1"))
    peers.gone("a")
    assert not peers.lives(Holder("a", "2"))


def test_the_least_loaded_comes_first() -> None:
    """By what runs and waits, for its size; equal ones by name."""
    peers = Peers()
    peers.saw(record("full", running=4, waiting=2))
    peers.saw(record("b", running=1))
    peers.saw(record("a", waiting=1))
    peers.saw(record("idle"))
    assert [(peer.holder.name, peer.load) for peer in peers.live()] == [
        ("idle", 0.0),
        ("a", 0.25),
        ("b", 0.25),
        ("full", 1.5),
    ]
    peers.keep({"idle", "b", "full", "stranger"})
    assert [peer.holder.name for peer in peers.live()] == ["idle", "b", "full"]
