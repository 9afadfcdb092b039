"""Peers: who is alive, by a clock that the test turns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from trunkline import AgentState, AgentStatus
from trunkline.orchestrator.fleet.peers import Peers
from trunkline.orchestrator.fleet.records import ORCHESTRATOR, Holder


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def peers(clock: Clock) -> Peers:
    return Peers(clock)


def record(name: str = "a", id: str = "1", beat: float = 0.0, *, running: int = 0, waiting: int = 0) -> AgentState:
    """An orchestrator's, with 4 workers and a timeout of 5 s, whose heartbeat is so many seconds old by our clock."""
    return AgentState(
        agent_id=name,
        agent_type=ORCHESTRATOR,
        status=AgentStatus.RUNNING,
        last_heartbeat=datetime.now(UTC) - timedelta(seconds=beat),
        metadata={
            "kind": ORCHESTRATOR,
            "orchestrator_id": id,
            "running_count": running,
            "waiting_count": waiting,
            "max_workers": 4,
            "heartbeat_timeout": 5.0,
        },
    )


def go(clock: Clock, peers: Peers, seconds: float) -> None:
    """Time passes, second by second, in contact with the store."""
    until = clock.now + seconds
    while clock.now < until:
        clock.now = min(until, clock.now + 1)
        peers.in_contact(without_a_break=True)


def test_one_that_is_silent_for_its_timeout_is_dead(clock: Clock, peers: Peers) -> None:
    """A heartbeat keeps it alive; the same one again does not."""
    peers.saw(first := record())
    go(clock, peers, 4)
    peers.saw(record())
    go(clock, peers, 4)
    assert peers.lives(Holder("a", "1"))
    peers.saw(last := record())
    go(clock, peers, 4)
    peers.saw(last)
    go(clock, peers, 2)
    assert not peers.lives(Holder("a", "1"))
    assert peers.live() == []
    peers.saw(first)
    assert peers.lives(Holder("a", "1"))  # whatever it says, it has said something else


def test_silence_that_nobody_could_hear_does_not_count(clock: Clock, peers: Peers) -> None:
    """While the store was away, nobody could be heard; from then on it counts anew."""
    peers.saw(record())
    go(clock, peers, 3)
    clock.now += 60
    assert peers.lives(Holder("a", "1"))
    peers.in_contact(without_a_break=False)
    go(clock, peers, 4)
    assert peers.lives(Holder("a", "1"))
    go(clock, peers, 2)
    assert not peers.lives(Holder("a", "1"))


@pytest.mark.parametrize(("age", "lives"), [(0.0, True), (30.0, True), (-30.0, True), (100.0, False)])
def test_clocks_may_differ(peers: Peers, age: float, lives: bool) -> None:
    """One that is seen for the first time is given its time, unless its heartbeat is old whatever the clocks say."""
    peers.saw(record(beat=age))
    assert peers.lives(Holder("a", "1")) is lives


def test_each_start_is_another(peers: Peers) -> None:
    """One that was started again under its name is not the one that it was."""
    peers.saw(record(id="1"))
    peers.saw(record(id="2"))
    assert not peers.lives(Holder("a", "1"))
    assert peers.lives(Holder("a", "2"))
    assert not peers.lives(Holder("b", "1"))


def test_the_least_loaded_comes_first(peers: Peers) -> None:
    """By what runs and waits, for its size; equal ones by name. Who has shut down is not there."""
    peers.saw(record("full", running=4, waiting=2))
    peers.saw(record("b", running=1))
    peers.saw(record("a", waiting=1))
    peers.saw(record("idle"))
    over = record("over")
    over.status = AgentStatus.COMPLETED
    peers.saw(over)
    assert [(peer.holder.name, peer.load) for peer in peers.live()] == [
        ("idle", 0.0),
        ("a", 0.25),
        ("b", 0.25),
        ("full", 1.5),
    ]
    peers.gone("a")
    assert [peer.holder.name for peer in peers.live()] == ["idle", "b", "full"]
