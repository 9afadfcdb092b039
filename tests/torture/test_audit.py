"""The audit finds each fault that is put into ledgers on purpose, and none where there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.torture.audit import Wrong, audit
from tests.torture.ledger import Delivered, Done, Fact, Found, Ledger, Receipted, Saved, Sent, read

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
