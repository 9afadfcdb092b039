"""Agents that loop, and those that do so at intervals."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.agents import crew
from tests.agents.patience import until
from trunkline.agents import BaseAgent, LoopingConfig, PeriodicConfig
from trunkline.message_channel import MessageChannel

COUNTERS: dict[str, type[crew.Counter]] = {"thread": crew.ThreadCounter, "process": crew.ProcessCounter}
TICKERS: dict[str, type[crew.Ticker]] = {"thread": crew.ThreadTicker, "process": crew.ProcessTicker}
KINDS = ["thread", "process"]


def ticks(diary: Path) -> list[float]:
    """When it ran."""
    return [float(line) for line in crew.read(diary)]


def said(channel: MessageChannel) -> list[str]:
    """What came from an agent that has ended, but its heartbeats."""
    found = []
    while (message := channel.receive(0)) is not None:
        found.append(message.payload)
    return [each for each in found if each != "heartbeat"]


def run(agent: BaseAgent) -> None:
    """A whole life."""
    agent.start()
    assert agent.join(20)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [0, 1, 7])
def test_it_cycles_as_often_as_its_limit_says(kind: str, limit: int, diary: Path) -> None:
    """0 is not at all."""
    run(COUNTERS[kind](config=LoopingConfig(limit=limit), diary=str(diary)))
    assert crew.read(diary) == [f"{limit} turns"]


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_limit_it_cycles_until_it_stops_itself(kind: str, diary: Path) -> None:
    """`self.stop()` in a turn: that turn is finished, and is the last."""
    run(COUNTERS[kind](diary=str(diary), last=50))
    assert crew.read(diary) == ["50 turns"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_recoverable_error_costs_one_turn(kind: str, channel: MessageChannel, diary: Path) -> None:
    """It is told, and the next turn follows; the agent has not failed."""
    config = LoopingConfig(limit=4)
    end = channel.endpoint("one", local=kind == "thread")
    agent = COUNTERS[kind](end, name="one", config=config, diary=str(diary), bad=(2, 3))
    run(agent)
    assert crew.read(diary) == ["4 turns"]
    until(lambda: not agent.is_alive())
    assert said(channel) == [
        *("agent_started", "agent_ready"),
        *("ERROR: RecoverableError: turn 2 was bad", "ERROR: RecoverableError: turn 3 was bad"),
        *("RESULT:4", "agent_close"),
    ]
    assert agent.agent_runner is not None
    assert agent.agent_runner.failure() is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_periodic_agent_runs_at_once_and_then_at_its_interval(kind: str, diary: Path) -> None:
    """It sleeps in between, and does not wait after the last run."""
    config = PeriodicConfig(limit=3, execution_interval=0.1)
    run(TICKERS[kind](config=config, diary=str(diary)))
    times = ticks(diary)
    assert len(times) == 3
    assert all(later - earlier >= 0.1 for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sleeping_periodic_agent_wakes_to_end(kind: str, diary: Path) -> None:
    """An interval of an hour delays no stop, and no run follows it."""
    agent = TICKERS[kind](config=PeriodicConfig(execution_interval=3600), diary=str(diary))
    agent.start()
    until(lambda: len(ticks(diary)) == 1)
    agent.stop()
    assert agent.join(20)
    assert len(ticks(diary)) == 1


def test_without_compensation_the_interval_counts_from_the_end_of_a_run(diary: Path) -> None:
    """The work's own time is added."""
    run(crew.ThreadTicker(config=PeriodicConfig(limit=3, execution_interval=0.1), diary=str(diary), takes=0.1))
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(ticks(diary)))


def test_with_compensation_the_interval_counts_from_the_beginning_of_a_run(diary: Path) -> None:
    """The runs stand on a grid: none is early, and what one run took does not shift the next."""
    config = PeriodicConfig(limit=4, execution_interval=0.2, delay_compensation=True)
    run(crew.ThreadTicker(config=config, diary=str(diary), takes=0.15))
    times = ticks(diary)
    assert times[-1] - times[0] >= 0.6
    # 0.35 s apart without compensation; with it a late run is followed by an earlier one, not by a pause
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) < 0.35


def test_an_interval_of_zero_is_no_pause(diary: Path) -> None:
    """The next run follows at once."""
    run(crew.ThreadTicker(config=PeriodicConfig(limit=200, execution_interval=0), diary=str(diary)))
    assert len(ticks(diary)) == 200
