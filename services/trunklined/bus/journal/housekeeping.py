"""Housekeeping: what the journal does by itself now and then: expiry, retention, and giving space back.

It looks only when no commit runs: then what durable subscriptions say they need and what the engine knows of it agree.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from trunkline.errors import TrunklineError
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.tasks import Tasks
from trunklined.bus.journal.channels import Channels
from trunklined.bus.journal.commits import Commits
from trunklined.bus.journal.durables import Durables
from trunklined.bus.journal.retention import END, Retention

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 1.0
"""How often it looks."""
SWEPT_BATCHES: Final = 256
"""Expired batches that one round makes dead letters of."""
COUNTED_A_TICK: Final = 512
"""Durable subscriptions of which one tick writes how much waits for them, where commits have not done so yet."""
TIDIED_PAGES: Final = 2_048
"""What is given back to the disk in one go (8 MiB), which holds the next commit up for some milliseconds."""


class Housekeeping:
    """One round after the other, each with what one commit can do.

    Args:
        context: where what it does is staged.
        commits: in their thread space is given back.
        follow: does something when the commit that gathers now is done.
        durables: told of what expired, or was removed though they needed it.
        channels: told of what is removed.
        retention: finds what is to be removed.
        tasks: forgets those whose time is over.
    """

    def __init__(
        self,
        context: JournalContext,
        commits: Commits,
        follow: Callable[[Callable[[], None]], None],
        durables: Durables,
        channels: Channels,
        retention: Retention,
        tasks: Tasks,
    ) -> None:
        self._context = context
        self._commits = commits
        self._follow = follow
        self._durables = durables
        self._channels = channels
        self._retention = retention
        self._tasks = tasks
        self._timer: asyncio.TimerHandle | None = None
        self._working = False
        """What the last round staged is not durable yet, and would be found again."""
        self._stopped = False

    def start(self) -> None:
        """Begins to look now and then."""
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """Looks no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self.start()
        if self._context.uncounted:
            self._context.stage_uncounted(COUNTED_A_TICK)
            self._context.schedule()
        if not self._working:
            self._look()

    def _look(self) -> None:
        if self._commits.is_idle:
            self._round()
        else:
            self._follow(self._round)

    def _round(self) -> None:
        if self._stopped or self._working:
            return
        now = self._context.clock()
        try:
            found = self._sweep(now) + self._remove(now) + self._tasks.tidy(now)
        except TrunklineError as error:
            log.error("the journal could not be looked after: %s", error)  # it says what there is
            return
        if found:
            self._working = True
            self._context.staging.after.append(self._go_on)
            self._context.schedule()
        elif self._context.engine.has_free_space():
            self._commits.maintain(lambda: self._context.engine.tidy(TIDIED_PAGES))

    def _go_on(self) -> None:
        """What was found is dealt with; there may be more."""
        self._working = False
        self._round()

    def _sweep(self, now: float) -> int:
        """Makes dead letters of what expired before it was handed out. What somebody holds stays until it is done."""
        batches = self._context.engine.expired(now, SWEPT_BATCHES)
        staged_from = self._staged_from()
        for batch in batches:
            for durable in self._durables.of(batch):
                durable.drop_expired(batch)
            if batch.end > staged_from or self._context.engine.is_held(batch.first_sequence, batch.end):
                self._context.staging.swept[batch.first_sequence] = None
            else:
                channel = self._channels[batch.channel]
                channel.take_back(batch)
                self._context.staging.removed[batch.first_sequence] = None
                self._context.staging.channels[channel.name] = channel
        return len(batches)

    def _remove(self, now: float) -> int:
        """Removes what is kept no longer."""
        removed = 0
        staged_from = self._staged_from()
        for channel, header, rule in self._retention.removable(now):
            if header.end > staged_from and not rule.hard:
                continue
            if rule.hard and not header.swept:
                for durable in self._durables.of(header):
                    durable.forgo(header)
            channel.remove(header)
            self._context.staging.removed[header.first_sequence] = None
            self._context.staging.channels[channel.name] = channel
            removed += 1
        return removed

    def _staged_from(self) -> int:
        """The first sequence of what is handed out and not durable yet, as after a commit that failed: the engine does
        not know that somebody holds it."""
        return min((row().sequence for row in self._context.staging.pending_messages.values()), default=END)
