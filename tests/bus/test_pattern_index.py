"""Interest: the one structure that says who wants a channel's messages."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline.channels import check_pattern, matches
from trunkline.errors import OverloadedError
from trunkline.limits import MAX_MATCH_STEPS
from trunklined.bus import pattern_index as index_module
from trunklined.bus.pattern_index import PatternIndex

tokens = st.sampled_from(["a", "b", "c", "a.b", "-", "_"])
channels = st.lists(tokens, min_size=1, max_size=5).map(":".join)
patterns = st.builds(
    lambda parts, tail: ":".join([*parts, *tail]),
    st.lists(st.one_of(tokens, st.just("*")), min_size=1, max_size=4),
    st.sampled_from([[], [">"]]),
) | st.just(">")


class InterestMachine(RuleBasedStateMachine):
    """Whatever comes and goes, `match` says what `channels.matches` says of each pattern, none twice."""

    def __init__(self) -> None:
        super().__init__()
        self.interest: PatternIndex[int] = PatternIndex()
        self.registered: dict[int, str] = {}
        self.last = 0

    @rule(pattern=patterns)
    def add(self, pattern: str) -> None:
        self.last += 1
        self.registered[self.last] = check_pattern(pattern)
        self.interest.add(pattern, self.last)

    @precondition(lambda self: self.registered)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        subscription = data.draw(st.sampled_from(sorted(self.registered)))
        self.interest.remove(self.registered.pop(subscription), subscription)

    @rule(channel=channels)
    def match(self, channel: str) -> None:
        found = list(self.interest.match(channel))
        assert sorted(found) == [each for each, pattern in self.registered.items() if matches(pattern, channel)]
        assert list(self.interest.match(channel)) == found, "remembered as it was found"

    @invariant()
    def counts(self) -> None:
        assert len(self.interest) == len(self.registered)

    @invariant()
    def knows_what_a_match_costs(self) -> None:
        assert self.interest._root.steps == _steps(self.interest._root)

    def teardown(self) -> None:
        for subscription, pattern in self.registered.items():
            self.interest.remove(pattern, subscription)
        assert self.interest._root.is_empty, "nothing is left of patterns that are gone"


TestInterestMachine = InterestMachine.TestCase


@given(st.lists(patterns, min_size=1, max_size=30), channels)
def test_the_order_is_stable(registered: list[str], channel: str) -> None:
    """The same patterns in the same order give the same answer."""
    first: PatternIndex[int] = PatternIndex()
    second: PatternIndex[int] = PatternIndex()
    for n, pattern in enumerate(registered):
        first.add(pattern, n)
        second.add(pattern, n)
    assert list(first.match(channel)) == list(second.match(channel))


@pytest.mark.parametrize("pattern", ["a:b", "a:*", "a:>", ">"])
def test_removing_what_is_not_registered_is_an_error(pattern: str) -> None:
    """Removing twice, or under another pattern, is a mistake of the caller that is said."""
    interest: PatternIndex[str] = PatternIndex()
    interest.add("a:b", "other")
    with pytest.raises(ValueError, match="no subscription"):
        interest.remove(pattern, "mine")


def test_the_memory_of_answers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing on ever new channels costs no memory without end."""
    monkeypatch.setattr(index_module, "CACHED_CHANNELS", 100)
    interest: PatternIndex[str] = PatternIndex()
    interest.add("a:*", "one")
    for n in range(1_000):
        assert list(interest.match(f"a:{n}")) == ["one"]
    assert len(interest._answers) <= 100


def test_a_channel_of_very_many_tokens_is_matched() -> None:
    """255 characters are 128 tokens; wildcards at every place do not multiply the work."""
    interest: PatternIndex[int] = PatternIndex()
    channel = ":".join("a" * 128)
    for n in range(128):
        interest.add(":".join(["a"] * n + ["*"] + ["a"] * (127 - n)), n)
    began = time.thread_time()
    assert sorted(interest.match(channel)) == list(range(128))
    assert time.thread_time() - began < 1


