"""What a review agent does with figures, on a real bus and a real store."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any
from uuid import uuid4

import pytest

from tests.patience import PATIENCE
from trunkline import AgentMessage, AgentType, MessageType
from trunkline.demo import kept
from trunkline.demo.audit import audit
from trunkline.demo.measuring import measure
from trunkline.demo.narrator import Narrator
from trunkline.demo.posts import Job, Post
from trunkline.demo.review_agent import ReviewAgent
from trunkline.sync import MessageBus, StateManager

CONTENT = b"def f():\n    return 1\n"
Review = Callable[[str, dict[str, Any]], AgentMessage]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "a.py").write_bytes(CONTENT)
    return Job(f"demo-{uuid4()}", tmp_path)


@pytest.fixture
def store(state_address: str) -> Iterator[StateManager]:
    with StateManager(state_address) as state:
        yield state


@pytest.fixture
def review(job: Job, bus_address: str, state_address: str) -> Iterator[Review]:
    """Gives figures to a review agent, and returns what it tells the coordinator."""
    post = Post(job, "review-1", AgentType.REVIEW, "thread", "bus", bus_address, state_address)
    notices: queue.Queue[AgentMessage] = queue.Queue()
    with MessageBus(bus_address) as bus, ReviewAgent(post=post) as agent:
        bus.subscribe(job.notices, notices.put)
        assert agent.state_events.ready_event.wait(5)
        rounds = itertools.count(1)

        def give(coded_by: str, changes: dict[str, Any]) -> AgentMessage:
            figures = {**asdict(measure(PurePath("a.py"), CONTENT)), **changes}
            facts = {"path": "a.py", "round": next(rounds), "attempt": 1, "coded_by": coded_by, "figures": figures}
            report = AgentMessage(message_type=MessageType.TASK_RESULT, sender_id=coded_by, payload=facts)
            bus.publish(job.reviews, report, stored=True)
            return notices.get(timeout=PATIENCE)

        yield give
    kept.forget(bus_address, job)


def test_an_audit_finds_what_is_stored_and_wrong(
    review: Review, job: Job, store: StateManager, bus_address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until then it says how far it is, and who does it."""
    review("coder-1", {})
    with MessageBus(bus_address) as bus:
        assert audit(job, bus, Narrator(as_json=True)) == []
        assert "1 of 1 results audited by review-1" in capsys.readouterr().err
        result = store.get_task_result(job.task_id("a.py"))
        assert result is not None
        store.save_task_result(result.model_copy(update={"output_data": {**result.output_data, "lines": 3}}))
        assert audit(job, bus, Narrator(as_json=True)) == [
            "a.py is stored with wrong figures: lines: measured 3, recounted 2"
        ]


def test_an_audit_that_cannot_be_made_says_why(review: Review, job: Job, bus_address: str) -> None:
    """Here because a file is gone."""
    review("coder-1", {})
    (job.root / "a.py").unlink()
    with MessageBus(bus_address) as bus:
        (problem,) = audit(job, bus, Narrator(as_json=True))
    assert problem.startswith("the audit failed: ")
    assert "a.py" in problem


def test_approved_figures_are_stored_under_who_coded_them(review: Review, job: Job, store: StateManager) -> None:
    """With who reviewed them."""
    notice = review("coder-1", {})
    assert (notice.message_type, notice.payload["stored"]) == (MessageType.TASK_RESULT, True)
    assert notice.payload["attempts"] == {"coding": 1, "review": 1}
    result = store.get_task_result(job.task_id("a.py"))
    assert result is not None
    assert (result.agent_id, result.output_data["functions"]) == ("coder-1", 1)
    assert result.metadata["reviewed_by"] == f"{job.id}.review-1"


def test_the_second_result_of_a_file_is_refused(review: Review, job: Job, store: StateManager) -> None:
    """A task that was done twice is stored once, whoever comes second."""
    assert review("coder-1", {}).payload["stored"] is True
    assert review("coder-2", {}).payload["stored"] is False
    result = store.get_task_result(job.task_id("a.py"))
    assert result is not None
    assert result.agent_id == "coder-1"


def test_wrong_figures_go_back_with_the_reason_and_are_not_stored(
    review: Review, job: Job, store: StateManager
) -> None:
    """As feedback to the coordinator."""
    notice = review("coder-1", {"lines": 3})
    assert notice.message_type == MessageType.FEEDBACK
    assert notice.payload == {"path": "a.py", "round": 1, "reason": "lines: measured 3, recounted 2"}
    assert store.get_task_result(job.task_id("a.py")) is None
