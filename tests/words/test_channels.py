"""Channels and patterns: how they are written, checked and named."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline import channels, limits
from trunkline.channels import check_channel, check_name, check_pattern, matches
from trunkline.errors import InvalidChannelError

texts = st.text(alphabet="aZ09_.-:*> é\n", max_size=20)
tokens = st.from_regex(r"[A-Za-z0-9_.-]{1,3}", fullmatch=True)


def _is_channel(text: str) -> bool:
    return all(re.fullmatch(r"[A-Za-z0-9_.-]+", token) for token in text.split(":"))


def _is_pattern(text: str) -> bool:
    *parts, last = text.split(":")
    ok = [part == "*" or re.fullmatch(r"[A-Za-z0-9_.-]+", part) for part in parts]
    return all(ok) and (last in {"*", ">"} or re.fullmatch(r"[A-Za-z0-9_.-]+", last) is not None)


@given(texts)
def test_a_channel_is_tokens_joined_by_colons(text: str) -> None:
    """A channel is tokens joined by ':', a token is [A-Za-z0-9_.-]+; nothing else passes, and none is altered."""
    if _is_channel(text):
        assert check_channel(text) == text
    else:
        with pytest.raises(InvalidChannelError) as caught:
            check_channel(text)
        assert caught.value.details == {"field": "channel", "value": text}


@given(texts)
def test_a_pattern_is_a_channel_with_wildcards(text: str) -> None:
    """'*' stands for one token and a last '>' for one or more; every channel is a pattern."""
    if _is_pattern(text):
        assert check_pattern(text) == text
    else:
        with pytest.raises(InvalidChannelError):
            check_pattern(text)
    assert not _is_channel(text) or _is_pattern(text)


@pytest.mark.parametrize("check", [check_channel, check_pattern, lambda text: check_name("group", text)])
def test_at_most_255_characters(check: object) -> None:
    """255 characters pass, 256 do not; the error names the length and does not repeat the whole text."""
    assert callable(check)
    assert check("x" * limits.MAX_CHANNEL_LENGTH) == "x" * 255
    with pytest.raises(InvalidChannelError) as caught:
        check("x" * 100_000)
    assert "100000 characters" in caught.value.message
    assert len(caught.value.message) < 300
    assert len(caught.value.details["value"]) <= 255


@given(st.lists(st.tuples(tokens, st.booleans()), min_size=1, max_size=6), st.integers(0, 3), st.booleans())
def test_what_is_made_of_a_channel_matches_it(parts: list[tuple[str, bool]], cut: int, tail: bool) -> None:
    """A pattern that replaces tokens by '*' and the end by '>' matches; with one token more or less it does not."""
    channel = ":".join(token for token, _ in parts)
    wanted = ["*" if wild else token for token, wild in parts]
    assert matches(":".join(wanted), channel)
    assert not matches(":".join([*wanted, "*"]), channel)
    assert not matches(":".join([*wanted, ">"]), channel), "'>' is one or more, not none"
    keep = len(wanted) - 1 - min(cut, len(wanted) - 1)
    assert matches(":".join([*wanted[:keep], ">"]), channel)
    assert matches(":".join(wanted[:-1]), channel) is False or not wanted[:-1]
    del tail


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (channels.agent_channel("coding-01"), "conductor:agent:coding-01"),
        (channels.BROADCAST, "conductor:broadcast"),
        (channels.phase_channel("devops"), "conductor:phase:devops"),
        (channels.workflow_channel("w1"), "conductor:workflow:w1"),
        (channels.DEAD_LETTERS, "conductor:dlq"),
        (channels.RESPONSE, "conductor:response"),
        (channels.ERRORS, "conductor:errors"),
    ],
)
def test_the_well_known_channels(made: str, wanted: str) -> None:
    """The channels of the seed system, by their names."""
    assert made == wanted
    assert check_channel(made) == wanted
