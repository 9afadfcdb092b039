"""JournalContext: what durable subscriptions and the journal's housekeeping share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from trunklined.bus.description import Description
from trunklined.bus.engines.engine import JournalEngine
from trunklined.bus.recent import RecentEvents
from trunklined.bus.records import DurableRow
from trunklined.bus.staging import HasRow, Staging


@dataclass(slots=True)
class JournalContext:
    """The engine, what is staged for its next commit, the clock, and the counters of all durable subscriptions.

    Attributes:
        engine: what keeps everything.
        staging: what the next commit writes; a new one for each commit.
        clock: UNIX time in seconds.
        describe: what an encoded message says of itself.
        recent: notes what happens to messages.
        kick: called when something was staged.
        last_sequence: returns the last sequence that was given out.
        uncounted: durable subscriptions whose rows do not say yet what was stored for them lately, by number. They
            follow some at a time, so that a publish costs little however many it is for.
        last_parcel: the last number that was given to a pending batch.
        hands_out: whether subscribers are given anything; no more when the bus stops.
        acked, redelivered, dead_lettered: messages since the start.
        lost_to_limits: messages that a hard limit removed though they were needed.
    """

    engine: JournalEngine
    staging: Staging
    clock: Callable[[], float]
    describe: Callable[[bytes], Description]
    schedule: Callable[[], None]
    last_sequence: Callable[[], int]
    recent: RecentEvents
    uncounted: dict[int, HasRow[DurableRow]] = field(default_factory=dict)
    last_pending_id: int = 0
    hands_out: bool = True
    acked: int = 0
    redelivered: int = 0
    dead_lettered: int = 0
    lost_to_limits: int = 0

    def stage_uncounted(self, most: int) -> None:
        """Has the rows of so many durable subscriptions say what was stored for them."""
        for id in list(islice(self.uncounted, most)):
            self.staging.durables[id] = self.uncounted.pop(id)

    def next_pending_id(self) -> int:
        """Returns the number of a new pending batch."""
        self.last_pending_id += 1
        return self.last_pending_id