class _CountingDict(dict):  # type: ignore[type-arg]
    looked_up = 0

    def get(self, key: object, default: object = None) -> object:
        _CountingDict.looked_up += 1
        return super().get(key, default)


def _registered(count: int) -> PatternIndex[int]:
    """Exact channels, patterns with one wildcard and with a tail, mixed, and ten that match the test's channel."""
    interest: PatternIndex[int] = PatternIndex()
    kinds = ("conductor:agent:a-{n}", "conductor:*:w-{n}", "tenant-{n}:>", "*:*:x-{n}", "deep:{n}:*:y:>")
    for n in range(count - 4):
        interest.add(kinds[n % len(kinds)].format(n=n), n)
    for n, pattern in enumerate(("conductor:agent:target", "conductor:*:target", "conductor:>", "*:agent:target")):
        interest.add(pattern, count + n)
    return interest


def _count_lookups(interest: PatternIndex[int], channel: str) -> int:
    nodes = [interest._root]
    while nodes:
        node = nodes.pop()
        node.below = _CountingDict(node.below)
        nodes.extend(node.below.values())
    _CountingDict.looked_up = 0
    assert len(interest.match(channel)) == 4
    return _CountingDict.looked_up


def test_looking_up_among_100_000_patterns_visits_no_more_than_among_10() -> None:
    """Publishing with 100,000 registered patterns costs at most twice what it costs with 10, counted in look-ups."""
    channel = "conductor:agent:target"
    few, many = _count_lookups(_registered(10), channel), _count_lookups(_registered(100_000), channel)
    assert 0 < many <= 2 * few


def _fastest(interest: PatternIndex[int], channels_: Iterable[str]) -> float:
    """Seconds for a look-up that is not remembered, the best of many."""
    best = float("inf")
    for channel in channels_:
        interest._answers.clear()
        began = time.thread_time()
        for _ in range(20):
            interest.match(channel)
            interest._answers.clear()
        best = min(best, time.thread_time() - began)
    return best


def test_publishing_with_100_000_patterns_takes_at_most_twice_as_long() -> None:
    """The same in processor time: the best of 300 rounds each, interleaved, of look-ups that are not remembered."""
    few, many = _registered(10), _registered(100_000)
    channel = ["conductor:agent:target"] * 100
    best_few = best_many = float("inf")
    for _ in range(3):
        best_few = min(best_few, _fastest(few, channel))
        best_many = min(best_many, _fastest(many, channel))
    assert best_many <= 2 * best_few


def _steps(node: Any) -> int:
    """What looking a channel up visits at the most from a node on, counted anew."""
    literal = [_steps(below) for token, below in node.below.items() if token != "*"]
    return 1 + max(literal, default=0) + (_steps(node.below["*"]) if "*" in node.below else 0)


def test_what_one_match_can_cost_is_bounded() -> None:
    """Patterns that all go on differently for one channel are refused beyond the bound; others, and those that are
    there already, are not; when some go there is room again."""
    interest = _Counting()
    patterns = [":".join(tokens) for tokens in product("a*", repeat=14)]
    accepted = []
    for n, pattern in enumerate(patterns):
        try:
            interest.add(pattern, n)
        except OverloadedError as error:
            assert error.details["limit"] == "max_match_steps"  # noqa: PT017  # it is what ends the filling
            break
        accepted.append(n)
    assert 1_000 < len(accepted) < len(patterns)
    assert len(interest) == len(accepted)
    interest.match(":".join("a" * 14))
    assert 1_000 < interest.visits <= MAX_MATCH_STEPS
    interest.add(patterns[accepted[-1]], -1)
    interest.add("b:c:*:d", -2)
    for n in accepted[:100]:
        interest.remove(patterns[n], n)
    interest.add(patterns[len(accepted)], -3)
    interest.add(":".join(["*"] * 13 + ["b"]), -4, bounded=False)


class _Counting(PatternIndex[int]):
    visits = 0

    def _collect(self, *words: Any) -> None:
        self.visits += 1
        super()._collect(*words)
