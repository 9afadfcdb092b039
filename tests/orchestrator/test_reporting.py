"""What a real orchestrator says of itself: complete, in pages, what is wrong first, and within bounds."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.orchestrator.sample_agents import Failing, Finishing, Ticking, TickingProcess
from trunkline.agents import AgentConfig, BaseThreadAgent
from trunkline.message_channel.limits import MAX_LINE_BYTES
from trunkline.orchestrator import CommandError, Orchestrator, OrchestratorEvent, RestartPolicy
from trunkline.orchestrator.commands.resources import Resources
from trunkline.orchestrator.limits import MAX_AGENTS_REPORTED, MAX_ERROR_REPORTED, MAX_ERRORS_REPORTED

SECONDS = 30.0


class Hanging(BaseThreadAgent):
    """Its one step never ends, so that its heartbeats stop, until `release`."""

    release = threading.Event()

    class Config(AgentConfig):
        heartbeat_interval = 0.02
        heartbeat_timeout = 0.2
        step_timeout = 0.05
        stop_timeout = 0.2

    def execute(self) -> None:
        self.release.wait()


@pytest.fixture
def orchestrator() -> Iterator[Orchestrator]:
    with Orchestrator(Orchestrator.Config(max_workers=50)) as orchestrator:
        yield orchestrator


def when(orchestrator: Orchestrator, event: OrchestratorEvent, count: int = 1) -> Callable[[], None]:
    """Call it to wait until the event has happened so often."""
    happened = threading.Semaphore(0)
    orchestrator.register_event(event, happened.release)

    def wait() -> None:
        for _ in range(count):
            assert happened.acquire(timeout=SECONDS)

    return wait


def start(orchestrator: Orchestrator) -> None:
    """All agents, until the ones that end by themselves have."""
    ends = sum(issubclass(entry.agent_class, Failing | Finishing) for entry in orchestrator.memory.agents)
    ended = when(orchestrator, OrchestratorEvent.AGENT_TERMINATED, ends)
    ready = when(orchestrator, OrchestratorEvent.AGENT_READY, len(orchestrator.memory))
    orchestrator.start()
    ended()
    ready()


def test_ps_in_pages_is_ps(orchestrator: Orchestrator) -> None:
    """Of every size: each agent once, in the order of registration, with the same counts on each page."""
    for number in range(7):
        orchestrator.register_agent(Ticking, f"a{number}")
    whole = orchestrator.reporting.ps()
    assert [agent["agent_name"] for agent in whole["agents"]] == [f"a{number}" for number in range(7)]
    assert "next_page_token" not in whole
    for size in range(1, 9):
        agents: list[Any] = []
        token = ""
        while True:
            page = orchestrator.reporting.ps(size, token)
            assert len(page["agents"]) <= size
            agents += page["agents"]
            if "next_page_token" not in page:
                break
            token = page["next_page_token"]
        assert agents == whole["agents"]
    with pytest.raises(CommandError, match="page token 'zz' is none that was given out"):
        orchestrator.reporting.ps(3, "zz")


def test_status_of_the_orchestrator_has_no_name(orchestrator: Orchestrator) -> None:
    """By which older clients tell it from an agent's."""
    orchestrator.register_agent(Ticking, "a")
    assert "name" not in orchestrator.reporting.status()
    assert orchestrator.reporting.status()["total_agents"] == 1
    assert orchestrator.reporting.agent_status("a")["name"] == "a"


def test_stats_are_of_agents_that_were_started(orchestrator: Orchestrator) -> None:
    """A process with its own figures, a thread without; one that has ended keeps its uptime."""
    orchestrator.register_agent(TickingProcess, "process")
    orchestrator.register_agent(Finishing, "done")
    start(orchestrator)
    orchestrator.register_agent(Ticking, "idle")
    stats = orchestrator.reporting.stats()
    process, done = stats["agents"]
    assert process["memory_mb"] > 1
    assert process["cpu_percent"] is not None
    assert process["uptime"] == f"{int(process['uptime_seconds'])}s"
    assert (done["alive"], done["heartbeat_age_seconds"], done["pid"]) == (False, None, None)
    assert done["uptime_seconds"] == orchestrator.reporting.stats()["agents"][1]["uptime_seconds"]
    assert stats["orchestrator"]["states"]["registered"] == 1
    first = orchestrator.reporting.stats(1)
    assert [agent["name"] for agent in first["agents"]] == ["process"]
    assert orchestrator.reporting.stats(1, first["next_page_token"])["agents"][0]["name"] == "done"


