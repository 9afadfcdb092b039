"""Interest: which subscriptions want a channel's messages. It knows no stream and no message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from trunkline.channels import ANY_TAIL, ANY_TOKEN

T = TypeVar("T")

CACHED_CHANNELS = 16_384
"""Channels whose answer is remembered; beyond it the memory starts anew."""


class _Node(Generic[T]):
    __slots__ = ("below", "here", "tail")

    def __init__(self) -> None:
        self.below: dict[str, _Node[T]] = {}
        self.here: dict[T, None] = {}
        """What ends at this token, in order of registration."""
        self.tail: dict[T, None] = {}
        """What goes on with '>'."""

    @property
    def is_empty(self) -> bool:
        return not (self.below or self.here or self.tail)


class PatternIndex(Generic[T]):
    """Patterns, as a tree of their tokens. Looking a channel up costs its tokens, not the number of patterns.

    A channel's answer is remembered until a pattern that may concern it comes or goes.
    """

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._answers: dict[str, Sequence[T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, pattern: str, subscription: T) -> None:
        """Registers a subscription under a well-formed pattern."""
        node = self._root
        *tokens, last = pattern.split(":")
        for token in tokens:
            node = node.below.setdefault(token, _Node())
        if last == ANY_TAIL:
            node.tail[subscription] = None
        else:
            node.below.setdefault(last, _Node()).here[subscription] = None
        self._count += 1
        self._forget(pattern)

    def remove(self, pattern: str, subscription: T) -> None:
        """Takes a subscription out again; raises ValueError if it is not registered under that pattern."""
        path: list[tuple[_Node[T], str]] = []
        node = self._root
        *tokens, last = pattern.split(":")
        if last != ANY_TAIL:
            tokens.append(last)
        for token in tokens:
            path.append((node, token))
            below = node.below.get(token)
            if below is None:
                raise ValueError(f"no subscription under {pattern!r}")
            node = below
        ends = node.tail if last == ANY_TAIL else node.here
        if subscription not in ends:
            raise ValueError(f"no subscription under {pattern!r}")
        del ends[subscription]
        while path and node.is_empty:
            node, token = path.pop()
            del node.below[token]
        self._count -= 1
        self._forget(pattern)

    def match(self, channel: str) -> Sequence[T]:
        """The subscriptions whose pattern matches a well-formed channel."""
        answer = self._answers.get(channel)
        if answer is None:
            found: list[T] = []
            self._collect(self._root, channel.split(":"), 0, found)
            if len(self._answers) >= CACHED_CHANNELS:
                self._answers.clear()
            answer = self._answers[channel] = tuple(found)
        return answer

    def _collect(self, node: _Node[T], tokens: list[str], depth: int, found: list[T]) -> None:
        if depth == len(tokens):
            found.extend(node.here)
            return
        found.extend(node.tail)
        for token in (tokens[depth], ANY_TOKEN):
            below = node.below.get(token)
            if below is not None:
                self._collect(below, tokens, depth + 1, found)

    def _forget(self, pattern: str) -> None:
        """Forgets the answers that a pattern may concern: its own channel, or all if it has a wildcard."""
        if ANY_TOKEN in pattern or pattern.endswith(ANY_TAIL):
            self._answers.clear()
        else:
            self._answers.pop(pattern, None)
