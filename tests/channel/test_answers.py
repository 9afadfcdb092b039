"""Who asked is remembered until it is answered, within bounds."""

from __future__ import annotations

import threading

from trunkline.message_channel import ServiceMessage
from trunkline.message_channel.answers import Answers
from trunkline.message_channel.limits import MAX_UNANSWERED, VANISHED_ASKER_SECONDS

ANSWER = ServiceMessage("o", "STATUS", "done")


class Asker:
    """One who asked, and what was answered."""

    def __init__(self) -> None:
        self.got: list[ServiceMessage] = []

    def __call__(self, message: ServiceMessage) -> None:
        self.got.append(message)


class Clock:
    """A clock that the test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_oldest_of_a_sender_is_answered_first() -> None:
    """By names, in the order of asking; each once."""
    answers, first, second = Answers(), Asker(), Asker()
    answers.add("o", "cli", first)
    answers.add("o", "cli", second)
    assert answers.take_oldest("o", "other") is None
    assert answers.take_oldest("agent", "cli") is None
    assert answers.take_oldest("o", "cli") is first
    assert answers.take_oldest("o", "cli") is second
    assert answers.take_oldest("o", "cli") is None
    assert not answers


def test_a_token_finds_its_asker_once() -> None:
    """By token, whatever else waits."""
    answers, first, second = Answers(), Asker(), Asker()
    answers.add("o", "cli", first)
    token = answers.add("o", "cli", second)
    assert answers.deliver(token, ANSWER)
    assert second.got == [ANSWER]
    assert not answers.deliver(token, ANSWER)
    assert answers.take_oldest("o", "cli") is first


def test_a_thread_answers_what_it_received_itself() -> None:
    """Before what others received."""
    answers, first, second = Answers(), Asker(), Asker()
    token = answers.add("o", "cli", first)
    other = threading.Thread(target=answers.received, args=(token,))
    other.start()
    other.join()
    answers.received(answers.add("o", "cli", second))
    assert answers.take_oldest("o", "cli") is second
    assert answers.take_oldest("o", "cli") is first


def test_some_are_found_by_token_only() -> None:
    """What is no command does not take a plain send's way."""
    answers, asker = Answers(), Asker()
    token = answers.add("o", "cli", asker, by_name=False)
    assert answers.take_oldest("o", "cli") is None
    assert answers.deliver(token, ANSWER)


def test_one_who_has_gone_is_forgotten_after_a_while() -> None:
    """Until then its answer is kept from others of its name."""
    clock = Clock()
    answers, gone, there = Answers(clock), Asker(), Asker()
    answers.vanished(answers.add("o", "cli", gone))
    clock.now = VANISHED_ASKER_SECONDS - 1
    token = answers.add("o", "cli", gone)
    answers.vanished(token)
    assert answers.take_oldest("o", "cli") is gone
    answers.add("o", "cli", there)
    clock.now = 2 * VANISHED_ASKER_SECONDS
    assert answers.take_oldest("o", "cli") is there


def test_those_received_and_not_answered_are_bounded() -> None:
    """The one that was received first is forgotten; one that still waits in a mailbox never is."""
    answers, asker = Answers(), Asker()
    waiting = answers.add("o", "cli", asker)
    tokens = [answers.add("o", f"cli {number}", asker) for number in range(MAX_UNANSWERED + 1)]
    for token in tokens:
        answers.received(token)
    assert answers.deliver(waiting, ANSWER)
    assert not answers.deliver(tokens[0], ANSWER)
    assert answers.deliver(tokens[1], ANSWER)
