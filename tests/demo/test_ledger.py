"""Where each file stands."""

from __future__ import annotations

from trunkline.demo.ledger import Ledger
from trunkline.demo.limits import MAX_ROUNDS


def test_it_is_finished_when_every_file_is_done_or_given_up() -> None:
    """In any order."""
    ledger = Ledger(["a", "b"])
    assert (ledger.paths, ledger.total) == (["a", "b"], 2)
    ledger.finished("b", "x")
    assert not ledger.is_finished
    assert ledger.give_up("a", "it cannot be read")
    assert ledger.is_finished
    assert (ledger.done, ledger.given_up) == ({"b": "x"}, {"a": "it cannot be read"})


def test_the_first_result_counts() -> None:
    """The second one is known to be one."""
    ledger = Ledger(["a"])
    assert ledger.finished("a", "x")
    assert not ledger.finished("a", "y")
    assert ledger.done == {"a": "x"}


def test_a_result_goes_before_a_reason_to_give_up() -> None:
    """Whichever is heard of first."""
    ledger = Ledger(["a", "b"])
    ledger.give_up("a", "dead letter")
    ledger.finished("a", "x")
    ledger.finished("b", "x")
    assert not ledger.give_up("b", "dead letter")
    assert ledger.given_up == {}


def test_a_reason_to_give_up_is_told_once() -> None:
    """Dead letters are asked for again and again."""
    ledger = Ledger(["a", "b"])
    assert ledger.give_up("a", "dead letter")
    assert not ledger.give_up("a", "dead letter")


def test_a_rejected_file_is_assigned_anew_until_its_last_round() -> None:
    """The rounds are counted from 1."""
    ledger = Ledger(["a"])
    for number in range(1, MAX_ROUNDS):
        assert ledger.round_of("a") == number
        assert ledger.reject("a")
    assert not ledger.reject("a")
    assert ledger.round_of("a") == MAX_ROUNDS


def test_the_first_receipt_of_a_file_is_kept() -> None:
    """Later rounds have others."""
    ledger = Ledger(["a"])
    ledger.stored("a", 7)
    ledger.stored("a", 9)
    assert ledger.receipts == {"a": 7}
