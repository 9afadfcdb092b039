"""EventStore: what happened lately, as `history` asks for it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from tests.orchestrator import crew
from tests.orchestrator.conftest import MakeWitness
from tests.patience import PATIENCE
from trunkline.orchestrator import EventStore


@pytest.fixture
def store() -> EventStore:
    """Five events of two agents and the orchestrator."""
    store = EventStore(capacity=100)
    store.add("AGENT", "AGENT_STARTED", "a")
    store.add("AGENT", "AGENT_STARTED", "b")
    store.add("AGENT", "AGENT_ERROR", "a", "ERROR", error_message="no disk")
    store.add("COMMAND", "STOP", "b", uid=7)
    store.add("ORCHESTRATOR", "ALL_AGENTS_TERMINATED")
    return store


def test_events_are_numbered_from_one_and_say_when(store: EventStore) -> None:
    """In UTC; each is JSON-ready."""
    events = store.query()
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert abs((datetime.now(UTC) - datetime.fromisoformat(events[0].timestamp)).total_seconds()) < 60
    assert events[2].to_dict() == {
        "seq": 3,
        "timestamp": events[2].timestamp,
        "category": "AGENT",
        "type": "AGENT_ERROR",
        "agent": "a",
        "severity": "ERROR",
        "details": {"error_message": "no disk"},
    }


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"last": 2}, [4, 5]),
        ({"last": 0}, []),
        ({"last": 9}, [1, 2, 3, 4, 5]),
        ({"agent": "a"}, [1, 3]),
        ({"agent": "unknown"}, []),
        ({"type": "AGENT_STARTED"}, [1, 2]),
        ({"type": "agent_started"}, [1, 2]),
        ({"after_seq": 3}, [4, 5]),
        ({"after_seq": 99}, []),
        ({"agent": "a", "type": "AGENT_STARTED", "last": 5}, [1]),
        ({"agent": "b", "last": 1}, [4]),
        ({"after_seq": 1, "agent": "b", "last": 1}, [4]),
    ],
)
def test_what_is_asked_for_is_found(store: EventStore, wanted: dict[str, object], found: list[int]) -> None:
    """The oldest first; `last` counts what matches the rest."""
    assert [event.seq for event in store.query(**wanted)] == found  # type: ignore[arg-type]


def test_beyond_its_capacity_the_oldest_is_forgotten() -> None:
    """Numbers go on: nobody who asks by them is told anything twice."""
    store = EventStore(capacity=3)
    for _ in range(10):
        store.add("AGENT", "AGENT_STARTED", "a")
    assert [event.seq for event in store.query()] == [8, 9, 10]
    assert (len(store), store.capacity) == (3, 3)
    assert [event.seq for event in store.query(after_seq=9)] == [10]


def test_threads_may_add_and_ask_at_once() -> None:
    """Each event has its own number."""
    store = EventStore(capacity=10_000)

    def work() -> None:
        for _ in range(500):
            store.add("AGENT", "AGENT_STARTED", "a")
            store.query(last=1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [event.seq for event in store.query()] == list(range(1, 2_001))


def test_an_orchestrator_keeps_what_happens_but_heartbeats(orchestrate: MakeWitness) -> None:
    """With severities; as many as it is told to."""
    witness = orchestrate(history_capacity=4)
    witness.orchestrator.register_agent(crew.ThreadTrouble, "a", at="execute")
    witness.orchestrator.start()
    assert witness.orchestrator.join(PATIENCE)
    events = witness.orchestrator.event_store.query()
    assert [(event.type, event.severity) for event in events] == [
        *(("AGENT_READY", "INFO"), ("AGENT_ERROR", "ERROR")),
        *(("AGENT_TERMINATED", "INFO"), ("ALL_AGENTS_TERMINATED", "INFO")),
    ]
    assert events[1].details == {"error_message": "RuntimeError: trouble in execute"}
    assert events[3].category == "ORCHESTRATOR"
