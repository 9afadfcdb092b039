"""Interest: which subscriptions want a channel's messages. It knows no stream and no message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from trunkline.channels import ANY_TAIL, ANY_TOKEN
from trunkline.errors import OverloadedError
from trunkline.limits import MAX_MATCH_STEPS

T = TypeVar("T")

CACHED_CHANNELS = 16_384
"""Channels whose answer is remembered; beyond it the memory starts anew."""


class _Node(Generic[T]):
    __slots__ = ("below", "here", "literal_steps", "steps", "tail")

    def __init__(self) -> None:
        self.steps = 1
        """Nodes from here on that looking one channel up visits at the most, whichever it is."""
        self.literal_steps: dict[int, int] = {}
        """Of those below that are no wildcard, how many have so many steps. A channel goes on with one of them."""
        self.below: dict[str, _Node[T]] = {}
        self.here: dict[T, None] = {}
        """What ends at this token, in order of registration."""
        self.tail: dict[T, None] = {}
        """What goes on with '>'."""

    @property
    def is_empty(self) -> bool:
        return not (self.below or self.here or self.tail)

    def count(self, token: str, before: int, now: int) -> bool:
        """Takes note that a node below has other steps (0: there is none); returns whether this one has, too."""
        if token != ANY_TOKEN and before != now:
            if before:
                self.literal_steps[before] -= 1
                if not self.literal_steps[before]:
                    del self.literal_steps[before]
            if now:
                self.literal_steps[now] = self.literal_steps.get(now, 0) + 1
        any_token = self.below.get(ANY_TOKEN)
        steps = 1 + max(self.literal_steps, default=0) + (any_token.steps if any_token is not None else 0)
        changed = steps != self.steps
        self.steps = steps
        return changed


class PatternIndex(Generic[T]):
    """Patterns, as a tree of their tokens. Looking a channel up costs its tokens, not the number of patterns.

    A channel's answer is remembered until a pattern that may concern it comes or goes. With wildcards, several patterns
    may have to be followed for one channel; how many is bounded.

    Args:
        max_steps: nodes that looking one channel up visits at the most; a pattern beyond it is refused.
    """

    def __init__(self, max_steps: int = MAX_MATCH_STEPS) -> None:
        self._root: _Node[T] = _Node()
        self._max_steps = max_steps
        self._answers: dict[str, Sequence[T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, pattern: str, subscription: T, *, bounded: bool = True) -> None:
        """Registers a subscription under a well-formed pattern.

        Args:
            bounded: whether it may be refused; what was registered in an earlier life is not.

        Raises:
            OverloadedError: with it, looking a channel up could cost too much.
        """
        node = self._root
        path: list[tuple[_Node[T], str, int]] = []
        *tokens, last = pattern.split(":")
        if last != ANY_TAIL:
            tokens.append(last)
        for token in tokens:
            below = node.below.get(token)
            path.append((node, token, 0 if below is None else below.steps))
            node = node.below.setdefault(token, _Node())
        ends = node.tail if last == ANY_TAIL else node.here
        ends[subscription] = None
        self._count += 1
        self._recount(path)
        if bounded and self._root.steps > self._max_steps and any(before == 0 for _, _, before in path):
            steps = self._root.steps
            self.remove(pattern, subscription)
            raise OverloadedError(
                f"with the pattern {pattern!r}, looking a channel up could take {steps} steps: too many patterns with "
                "wildcards go on differently for the same channel",
                details={"limit": "max_match_steps", "maximum": self._max_steps},
            )
        self._forget(pattern)

    def remove(self, pattern: str, subscription: T) -> None:
        """Takes a subscription out again; raises ValueError if it is not registered under that pattern."""
        path: list[tuple[_Node[T], str, int]] = []
        node = self._root
        *tokens, last = pattern.split(":")
        if last != ANY_TAIL:
            tokens.append(last)
        for token in tokens:
            below = node.below.get(token)
            if below is None:
                raise ValueError(f"no subscription under {pattern!r}")
            path.append((node, token, below.steps))
            node = below
        ends = node.tail if last == ANY_TAIL else node.here
        if subscription not in ends:
            raise ValueError(f"no subscription under {pattern!r}")
        del ends[subscription]
        self._count -= 1
        self._recount(path)
        self._forget(pattern)

    def _recount(self, path: list[tuple[_Node[T], str, int]]) -> None:
        """Removes what is empty of a path of nodes, tokens, and what each token's node had as steps before; counts the
        steps of the others anew."""
        for node, token, before in reversed(path):
            below = node.below[token]
            if below.is_empty:
                del node.below[token]
            if not node.count(token, before, 0 if below.is_empty else below.steps):
                return

    def match(self, channel: str) -> Sequence[T]:
        """The subscriptions with a pattern that matches a well-formed channel, each once."""
        answer = self._answers.get(channel)
        if answer is None:
            found: list[T] = []
            self._collect(self._root, channel.split(":"), 0, found)
            if len(self._answers) >= CACHED_CHANNELS:
                self._answers.clear()
            answer = self._answers[channel] = tuple(dict.fromkeys(found))
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
