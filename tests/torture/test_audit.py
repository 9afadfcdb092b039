"""The audit finds each fault that is put into ledgers on purpose, and none where there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.torture.audit import Wrong, audit
from tests.torture.endings import ERRORS, LEASE_EXPIRED, Way
from tests.torture.ledger import (
    Buried,
    Delivered,
    Done,
    Fact,
    Failing,
    Found,
    Ledger,
    Probed,
    Receipted,
    Saved,
    Sent,
    read,
)

GROUP = "workers"


@dataclass
class Story:
    """Facts of a run in which all is well, to be spoilt by a test."""

    facts: list[Fact] = field(default_factory=list)
    now: int = 0

    def publish(self, number: int, key: str | None = None) -> str:
        message_id = f"m{number}"
        self.facts += [Sent(message_id, number, key), Receipted(message_id, False)]
        return message_id

    def deliver(self, number: int, key: str | None = None, attempt: int = 1, *, intact: bool = True) -> None:
        self.now += 1
        self.facts.append(Delivered(GROUP, f"m{number}", number, key, attempt, self.now, intact))

    def finish(self, number: int) -> None:
        self.now += 1
        self.facts.append(Done(GROUP, f"m{number}", self.now))

    def wrongs(self) -> list[Wrong]:
        return [fault.wrong for fault in audit(self.facts, [GROUP]).faults]


@pytest.fixture
def story() -> Story:
    """Three messages of one key, of which the second was handed out twice, and a record that was saved twice."""
    story = Story()
    for number in (1, 2, 3):
        story.publish(number, "k")
    story.deliver(1, "k")
    story.finish(1)
    story.deliver(2, "k")
    story.deliver(2, "k", attempt=2)
    story.finish(2)
    story.deliver(3, "k")
    story.finish(3)
    story.facts += [Saved("r", 1, 1), Saved("r", 2, 2), Found("r", 2, 2)]
    return story


def test_a_run_in_which_all_is_well_has_no_fault(story: Story) -> None:
    """Also where a message came twice and said so, and where a younger save than the last answered one is there."""
    story.facts.append(Found("r", 3, 3))
    assert story.wrongs() == []


def test_a_message_that_never_came(story: Story) -> None:
    """It has a receipt, and the group did not get it."""
    story.publish(4)
    assert story.wrongs() == [Wrong.NEVER_DELIVERED]


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_message_that_came_twice_without_saying_so(story: Story, attempt: int) -> None:
    """As a first attempt again, or as one that somebody had."""
    story.publish(4)
    for each in (1, 2, attempt):
        story.deliver(4, attempt=each)
    assert story.wrongs() == [Wrong.SILENTLY_TWICE]


def test_a_key_out_of_order(story: Story) -> None:
    """An earlier message after a later one, or a later one before the earlier was done."""
    story.publish(4, "l")
    story.publish(5, "l")
    story.deliver(5, "l")
    story.finish(5)
    story.deliver(4, "l")
    assert story.wrongs() == [Wrong.OUT_OF_ORDER]
    story.finish(4)
    for number in (6, 7):
        story.publish(number, "m")
        story.deliver(number, "m")
    assert story.wrongs() == [Wrong.OUT_OF_ORDER, Wrong.OUT_OF_ORDER]


@pytest.mark.parametrize("found", [[], [Found("s", 7, 3)], [Found("s", 9, 2)]])
def test_a_save_that_is_gone(story: Story, found: list[Fact]) -> None:
    """No record, an older revision, or an older value."""
    story.facts += [Saved("s", 8, 3), *found]
    assert story.wrongs() == [Wrong.STATE_GONE]


def test_what_was_altered_or_never_sent(story: Story) -> None:
    """Contents that differ, and a message that no publisher knows."""
    story.publish(4)
    story.deliver(4, intact=False)
    story.deliver(5)
    assert sorted(story.wrongs()) == sorted([Wrong.ALTERED, Wrong.UNKNOWN])


@pytest.fixture
def handled() -> list[Fact]:
    """Of one lane: a message that failed and was done, one that fails for ever, one that was terminated."""
    ids = [f"p.u0.{number}" for number in (1, 2, 3)]
    facts: list[Fact] = []
    for number, message_id in enumerate(ids, 1):
        facts += [Sent(message_id, number, None), Receipted(message_id, False)]
    return [
        *facts,
        Failing("steady", ids[0], 1, Way.AWAITED_CANCELLED, False),
        Done("steady", ids[0], 1),
        *(Failing("steady", ids[1], attempt, Way.LONE_SURROGATE, True) for attempt in (1, 3)),
        Buried("steady", ids[1], "max_deliveries", {1: ERRORS[Way.LONE_SURROGATE], 2: LEASE_EXPIRED, 3: LEASE_EXPIRED}),
        Failing("steady", ids[2], 1, Way.TERMINATED, True),
        Buried("steady", ids[2], "terminated", {1: ERRORS[Way.TERMINATED]}),
        Probed("steady-0", "live"),
    ]


def wrongs_of(facts: list[Fact], *probed: tuple[str, str]) -> list[Wrong]:
    """What is wrong with a run in which one group's handlers end in every way."""
    return [fault.wrong for fault in audit(facts, [], ["steady"], probed).faults]


