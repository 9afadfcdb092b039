"""Roster: who is alive, by a clock that the test turns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from trunkline import AgentState, AgentStatus
from trunkline.orchestrator.fleet.records import ORCHESTRATOR, Holder
from trunkline.orchestrator.fleet.roster import Roster


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
def roster(clock: Clock) -> Roster:
    return Roster(clock)


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


def go(clock: Clock, roster: Roster, seconds: float) -> None:
    """Time passes, second by second, in contact with the store."""
    until = clock.now + seconds
    while clock.now < until:
        clock.now = min(until, clock.now + 1)
        roster.in_contact(without_a_break=True)


def test_one_that_is_silent_for_its_timeout_is_dead(clock: Clock, roster: Roster) -> None:
    """A heartbeat keeps it alive; the same one again does not."""
    roster.saw(first := record())
    go(clock, roster, 4)
    roster.saw(record())
    go(clock, roster, 4)
    assert roster.lives(Holder("a", "1"))
    roster.saw(last := record())
    go(clock, roster, 4)
    roster.saw(last)
    go(clock, roster, 2)
    assert not roster.lives(Holder("a", "1"))
    assert roster.live() == []
    roster.saw(first)
    assert roster.lives(Holder("a", "1"))  # whatever it says, it has said something else


def test_silence_that_nobody_could_hear_does_not_count(clock: Clock, roster: Roster) -> None:
    """While the store was away, nobody could be heard; from then on it counts anew."""
    roster.saw(record())
    go(clock, roster, 3)
    clock.now += 60
    assert roster.lives(Holder("a", "1"))
    roster.in_contact(without_a_break=False)
    go(clock, roster, 4)
    assert roster.lives(Holder("a", "1"))
    go(clock, roster, 2)
    assert not roster.lives(Holder("a", "1"))


@pytest.mark.parametrize(("age", "lives"), [(0.0, True), (30.0, True), (-30.0, True), (100.0, False)])
def test_clocks_may_differ(roster: Roster, age: float, lives: bool) -> None:
    """One that is seen for the first time is given its time, unless its heartbeat is old whatever the clocks say."""
    roster.saw(record(beat=age))
    assert roster.lives(Holder("a", "1")) is lives


def test_each_start_is_another(roster: Roster) -> None:
    """One that was started again under its name is not the one that it was."""
    roster.saw(record(id="1"))
    roster.saw(record(id="2"))
    assert not roster.lives(Holder("a", "1"))
    assert roster.lives(Holder("a", "2"))
    assert not roster.lives(Holder("b", "1"))


def test_the_least_loaded_comes_first(roster: Roster) -> None:
    """By what runs and waits, for its size; equal ones by name. Who has shut down is not there."""
    roster.saw(record("full", running=4, waiting=2))
    roster.saw(record("b", running=1))
    roster.saw(record("a", waiting=1))
    roster.saw(record("idle"))
    over = record("over")
    over.status = AgentStatus.COMPLETED
    roster.saw(over)
    assert [(peer.holder.name, peer.load) for peer in roster.live()] == [
        ("idle", 0.0),
        ("a", 0.25),
        ("b", 0.25),
        ("full", 1.5),
    ]
    roster.gone("a")
    assert [peer.holder.name for peer in roster.live()] == ["idle", "b", "full"]
