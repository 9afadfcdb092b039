"""Retention: how long what is stored is kept, and what makes room."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from trunkline.channels import matches
from trunkline.priority import PRIORITY_LEVELS
from trunklined.bus.engines.engine import JournalEngine
from trunklined.bus.journal.channels import Channels, ChannelState
from trunklined.bus.journal.durables import Durables
from trunklined.bus.records import BatchHeader

REMOVED_BATCHES: Final = 1_024
"""What one round removes at the most; then others have their turn."""
PAGE_ROWS: Final = 64
PAGES_A_ROUND: Final = 32
"""What one round looks at of one channel at the most."""
END: Final = 2**62
"""Beyond every sequence, and every figure."""
CHANNELS_A_ROUND: Final = 1_024
"""Channels that one round looks at; the next goes on behind them."""


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """How long messages of some channels are kept. None: that does not matter.

    What a durable subscription still needs is kept all the same, unless the rule is `hard`. What is younger than the
    window in which message ids are known is kept too, unless it is `hard`.

    Args:
        pattern: of the channels; the first rule that matches one is its only one.
        max_age: seconds since the bus took it.
        max_bytes: of the messages of all its channels together.
        max_messages: the same in messages.
        hard: it also goes for what is still needed, which is counted and logged.
    """

    pattern: str
    max_age: float | None = None
    max_bytes: int | None = None
    max_messages: int | None = None
    hard: bool = False


class Retention:
    """Finds what is to be removed.

    Args:
        rules: the first that matches a channel is its only one; a channel that none matches is kept for ever.
        engine: what keeps the runs.
        channels: what it holds.
        durables: who needs what.
        youngest: seconds for which everything is kept.
    """

    def __init__(
        self,
        rules: tuple[RetentionRule, ...],
        engine: JournalEngine,
        channels: Channels,
        durables: Durables,
        youngest: float,
    ) -> None:
        self._rules = rules
        self._engine = engine
        self._channels = channels
        self._durables = durables
        self._youngest = youngest
        self._rule_of: dict[str, RetentionRule | None] = {}
        self._looked_at: dict[str, int] = {}
        """Where to go on in channels of which not everything was looked at."""
        self._next = 0

    def removable(self, now: float) -> list[tuple[ChannelState, BatchHeader, RetentionRule]]:
        """What may go now; the oldest first, of those channels whose turn it is."""
        by_rule: dict[RetentionRule, list[ChannelState]] = {}
        for channel in self._channels:
            rule = self._of(channel.name)
            if rule is not None and channel.messages:
                by_rule.setdefault(rule, []).append(channel)
        found: list[tuple[ChannelState, BatchHeader, RetentionRule]] = []
        for rule, channels in by_rule.items():
            room = REMOVED_BATCHES - len(found)
            if room > 0:
                found += [(channel, header, rule) for channel, header in self._of_rule(rule, channels, now, room)]
        self._next += CHANNELS_A_ROUND
        return found

    def _of(self, channel: str) -> RetentionRule | None:
        if channel not in self._rule_of:
            self._rule_of[channel] = next((rule for rule in self._rules if matches(rule.pattern, channel)), None)
        return self._rule_of[channel]

    def _of_rule(
        self, rule: RetentionRule, channels: list[ChannelState], now: float, room: int
    ) -> Iterator[tuple[ChannelState, BatchHeader]]:
        messages = sum(channel.messages for channel in channels) - _bound(rule.max_messages)
        size = sum(channel.bytes for channel in channels) - _bound(rule.max_bytes)
        if messages <= 0 and size <= 0 and rule.max_age is None:
            return
        old_enough = END if rule.hard else self._below(now - self._youngest)
        too_old = 0 if rule.max_age is None else min(old_enough, self._below(now - rule.max_age))
        until = too_old if messages <= 0 and size <= 0 else old_enough
        if len(channels) > CHANNELS_A_ROUND:
            first = self._next % len(channels)
            channels = (channels[first:] + channels[:first])[:CHANNELS_A_ROUND]
        oldest_first = heapq.merge(*(self._extents(channel, rule, until) for channel in channels), key=_age)
        for _, channel, header in oldest_first:
            if room <= 0 or (messages <= 0 and size <= 0 and header.first_sequence >= too_old):
                return
            yield channel, header
            room -= 1
            messages -= header.messages
            size -= header.size

    def _below(self, time: float) -> int:
        """The sequence below which everything was taken before a time: times rise with sequences."""
        return self._engine.sequence_at(time) or END

    def _extents(
        self, channel: ChannelState, rule: RetentionRule, until: int
    ) -> Iterator[tuple[int, ChannelState, BatchHeader]]:
        """What may go of a channel, oldest first. What is needed lies in between; so what was looked at in vain is
        passed over the next time, until all was."""
        needed = [END] * PRIORITY_LEVELS if rule.hard else self._durables.first_needed(channel.name)
        until = min(until, max(needed))
        after: int | None = self._looked_at.pop(channel.name, 0)
        for _ in range(PAGES_A_ROUND):
            page, after = self._engine.removable(
                channel.name, after or 0, until, needed, PAGE_ROWS, needed_too=rule.hard
            )
            for header in page:
                yield header.first_sequence, channel, header
            if after is None:
                return
        self._looked_at[channel.name] = after or 0


def _bound(figure: int | None) -> int:
    return END if figure is None else figure


def _age(found: tuple[int, ChannelState, BatchHeader]) -> int:
    return found[0]