def test_the_report_begins_with_the_worst(orchestrator: Orchestrator) -> None:
    """Hung, failed, about to be restarted; then who had errors and goes on; then the others as they were registered."""
    orchestrator.register_agent(Ticking, "calm")
    orchestrator.register_agent(Failing, "backs off", restart=RestartPolicy("on_failure", initial_delay=30))
    orchestrator.register_agent(Failing, "failed")
    orchestrator.register_agent(Ticking, "moody")
    orchestrator.register_agent(Hanging, "hangs")
    hung = when(orchestrator, OrchestratorEvent.AGENT_HUNG)
    start(orchestrator)
    hung()
    orchestrator.memory.get_agent("moody").note_error("long ago")
    try:
        report = orchestrator.reporting.report()
    finally:
        Hanging.release.set()
    states = {agent["name"]: agent["state"] for agent in report["agents"]}
    assert [*states] == ["hangs", "failed", "backs off", "moody", "calm"]
    assert [*states.values()] == ["hung", "failed", "backing_off", "ready", "ready"]
    assert [(each["agent"], each["is_over"]) for each in report["problems"]] == [
        *(("hangs", False), ("failed", False), ("backs off", False), ("moody", True)),
    ]
    assert "nothing was heard of it for 0.2 s" in report["problems"][0]["recent_errors"][-1]["error"]


def test_a_report_stays_within_its_bounds(orchestrator: Orchestrator) -> None:
    """However many agents, errors, and words there are: it fits into one line of the socket."""
    for number in range(MAX_AGENTS_REPORTED + 50):
        orchestrator.register_agent(Ticking, f"a{number}")
    for entry in orchestrator.memory.agents:
        for _ in range(30):
            entry.note_error("💥" * 10_000)
        orchestrator.event_store.add("AGENT", "AGENT_RESULT", entry.name, result="💥" * 100_000)
    report = orchestrator.reporting.report()
    assert (len(report["agents"]), report["agents_not_listed"]) == (MAX_AGENTS_REPORTED, 50)
    errors = report["problems"][0]["recent_errors"]
    assert len(errors) == MAX_ERRORS_REPORTED
    assert len(errors[0]["error"]) == MAX_ERROR_REPORTED
    assert report["problems"][0]["errors"] == 30
    assert len(json.dumps(json.dumps(report, ensure_ascii=False))) < MAX_LINE_BYTES


def test_history_is_told_from_both_ends(orchestrator: Orchestrator) -> None:
    """The first ones page forward, the last ones are the newest; the newest sequence of all is always said."""
    for number in range(5):
        orchestrator.event_store.add("AGENT", "AGENT_READY", f"a{number % 2}")

    def sequences(**wanted: Any) -> list[int]:
        answer = orchestrator.reporting.history(**wanted)
        assert answer["count"] == len(answer["events"])
        assert answer["last_seq"] == 5
        return [event["seq"] for event in answer["events"]]

    assert sequences() == [1, 2, 3, 4, 5]
    assert sequences(first=2, after_seq=1) == [2, 3]
    assert sequences(last=2) == [4, 5]
    assert sequences(agent="a1") == [2, 4]
    assert sequences(after_seq=5) == []
    assert orchestrator.reporting.history_stats("a1")["statistics"] == {"by_type": {"AGENT_READY": 2}}


def test_large_details_of_events_are_cut(orchestrator: Orchestrator) -> None:
    """So that what one agent returned or said does not hide the history of all."""
    orchestrator.event_store.add("AGENT", "AGENT_RESULT", "a", result=["x" * 100_000])
    orchestrator.event_store.add("AGENT", "AGENT_ERROR", "a", error_message="y" * 100_000)
    orchestrator.event_store.add("AGENT", "AGENT_RESULT", "a", result={"n": 1})
    result, error, small = (event["details"] for event in orchestrator.reporting.history()["events"])
    assert result == {"result": None, "result_length": 100_004}
    assert error == {"error_message": "y" * 2_000}
    assert small == {"result": {"n": 1}}


def test_cpu_is_measured_since_the_question_before() -> None:
    """At first since the process began; of one that is gone, nothing."""
    resources = Resources()
    own = resources.of(os.getpid())
    assert own["cpu_percent"] is not None
    assert own["cpu_percent"] >= 0
    assert resources.of(os.getpid())["cpu_percent"] == own["cpu_percent"]
    resources.keep([])
    assert resources.of(os.getpid())["memory_mb"]
    assert set(resources.of(None).values()) == {None}
    assert set(resources.of(2**22 + 1).values()) == {None}
