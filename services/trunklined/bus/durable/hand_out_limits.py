"""HandOutLimits: how many messages a durable subscription may hand out now, over all its subscribers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from trunkline.delivery import DurableSettings
from trunkline.limits import MAX_LEASED_MESSAGES

_ROUNDING: Final = 1e-9
"""By which a sum of parts of a token may fall short of a whole one."""


class HandOutLimits:
    """The most that may be leased, and a token bucket (https://en.wikipedia.org/wiki/Token_bucket): in any span of time
    no more than the burst and what the rate brings meanwhile.

    Args:
        settings: the limits.
        clock: seconds that never go back.
    """

    __slots__ = ("_burst", "_clock", "_filled_at", "_most_leased", "_rate", "_tokens")

    def __init__(self, settings: DurableSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = self._tokens = 0.0
        self._filled_at = clock()
        self.change(settings)

    def change(self, settings: DurableSettings) -> None:
        """Has other limits. A bucket that was there keeps its tokens, as far as the burst goes; a new one is full."""
        self._most_leased = settings.max_leased or MAX_LEASED_MESSAGES
        burst = float(settings.burst or max(1, math.ceil(settings.rate)))
        if self._rate:
            self._fill()
            self._tokens = min(burst, self._tokens)
        else:
            self._tokens, self._filled_at = burst, self._clock()
        self._rate, self._burst = settings.rate, burst

    def room(self, leased: int) -> int:
        """How many messages may be handed out now, where so many are leased."""
        room = self._most_leased - leased
        if not self._rate or room <= 0:
            return max(0, room)
        self._fill()
        return min(room, int(self._tokens + _ROUNDING))

    def take(self, messages: int) -> None:
        """So many messages, for which there was room, are handed out."""
        if self._rate:
            self._tokens -= messages

    def wait(self, leased: int) -> float | None:
        """Seconds until there is room again; None: something that is leased must be settled first."""
        if not self._rate or leased >= self._most_leased:
            return None
        self._fill()
        return max(0.0, 1 - self._tokens) / self._rate

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
