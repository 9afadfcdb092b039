"""What the coordinator makes of files that cannot be done, on a real bus and a real store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any
from uuid import uuid4

import pytest

from trunkline import AgentType, TaskResult, TaskStatus
from trunkline.demo import kept
from trunkline.demo.accident import Accident, Killed
from trunkline.demo.agent import Agent
from trunkline.demo.coding_agent import CodingAgent
from trunkline.demo.coordinator import Coordinator
from trunkline.demo.ledger import Ledger
from trunkline.demo.limits import MAX_DELIVERIES, MAX_ROUNDS
from trunkline.demo.measuring import measure
from trunkline.demo.narrator import Narrator
from trunkline.demo.posts import COORDINATOR, Job, Post
from trunkline.demo.programs import Addresses
from trunkline.demo.review_agent import ReviewAgent
from trunkline.demo.team import Team
from trunkline.orchestrator import Orchestrator
from trunkline.sync import DurableMessage, MessageBus, StateManager

SECONDS = 60.0


class HopelessAgent(CodingAgent):
    """Gives back whatever it is handed, as one does that meets an error of its services."""

    def work(self, message: DurableMessage) -> None:
        self.store.get_agent_state("")


class CarelessAgent(CodingAgent):
    """Counts a line too many."""

    def figures(self, path: str) -> dict[str, Any]:
        figures = measure(PurePath(path), (self.post.job.root / path).read_bytes())
        return asdict(replace(figures, lines=figures.lines + 1))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "a.py").write_text("x = 1\n")
    return Job(f"demo-{uuid4()}", tmp_path)


@pytest.fixture
def services(bus_address: str, state_address: str) -> Iterator[tuple[MessageBus, StateManager]]:
    with MessageBus(bus_address) as bus, StateManager(state_address) as state:
        yield bus, state


class Watched(Accident):
    """Nobody is killed; it knows how many files had a receipt when it began."""

    ledger: Ledger
    receipts: int | None = None

    def go_on(self, measured: int, total: int) -> list[Killed]:
        killed = super().go_on(measured, total)
        if self.has_begun and self.receipts is None:
            self.receipts = len(self.ledger.receipts)
        return killed


Run = Callable[..., tuple[Coordinator, Ledger]]


@pytest.fixture
def run(job: Job, services: tuple[MessageBus, StateManager], bus_address: str, state_address: str) -> Iterator[Run]:
    """Lets a coordinator and these agents work on files until those are done or given up."""
    bus, state = services
    addresses = Addresses(bus_address, state_address, "", "", None)

    def work(paths: list[str], *roles: type[Agent], accident: Watched | None = None) -> tuple[Coordinator, Ledger]:
        ledger = Ledger(paths)
        accident = accident or Watched(None, None)
        accident.ledger = ledger
        coordinator = Coordinator(job, ledger, addresses, bus, state, Narrator(as_json=True), lambda: None)
        posts = [
            Post(job, role.__name__, AgentType.CODING, "thread", "bus", bus_address, state_address) for role in roles
        ]
        with Orchestrator(Orchestrator.Config(max_workers=len(roles))) as orchestrator:
            entries = [
                orchestrator.register_agent(role, post.name, post=post) for role, post in zip(roles, posts, strict=True)
            ]
            orchestrator.start()
            assert all(entry.state_events.ready_event.wait(SECONDS) for entry in entries)
            team = Team([], addresses, bus)
            assert coordinator.run(team, accident, time.monotonic() + SECONDS)
        return coordinator, ledger

    yield work
    kept.forget(bus_address, job)


def _result(services: tuple[MessageBus, StateManager], job: Job, path: str) -> TaskResult:
    result = services[1].get_task_result(job.task_id(path))
    assert result is not None
    return result


def test_a_file_that_is_measured_and_reviewed_is_done(
    run: Run, job: Job, services: tuple[MessageBus, StateManager]
) -> None:
    """By an agent of each kind."""
    _, ledger = run(["a.py"], CodingAgent, ReviewAgent)
    assert ledger.done == {"a.py": f"{job.id}.CodingAgent"}
    assert _result(services, job, "a.py").status == TaskStatus.COMPLETED


def test_a_file_that_cannot_be_read_is_stored_as_failed_at_once(
    run: Run, job: Job, services: tuple[MessageBus, StateManager]
) -> None:
    """No other agent could read it."""
    _, ledger = run(["gone.py"], CodingAgent)
    assert "gone.py" in ledger.given_up["gone.py"]
    result = _result(services, job, "gone.py")
    assert (result.status, result.agent_id) == (TaskStatus.FAILED, COORDINATOR)


def test_a_file_whose_figures_are_always_wrong_is_given_up_after_some_rounds(
    run: Run, job: Job, services: tuple[MessageBus, StateManager]
) -> None:
    """Each rejection assigns it anew."""
    coordinator, ledger = run(["a.py"], CarelessAgent, ReviewAgent)
    assert coordinator.rejections == MAX_ROUNDS - 1
    assert ledger.given_up == {"a.py": "lines: measured 2, recounted 1"}
    assert _result(services, job, "a.py").status == TaskStatus.FAILED


def test_a_dead_letter_is_stored_as_failed(
    run: Run, job: Job, services: tuple[MessageBus, StateManager], bus_address: str
) -> None:
    """It was handed out as often as allowed; the reason is the last error."""
    _, ledger = run(["a.py"], HopelessAgent, ReviewAgent)
    assert ledger.given_up["a.py"].startswith("it is a dead letter: InvalidRecordError")
    assert _result(services, job, "a.py").status == TaskStatus.FAILED
    coding = kept.read(bus_address, job)[0]
    assert (coding.delivered, coding.redelivered, coding.dead_letters) == (MAX_DELIVERIES, MAX_DELIVERIES - 1, 1)


def test_half_of_the_work_is_left_when_the_accident_begins(run: Run, job: Job) -> None:
    """However fast the agents are."""
    paths = [f"{number}.py" for number in range(9)]
    for path in paths:
        (job.root / path).write_text("x = 1\n")
    accident = Watched(None, None)
    _, ledger = run(paths, CodingAgent, ReviewAgent, accident=accident)
    assert accident.receipts == 5
    assert ledger.done.keys() == set(paths)


def test_the_other_half_follows_where_the_first_cannot_be_measured(run: Run, job: Job) -> None:
    (job.root / "b.py").write_text("x = 1\n")
    _, ledger = run(["gone.py", "away.py", "a.py", "b.py"], CodingAgent, ReviewAgent)
    assert ledger.given_up.keys() == {"gone.py", "away.py"}
    assert ledger.done.keys() == {"a.py", "b.py"}