def test_handlers_of_which_each_ended_only_its_own_message(handled: list[Fact]) -> None:
    """Done, or a dead letter that fails for ever; an attempt may have been its neighbour's."""
    assert wrongs_of(handled, ("steady-0", "live")) == []


def test_a_message_that_is_neither_done_nor_a_dead_letter(handled: list[Fact]) -> None:
    """On the lane that handlers get; others are other groups'."""
    handled += [Receipted("p.u0.4", False), Receipted("p.k0.4", False)]
    assert wrongs_of(handled) == [Wrong.LOST]


@pytest.mark.parametrize("way", [None, Way.RAISED])
def test_a_dead_letter_of_a_message_that_was_to_be_done(handled: list[Fact], way: Way | None) -> None:
    """It never failed, or not for ever."""
    handled += [Failing("steady", "p.u0.1", 1, way, False)] if way else []
    handled.append(Buried("steady", "p.u0.1", "max_deliveries", dict.fromkeys(range(1, 9), LEASE_EXPIRED)))
    assert wrongs_of(handled) == [Wrong.INNOCENT]


@pytest.mark.parametrize(("attempt", "error"), [(1, "later"), (2, "HandlerError: not now")])
def test_a_dead_letter_with_an_untrue_reason(handled: list[Fact], attempt: int, error: str) -> None:
    """It says another failure than its own, or one where it had none."""
    handled += [
        Failing("steady", "p.u0.5", 1, Way.RAISED, True),
        Buried("steady", "p.u0.5", "max_deliveries", {attempt: error}),
    ]
    assert wrongs_of(handled) == [Wrong.UNTRUE]


def test_a_dead_letter_that_nobody_terminated(handled: list[Fact]) -> None:
    """Its reason is untrue."""
    handled += [
        Failing("steady", "p.u0.5", 1, Way.RAISED, True),
        Buried("steady", "p.u0.5", "terminated", {1: ERRORS[Way.RAISED]}),
    ]
    assert wrongs_of(handled) == [Wrong.UNTRUE]


def test_a_subscription_that_stands_still(handled: list[Fact]) -> None:
    """It got nothing of what was published after the storm."""
    assert wrongs_of(handled, ("steady-0", "live"), ("steady-0", "group")) == [Wrong.STANDING_STILL]


def test_a_torn_last_line_says_nothing(tmp_path: Path) -> None:
    """What a killed agent had half written was not acted on; its next life writes behind the last whole line."""
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    ledger.write(Receipted("m1", False))
    ledger.close()
    with path.open("ab") as torn:
        torn.write(b'{"type":"Receipted","message')
    assert read(path) == [Receipted("m1", False)]
    ledger = Ledger(path)
    ledger.write(Receipted("m2", True))
    ledger.close()
    assert read(path) == [Receipted("m1", False), Receipted("m2", True)]
