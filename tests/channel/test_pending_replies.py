"""Requests are remembered until they are answered, within bounds."""

from __future__ import annotations

import threading

from trunkline.message_channel.limits import DISCONNECTED_REQUESTER_SECONDS, MAX_UNANSWERED
from trunkline.message_channel.pending_replies import PendingReplies

CLI = ("o", "cli")
Pending = PendingReplies[int, str]


class Clock:
    """A clock that the test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_oldest_of_a_sender_is_answered_first() -> None:
    """By names, in the order of asking; each once."""
    pending = Pending(MAX_UNANSWERED)
    pending.add(1, "first", CLI)
    pending.add(2, "second", CLI)
    assert pending.take_oldest(("o", "other")) is None
    assert pending.take_oldest(("agent", "cli")) is None
    assert pending.take_oldest(CLI) == "first"
    assert pending.take_oldest(CLI) == "second"
    assert pending.take_oldest(CLI) is None
    assert not pending


def test_a_token_finds_its_requester_once() -> None:
    """By token, whatever else waits."""
    pending = Pending(MAX_UNANSWERED)
    pending.add(1, "first", CLI)
    pending.add(2, "second", CLI)
    assert pending.take(2) == "second"
    assert pending.take(2) is None
    assert pending.take_oldest(CLI) == "first"


def test_a_thread_answers_what_it_received_itself() -> None:
    """Before what others received."""
    pending = Pending(MAX_UNANSWERED)
    pending.add(1, "first", CLI)
    other = threading.Thread(target=pending.received, args=(1,))
    other.start()
    other.join()
    pending.add(2, "second", CLI)
    pending.received(2)
    assert pending.take_oldest(CLI) == "second"
    assert pending.take_oldest(CLI) == "first"


def test_some_are_found_by_token_only() -> None:
    """What is no command does not take a plain send's way."""
    pending = Pending(MAX_UNANSWERED)
    pending.add(1, "first")
    assert pending.take_oldest(CLI) is None
    assert pending.take(1) == "first"


def test_a_token_that_comes_again_is_one_request() -> None:
    """The bus may hand out a request twice; it is answered once, by whichever way."""
    pending = Pending(MAX_UNANSWERED)
    for _ in range(2):
        pending.add(1, "first", CLI)
    assert pending.take(1) == "first"
    assert pending.take_oldest(CLI) is None
    assert not pending


def test_one_who_has_gone_is_forgotten_after_a_while() -> None:
    """Until then its answer is kept from others of its name."""
    clock = Clock()
    pending = Pending(MAX_UNANSWERED, clock)
    pending.add(1, "gone", CLI)
    pending.disconnected(1)
    clock.now = DISCONNECTED_REQUESTER_SECONDS - 1
    pending.add(2, "gone too", CLI)
    pending.disconnected(2)
    assert pending.take_oldest(CLI) == "gone"
    pending.add(3, "there", CLI)
    clock.now = 2 * DISCONNECTED_REQUESTER_SECONDS
    assert pending.take_oldest(CLI) == "there"


def test_those_received_and_not_answered_are_bounded() -> None:
    """The one that was received first is forgotten; one that still waits in a mailbox never is."""
    pending = Pending(MAX_UNANSWERED)
    pending.add(0, "waits", CLI)
    for number in range(1, MAX_UNANSWERED + 2):
        pending.add(number, "received", ("o", f"cli {number}"))
        pending.received(number)
    assert pending.take(0) == "waits"
    assert pending.take(1) is None
    assert pending.take(2) == "received"
