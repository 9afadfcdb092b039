"""The checker itself: it finds what no order explains, and takes what one does."""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest

from tests.linearizability.history import NEVER, Call, Verb, explain

KEY = "k"


def save(value: str, began: int, ended: int, revision: int | None = None, expected: int | None = None) -> Call:
    return Call(Verb.SAVE, KEY, began, ended, value, expected, revision)


def get(value: str | None, began: int, ended: int, revision: int | None = None) -> Call:
    return Call(Verb.GET, KEY, began, ended, value, None, revision)


def refused(expected: int, actual: int, began: int, ended: int) -> Call:
    return Call(Verb.SAVE, KEY, began, ended, "never", expected, None, actual)


def delete(found: bool, began: int, ended: int) -> Call:
    return Call(Verb.DELETE, KEY, began, ended, found=found)


LOST = save("lost", 3, NEVER)
TAKEN = {
    "nothing": [],
    "one after the other": [save("a", 1, 2, 5), get("a", 3, 4, 5), delete(True, 5, 6), get(None, 7, 8)],
    "a get beside a save sees either": [save("a", 1, 2, 5), save("b", 3, 8, 6), get("b", 4, 5, 6), get("b", 6, 7, 6)],
    "a save that was lost was done": [save("a", 1, 2, 5), LOST, get("lost", 4, 5, 6)],
    "or not": [save("a", 1, 2, 5), LOST, get("a", 4, 5, 5)],
    "or later": [save("a", 1, 2, 5), LOST, get("a", 4, 5, 5), get("lost", 6, 7, 6)],
    "one of two wins": [save("a", 1, 2, 5), save("b", 3, 6, 6, 5), refused(5, 6, 4, 5)],
    "a revision that only a refusal knows": [save("a", 1, 2, 5), LOST, refused(5, 6, 4, 5)],
    "a lost save that expected something else": [
        save("a", 1, 2, 5),
        save("b", 3, NEVER, None, 4),
        get("a", 5, 6, 5),
    ],
}
FOUND = {
    "a stale read": [save("a", 1, 2, 5), save("b", 3, 4, 6), get("a", 5, 6, 5)],
    "a read that goes back": [
        save("a", 1, 2, 5),
        save("b", 3, 9, 6),
        get("b", 4, 5, 6),
        get("a", 6, 7, 5),
    ],
    "a lost update": [save("a", 1, 2, 5), save("b", 3, 4, 6, 5), save("c", 5, 6, 7, 5)],
    "two winners at once": [save("a", 1, 2, 5), save("b", 3, 6, 6, 5), save("c", 4, 5, 7, 5)],
    "a write that is not there": [save("a", 1, 2, 5), get(None, 3, 4)],
    "a save that was lost, seen before it began": [get("lost", 1, 2, 6), LOST],
    "a save that was lost, seen and gone again": [
        save("a", 1, 2, 5),
        LOST,
        get("lost", 4, 5, 6),
        get("a", 6, 7, 5),
    ],
    "a revision that went back": [save("a", 1, 2, 6), save("b", 3, 4, 5)],
    "two revisions of one save": [save("a", 1, 2, 5), get("a", 3, 4, 6)],
    "one revision of two saves": [save("a", 1, 2, 5), save("b", 3, 4, 5)],
    "a refusal with what is no more": [save("a", 1, 2, 5), save("b", 3, 4, 6), refused(7, 5, 5, 6)],
    "a refusal of what was expected": [save("a", 1, 2, 5), refused(5, 5, 3, 4)],
    "a delete that found nothing": [save("a", 1, 2, 5), delete(False, 3, 4)],
    "two deletes of one record": [save("a", 1, 2, 5), delete(True, 3, 6), delete(True, 4, 5)],
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_one_order_explains(name: str) -> None:
    order = explain(TAKEN[name])
    assert order is not None
    assert {call for call in TAKEN[name] if call.is_known} <= set(order) <= set(TAKEN[name])


@pytest.mark.parametrize("name", FOUND)
def test_what_no_order_explains(name: str) -> None:
    assert explain(FOUND[name]) is None


def holds(order: list[Call]) -> bool:
    """Whether this very order explains the answers of saves and gets, said once more in the plainest way."""
    value = None
    for index, call in enumerate(order):
        if any(later.ended < call.began for later in order[index + 1 :]):
            return False
        if call.verb is Verb.SAVE:
            value = call.value
        elif call.value != value:
            return False
    return True


def test_it_finds_what_trying_all_orders_finds() -> None:
    """Thousands of small histories, half of which no order explains."""
    random, answers = Random(7), []
    for _ in range(3000):
        moments = random.sample(range(1, 40), 10)
        spans = [sorted(moments[n : n + 2]) for n in range(0, 10, 2)]
        calls = [save(f"v{n}", *spans[n]) for n in range(2)]
        calls += [get(random.choice([None, "v0", "v1"]), *spans[n]) for n in range(2, 5)]
        expected = any(holds(list(order)) for order in permutations(calls))
        assert (explain(calls) is not None) is expected, calls
        answers.append(expected)
    assert min(answers.count(True), answers.count(False)) > 300
