"""DeadLetterEntry and DeadLetterQueue: what is kept of a failure."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from trunkline import DeadLetterEntry, DeadLetterQueue, RequestTimeoutError
from trunkline.failures.limits import MAX_FACTS_CHARACTERS, MAX_MESSAGE_CHARACTERS, MAX_TRACEBACK_CHARACTERS


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as raised:  # noqa: BLE001  # any error at all
        return raised


def test_an_entry_has_all_that_people_of_conductor_know() -> None:
    """Of an error of Trunkline, its code and details too."""
    error = _raised(RequestTimeoutError("no reply", details={"timeout_seconds": 5.0}))
    time = datetime(2026, 3, 1, 12, tzinfo=UTC)
    entry = DeadLetterEntry.of(
        error,
        agent_id="coder-1",
        task_id="t",
        workflow_id="w",
        attempt=4,
        context={"path": "a.py"},
        timestamp=time,
    )
    told = entry.to_dict()
    traceback = told.pop("traceback")
    assert traceback.startswith("Traceback")
    assert "raise error" in traceback
    assert told == {
        "error_type": "RequestTimeoutError",
        "error_code": "REQUEST_TIMEOUT",
        "error_message": "no reply",
        "context": {"path": "a.py"},
        "agent_id": "coder-1",
        "task_id": "t",
        "workflow_id": "w",
        "attempt": 4,
        "timestamp": "2026-03-01T12:00:00+00:00",
        "error_details": {"timeout_seconds": 5.0},
    }


def test_any_other_error_is_called_by_its_class() -> None:
    """It has no code and no details."""
    entry = DeadLetterEntry.of(_raised(KeyError("path")), agent_id="x")
    assert (entry.error_type, entry.error_code, entry.error_details) == ("KeyError", "KeyError", {})


@pytest.mark.parametrize(
    "context",
    [{"when": datetime(2026, 3, 1, tzinfo=UTC)}, {"n": float("nan")}, {("a", "b"): 1}, {"text": "\ud800"}, {1: object}],
)
def test_what_json_cannot_say_becomes_text(context: dict[str, object]) -> None:
    """An error handler must not fail by what it is told."""
    entry = DeadLetterEntry.of(ValueError("\udcff"), agent_id="x", context=context)
    assert json.loads(json.dumps(entry.to_dict(), allow_nan=False).encode()) == entry.to_dict()
    entry.error_message.encode()


def test_a_circle_becomes_text() -> None:
    """Whatever is in it."""
    circle: dict[str, object] = {}
    circle["self"] = circle
    assert DeadLetterEntry.of(ValueError(), agent_id="x", context=circle).context == {"repr": "{'self': {...}}"}


def test_what_is_very_long_is_cut() -> None:
    """The message's beginning stays and the traceback's end; facts say how long they were."""
    error = _raised(ValueError("x" * 100_000 + "end"))
    entry = DeadLetterEntry.of(error, agent_id="x", context={"file": "y" * 100_000})
    assert len(entry.error_message) == MAX_MESSAGE_CHARACTERS
    assert len(entry.traceback) == MAX_TRACEBACK_CHARACTERS
    assert entry.traceback.endswith("end\n")
    assert entry.context == {"left_out": f"100012 characters of JSON, at most {MAX_FACTS_CHARACTERS} are kept"}


def test_the_queue_keeps_the_latest_and_counts_what_went() -> None:
    """Oldest first."""
    queue = DeadLetterQueue(max_entries=2)
    for number in range(3):
        queue.add(DeadLetterEntry.of(ValueError(number), agent_id="x"))
    assert [entry.error_message for entry in queue] == ["1", "2"]
    assert (len(queue), queue.dropped) == (2, 1)
    queue.clear()
    assert (len(queue), list(queue)) == (0, [])


def test_a_queue_without_room_is_refused() -> None:
    """By name."""
    with pytest.raises(ValueError, match="max_entries is 0"):
        DeadLetterQueue(0)
