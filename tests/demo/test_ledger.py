"""Where each file stands, by a clock that the test turns."""

from __future__ import annotations

from trunkline.demo.ledger import Handover, Ledger
from trunkline.demo.limits import MAX_ATTEMPTS


def test_files_are_assigned_in_order_until_none_waits() -> None:
    """And it is finished when all are done."""
    ledger = Ledger(["a", "b"], seconds=10)
    assert [task.path for task in (ledger.assign(0), ledger.assign(0)) if task] == ["a", "b"]
    assert ledger.assign(0) is None
    ledger.finished("a", "x")
    assert not ledger.is_finished
    ledger.finished("b", "y")
    assert ledger.is_finished
    assert ledger.done == {"a": "x", "b": "y"}


def test_a_task_without_a_sign_of_life_is_overdue() -> None:
    """Each sign of life moves its deadline."""
    ledger = Ledger(["a"], seconds=10)
    ledger.assign(0)
    assert [task.path for task in ledger.overdue(11)] == ["a"]
    ledger.started("a", "x", now=9)
    assert ledger.overdue(11) == []
    ledger.measured("a", now=15)
    assert ledger.overdue(24) == []
    assert [task.path for task in ledger.overdue(26)] == ["a"]


def test_an_agent_holds_what_it_began_and_has_not_handed_on() -> None:
    """Figures that are on their way to the review are held by nobody."""
    ledger = Ledger(["a", "b"], seconds=10)
    ledger.assign(0)
    ledger.assign(0)
    ledger.started("a", "x", 1)
    ledger.started("b", "x", 1)
    ledger.measured("a", 2)
    assert [task.path for task in ledger.held_by("x")] == ["b"]


def test_what_is_handed_over_goes_first_and_is_remembered() -> None:
    """With who had it, why it was taken, and who did it in the end."""
    ledger = Ledger(["a", "b"], seconds=10)
    ledger.assign(0)
    ledger.started("a", "x", 1)
    assert ledger.hand_over("a", "x is gone") == "assigned anew"
    task = ledger.assign(2)
    assert task is not None
    assert (task.path, task.attempt, task.holder) == ("a", 2, None)
    ledger.finished("a", "y")
    assert ledger.handovers == [Handover("a", "x", "x is gone", "y")]


def test_a_file_is_given_up_after_its_last_attempt() -> None:
    """Then it is not assigned again, and the reason is kept."""
    ledger = Ledger(["a"], seconds=10)
    for _ in range(MAX_ATTEMPTS - 1):
        ledger.assign(0)
        assert ledger.hand_over("a", "it fails") == "assigned anew"
    ledger.assign(0)
    assert ledger.hand_over("a", "it fails") == "given up"
    assert ledger.is_finished
    assert ledger.given_up == {"a": "it fails"}
    assert ledger.hand_over("a", "it fails") is None


def test_the_first_result_counts_also_when_the_task_was_assigned_anew() -> None:
    """An agent that was only slow may finish what waits for another."""
    ledger = Ledger(["a"], seconds=10)
    ledger.assign(0)
    ledger.hand_over("a", "its deadline passed")
    ledger.finished("a", "x")
    ledger.finished("a", "y")
    assert ledger.is_finished
    assert ledger.done == {"a": "x"}
