"""What users import is there, and may be called as it was when it was promised."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests.words.public_names import Parameter, Promise, describe

PROMISED: dict[str, dict[str, Promise]] = defaultdict(dict)
for _name, _member, _promise in json.loads(Path(__file__).with_name("public_names.json").read_text()):
    PROMISED[_name][_member] = _promise
NOW = describe()


def broken(before: Promise, now: Promise) -> list[str]:
    """What callers would miss. New parameters are allowed where they are optional, and behind all others by place."""
    if not isinstance(before, list) or not isinstance(now, list):
        return [] if before in (None, now) else [f"{now}, and it was {before}"]
    places, places_now = _positional(before), _positional(now)
    found = [] if places_now[: len(places)] == places else [f"by place {places_now}, and it was {places}"]
    found += [f"without {each[0]}" for each in before if each not in places and each not in now]
    known = {each[0] for each in before}
    added = [each for each in now if each[0] not in known and not str(each[1]).startswith("VAR_")]
    return found + [f"requires {name}" for name, _, default in added if default is None]


def _positional(parameters: list[Parameter]) -> list[Parameter]:
    return [each for each in parameters if str(each[1]).startswith("POSITIONAL")]


@pytest.mark.parametrize("name", PROMISED)
def test_a_public_name_is_called_as_before(name: str) -> None:
    """It is there with its members; no parameter is gone, renamed, moved or has another default."""
    assert name in NOW
    wrong = {
        member: broken(promise, NOW[name][member]) if member in NOW[name] else ["gone"]
        for member, promise in PROMISED[name].items()
    }
    assert {member: said for member, said in wrong.items() if said} == {}


A: Parameter = ["a", "POSITIONAL_OR_KEYWORD", None]
B: Parameter = ["b", "POSITIONAL_OR_KEYWORD", "1"]
K: Parameter = ["k", "KEYWORD_ONLY", "2"]


@pytest.mark.parametrize(
    "now", [[A, B, K], [A, B, ["c", "POSITIONAL_OR_KEYWORD", "None"], ["z", "KEYWORD_ONLY", "0"], K]]
)
def test_what_is_added_breaks_nobody(now: Promise) -> None:
    """An optional parameter behind the others by place, or by keyword wherever."""
    assert broken([A, B, K], now) == []


@pytest.mark.parametrize(
    "now",
    [
        [A, B],
        [A, K],
        [B, A, K],
        [["x", "POSITIONAL_OR_KEYWORD", None], B, K],
        [A, ["b", "POSITIONAL_OR_KEYWORD", "2"], K],
        [A, ["c", "POSITIONAL_OR_KEYWORD", "None"], B, K],
        [A, B, ["k", "KEYWORD_ONLY", "3"]],
        [A, B, K, ["z", "KEYWORD_ONLY", None]],
        [A, B, ["c", "POSITIONAL_OR_KEYWORD", None], K],
        None,
    ],
)
def test_what_would_break_a_caller_is_found(now: Promise) -> None:
    """Removed, moved, renamed, with another default, newly required, or nothing to call."""
    assert broken([A, B, K], now)
