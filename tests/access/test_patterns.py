"""What a pattern covers is exactly what it matches: tried against matching itself."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.channels import covers, matches

NAMED = ("a", "b")
TOKENS = (*NAMED, "other", "another")
DEPTH = 4
CHANNELS = [":".join(tokens) for length in range(1, DEPTH + 2) for tokens in product(TOKENS, repeat=length)]
"""All channels of some tokens, two of which no pattern names; longer than every pattern."""


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """A pattern of at most DEPTH tokens."""
    tokens = draw(st.lists(st.sampled_from((*NAMED, "*")), max_size=DEPTH - 1))
    return ":".join([*tokens, draw(st.sampled_from((*NAMED, "*", ">")))])


@given(st.lists(patterns(), max_size=4), patterns())
def test_what_is_covered_is_what_is_matched(allowed: list[str], asked: str) -> None:
    """Of all channels that one matches, each is matched by one of the others; also where only several together do."""
    every = all(any(matches(each, channel) for each in allowed) for channel in CHANNELS if matches(asked, channel))
    assert covers(allowed, asked) == every


@pytest.mark.parametrize(
    ("allowed", "asked", "is_covered"),
    [
        (["a:*"], "a:x", True),
        (["a:*"], "a:*", True),
        (["a:*"], "a:>", False),
        (["a:>"], "a:*", True),
        (["a:>"], "a", False),
        (["a:>"], ">", False),
        (["*"], ">", False),
        (["*", "*:>"], ">", True),
        (["a:*", "a:*:>"], "a:>", True),
        (["a:*:c"], "a:b:*", False),
        (["a:b:c", "a:*:d"], "a:b:*", False),
        ([], "a", False),
        (["*"], "*", True),
    ],
)
def test_examples(allowed: list[str], asked: str, is_covered: bool) -> None:
    """Those that people would ask about."""
    assert covers(allowed, asked) == is_covered
