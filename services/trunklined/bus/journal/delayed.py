"""Later: messages that are held back until they are due, and then take their place in the order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from trunklined.bus.description import Description
from trunklined.bus.engines.engine import JournalEngine
from trunklined.bus.journal.publication import Publication
from trunklined.bus.requests import Correlated
from trunklined.bus.wall_timer import WallTimer

RELEASED_MESSAGES: Final = 1_024
"""What one commit releases at the most."""


class DelayedMessages:
    """They wait in the engine, however many there are; here is only the time of the next.

    Args:
        engine: what keeps them.
        clock: UNIX time in seconds.
        describe: what an encoded message says of itself.
        due: told that some are due: `release` is to be called when no commit runs.
    """

    def __init__(
        self,
        engine: JournalEngine,
        clock: Callable[[], float],
        describe: Callable[[bytes], Description],
        due: Callable[[], None],
    ) -> None:
        self.count = 0
        """How many are held back."""
        self.is_due = False
        self._engine = engine
        self._clock = clock
        self._describe = describe
        self._due = due
        self._timer = WallTimer(clock, self._on_time)

    def arm(self) -> None:
        """Sets the timer to the next, as the engine knows it."""
        self._timer.set(self._engine.next_held_back())

    def stop(self) -> None:
        """Releases nothing more by itself."""
        self._timer.stop()

    def release(self, allot: Callable[[int], int], now: float) -> list[Publication]:
        """What is due, as publications, each message with a new sequence."""
        self.is_due = False
        by_channel: dict[str, Publication] = {}
        for held in self._engine.held_back_until(self._clock(), RELEASED_MESSAGES):
            batch = replace(held.batch, first_sequence=allot(1), time=now)
            publication = by_channel.setdefault(batch.channel, Publication(batch.channel, time=now))
            publication.batches.append(batch)
            publication.released.append(held.sequence)
            about = self._describe(batch.messages[0])
            if about.correlation_id:
                publication.correlated.append(Correlated(about.correlation_id, about.message_id, batch.messages[0]))
        if not by_channel:  # the clock was put back meanwhile
            self.arm()
        return list(by_channel.values())

    def _on_time(self) -> None:
        self.is_due = True
        self._due()
