"""Channels and patterns: how they are written, checked and named.

A channel is tokens joined by ':', such as `conductor:agent:coding-01`. A token is `[A-Za-z0-9_.-]+`; a channel is at
most 255 characters. A pattern is a channel in which '*' stands for one token and a last '>' for one or more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache

from trunkline.errors import InvalidChannelError
from trunkline.limits import MAX_CHANNEL_LENGTH

ANY_TOKEN = "*"
ANY_TAIL = ">"

BROADCAST = "conductor:broadcast"
DEAD_LETTERS = "conductor:dlq"
RESPONSE = "conductor:response"
ERRORS = "conductor:errors"

_TOKEN = r"[A-Za-z0-9_.-]+"
_CHANNEL = re.compile(rf"{_TOKEN}(?::{_TOKEN})*")
_PATTERN = re.compile(rf"(?:(?:{_TOKEN}|\*):)*(?:{_TOKEN}|\*|>)")
_NAME = re.compile(_TOKEN)


def agent_channel(agent_id: str) -> str:
    """The channel of direct messages to one agent."""
    return f"conductor:agent:{agent_id}"


def phase_channel(phase: str) -> str:
    """The channel of one workflow phase."""
    return f"conductor:phase:{phase}"


def workflow_channel(workflow_id: str) -> str:
    """The channel of one workflow."""
    return f"conductor:workflow:{workflow_id}"


@lru_cache(maxsize=4096)
def check_channel(channel: str) -> str:
    """Returns the channel unchanged, or raises `InvalidChannelError` that says what is wrong with it."""
    return _check(channel, _CHANNEL, "channel", "tokens of letters, digits, '_', '.', '-' joined by ':'")


@lru_cache(maxsize=4096)
def check_pattern(pattern: str) -> str:
    """Returns the pattern unchanged, or raises `InvalidChannelError` that says what is wrong with it."""
    return _check(pattern, _PATTERN, "pattern", "channel tokens, '*' for one token, a last '>' for one or more")


def check_name(field: str, name: str) -> str:
    """Returns a group's name unchanged, or raises `InvalidChannelError`: it is written like one token."""
    return _check(name, _NAME, field, "letters, digits, '_', '.', '-'")


def _check(text: str, form: re.Pattern[str], field: str, wanted: str) -> str:
    if not text:
        raise InvalidChannelError(f"{field} is empty", details={"field": field, "value": ""})
    if len(text) > MAX_CHANNEL_LENGTH:
        raise InvalidChannelError(
            f"{field} has {len(text)} characters, at most {MAX_CHANNEL_LENGTH} are allowed: {text[:40]!r}…",
            details={"field": field, "value": text[:MAX_CHANNEL_LENGTH]},
        )
    if not form.fullmatch(text):
        raise InvalidChannelError(f"{field} {text!r} is malformed: {wanted}", details={"field": field, "value": text})
    return text


def matches(pattern: str, channel: str) -> bool:
    """Whether a channel matches a pattern; both are taken as well formed.

    >>> matches("conductor:agent:*", "conductor:agent:coding-01")
    True
    """
    wanted = pattern.split(":")
    tokens = channel.split(":")
    if wanted[-1] == ANY_TAIL:
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
    elif len(tokens) != len(wanted):
        return False
    return all(want in (ANY_TOKEN, token) for want, token in zip(wanted, tokens, strict=False))


_OTHER_TOKEN = "\0"
"""Stands for a token that no pattern names: it is none of `[A-Za-z0-9_.-]+`."""


def covers(patterns: Collection[str], pattern: str) -> bool:
    """Whether every channel that one pattern matches is matched by at least one of some patterns; all are taken as well
    formed. A channel is a pattern that matches itself alone. Exact for channels of any length.

    >>> covers(["a:*", "a:*:>"], "a:>"), covers(["a:*"], "a:>")
    (True, False)
    """
    depth = max((each.count(":") + 1 for each in patterns), default=0)
    return all(any(matches(each, channel) for each in patterns) for channel in hardest_channels(pattern, depth))


def hardest_channels(pattern: str, depth: int) -> Iterator[str]:
    """Yields channels that a pattern matches, such that patterns of at most `depth` tokens match all that it does where
    they match these: their tokens for wildcards are none that a pattern names, and one is longer than every pattern."""
    tokens = [_OTHER_TOKEN if token == ANY_TOKEN else token for token in pattern.split(":")]
    if tokens[-1] != ANY_TAIL:
        yield ":".join(tokens)
        return
    tokens[-1] = _OTHER_TOKEN
    yield ":".join(tokens)
    while len(tokens) <= depth:
        tokens.append(_OTHER_TOKEN)
        yield ":".join(tokens)
