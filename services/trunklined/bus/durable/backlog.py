"""Backlog: what one durable subscription has to deliver, and what became of what it delivered.

It is a cursor for each lane and the exceptions to it. Everything below a cursor was looked at; of that, what is not
done is in a parcel: leased to a subscriber, or waiting for another attempt. So what it remembers does not grow with
what waits in the journal, and a message that is acked leaves nothing behind.

Messages with an ordering key are handed out one at a time: while one of a key is in a parcel, the cursor passes others
of that key over; when it is done, the next of that key is looked up in the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from trunkline.errors import StaleAckError
from trunkline.priority import LANES, MEDIUM_LANE
from trunklined.bus.attempts import Reason
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.cursor import PAGE_BYTES, PAGE_ROWS, Cursor
from trunklined.bus.durable.dead_letters import bury
from trunklined.bus.durable.keys import OrderingKeys
from trunklined.bus.durable.parcel import Parcel
from trunklined.bus.durable.parcels import Parcels
from trunklined.bus.durable.stale_ack import LEASE_EXPIRED, stale_ack, why_retrying
from trunklined.bus.queue import Subscriber
from trunklined.bus.records import DurableRow, Extent, settings_columns
from trunklined.bus.run import Run

log = logging.getLogger(__name__)

LOOKED_AT_ROWS: Final = 4_096
"""Runs that one turn looks at; then other subscriptions have theirs."""


class Backlog:
    """Stages whatever changes here, so that it is durable with the next commit.

    Args:
        context: what it works with.
        row: as it was kept.
        channels: the channels that match its pattern; None: all. The caller adds to it when one is new.
        due_changed: called when there is a new time at which a parcel is due.
    """

    def __init__(
        self, context: JournalContext, row: DurableRow, channels: list[str] | None, due_changed: Callable[[], None]
    ) -> None:
        self.id = row.id
        self.name = row.name
        self.pattern = row.pattern
        self.settings = row.settings
        self.created_at = row.created_at
        self.channels = channels
        self.waiting = row.waiting
        """Messages that were not looked at, or were passed over."""
        self.acked = row.acked
        self.redelivered = row.redelivered
        self.dead_lettered = row.dead_lettered
        self.is_over = False
        """The subscription is no more: nothing is staged, and nothing can be settled."""
        self.cursors = [Cursor(lane, position, self._read) for lane, position in enumerate(row.positions)]
        self.parcels = Parcels(row.id, context, due_changed)
        self._keys = OrderingKeys({}, set())
        self._context = context
        self._looked_at = 0
        """Runs that this turn looked at."""

    def load(self) -> None:
        """Takes up what was open when the program ended."""
        self.parcels.load(self._context.clock(), self.settings.ack_wait)
        self._keys = OrderingKeys(*self._context.engine.busy_keys(self.id))

    @property
    def count(self) -> int:
        """Messages that wait, those for another attempt included."""
        return self.waiting + self.parcels.retrying

    def row(self) -> DurableRow:
        """Returns it as it is kept."""
        return DurableRow(
            self.id,
            self.name,
            self.pattern,
            *settings_columns(self.settings),
            self.created_at,
            tuple(cursor.position for cursor in self.cursors),
            self.waiting,
            self.acked,
            self.redelivered,
            self.dead_lettered,
        )

    def needs(self) -> list[int]:
        """Returns for each lane a sequence below which it needs nothing but its parcels."""
        needed = [cursor.position for cursor in self.cursors]
        needed[MEDIUM_LANE] = self._keys.oldest_waiting(needed[MEDIUM_LANE])
        return needed

    def stage(self) -> None:
        """Has its row written with the next commit."""
        if not self.is_over:  # a subscriber that leaves late changes nothing
            self._context.staging.durables[self.id] = self
            self._context.kick()

    # What comes from publishers, by way of the journal.

    def expect(self, run: Run, messages: int) -> None:
        """Counts a run that is about to be stored: so many messages of it (below 0: it was not stored after all)."""
        if run.first_sequence >= self.cursors[run.lane].position:
            self.waiting += messages
            self._context.staging.durables[self.id] = self

    def offer(self, run: Run, *, keep: bool) -> bool:
        """Takes a run that was stored; returns whether that may be news. `keep`: a subscriber may take it soon."""
        return self.cursors[run.lane].offer(run, keep=keep)

    def drop_expired(self, run: Run) -> None:
        """Makes dead letters of what was not handed out of a run that expired."""
        cursor = self.cursors[run.lane]
        waits = run.key is not None and self._keys.waits(run.key, run.first_sequence)
        first = run.first_sequence if waits else max(cursor.position, run.first_sequence)
        if first < run.end:
            cursor.drop(run.first_sequence, run.end)
            self._bury_new(run.part(first - run.first_sequence, len(run.messages)))

    def forgo(self, extent: Extent) -> None:
        """Gives up what was not handed out of a run that a hard limit removes."""
        cursor = self.cursors[extent.lane]
        waits = extent.key is not None and self._keys.waits(extent.key, extent.first_sequence)
        lost = extent.messages if waits else extent.end - max(cursor.position, extent.first_sequence)
        if lost > 0:
            cursor.drop(extent.first_sequence, extent.end)
            self.waiting -= lost
            self._lose(lost)
            self.stage()

    def delivers(self, run: Run) -> bool:
        """Returns whether a run is for this subscription."""
        if run.redriven is not None:
            return run.redriven.durable == self.id
        return self.channels is None or run.channel in self.channels

    def forget_read_ahead(self) -> None:
        """Keeps nothing in memory that no subscriber takes soon."""
        for cursor in self.cursors:
            cursor.forget()

    # What goes to subscribers.

    def begin_turn(self, now: float) -> None:
        """Makes ready what is due; a turn looks at a bounded number of runs."""
        self._looked_at = 0
        self.parcels.load_due(now)

    @property
    def looked(self) -> bool:
        """Whether this turn looked at anything."""
        return self._looked_at > 0

    @property
    def is_turn_over(self) -> bool:
        """Whether this turn looked at as much as it may: there may be more."""
        return self._looked_at >= LOOKED_AT_ROWS

    def next(self, most: int, now: float) -> tuple[Parcel, list[Run]] | None:
        """Returns what is handed out next, at most so many messages: the higher lane first, and of a lane what was
        tried before. None: there is nothing, or the turn is over."""
        for lane in range(LANES - 1, -1, -1):
            found = self._next_ready(lane, most, now) or self._next_new(self.cursors[lane], most, now)
            if found is not None:
                return found
        return None

    def lease(self, parcel: Parcel, subscriber: Subscriber, now: float) -> None:
        """Leases a parcel to a subscriber: one attempt more."""
        parcel.holder, parcel.peer, parcel.handed_out_at = subscriber, subscriber.peer, now
        parcel.attempts += 1
        if parcel.attempts > 1:
            self.redelivered += parcel.left
            self._context.redelivered += parcel.left
        self.parcels.lease(parcel, now + self.settings.ack_wait)
        self.parcels.touch(parcel)
        subscriber.leased += parcel.left

    def _next_ready(self, lane: int, most: int, now: float) -> tuple[Parcel, list[Run]] | None:
        while (parcel := self.parcels.next_ready(lane, most)) is not None:
            runs = self._messages(parcel)
            if any(_has_expired(run, now) for run in runs):
                self.bury(parcel, Reason.EXPIRED, "its TTL was over before the next attempt")
                continue
            kept = [sequence for run in runs for sequence in range(run.first_sequence, run.end)]
            if len(kept) < parcel.left:
                self._lose(parcel.left - len(kept))
                parcel.keep(kept)
            if kept:
                return parcel, runs
            self._finish(parcel)
        return None

    def _next_new(self, cursor: Cursor, most: int, now: float) -> tuple[Parcel, list[Run]] | None:
        while self._looked_at < LOOKED_AT_ROWS:
            run = cursor.next(most)
            if run is None:
                if not cursor.read_on():
                    return None
                self._looked_at += PAGE_ROWS
                continue
            self._looked_at += 1
            if _has_expired(run, now):
                self._bury_new(run)
            elif run.key is not None and not self._keys.begin(run.key, run.first_sequence):
                self._context.staging.keys[self.id, run.key] = True
            else:
                self.waiting -= len(run.messages)
                return self.parcels.new(run), [run]
        return None

    def _read(self, lane: int, start: int) -> tuple[list[Run], int, bool]:
        runs, read_to, at_end = self._context.engine.runs(self.channels, lane, start, PAGE_ROWS, PAGE_BYTES)
        return [run for run in runs if run.redriven is None or self.delivers(run)], read_to, at_end

    def _messages(self, parcel: Parcel) -> list[Run]:
        """The messages of a parcel that are not settled, as runs without gaps."""
        open = set(parcel.open)
        found: list[Run] = []
        for run in self._context.engine.messages(parcel.sequence, parcel.count):
            start = None
            for offset in range(len(run.messages) + 1):
                is_open = offset < len(run.messages) and run.first_sequence + offset in open
                if is_open and start is None:
                    start = offset
                elif not is_open and start is not None:
                    found.append(run.part(start, offset))
                    start = None
        return found

    # What comes back from subscribers: of messages that `check` does not name.

    def check(self, sequences: list[int], attempt: int) -> list[StaleAckError]:
        """Returns why any of these messages cannot be settled by the subscriber that got them with that attempt."""
        of = self.parcels.leases.of
        refused = []
        for sequence in sequences:
            parcel = of(sequence)
            if parcel is None or parcel.attempts != attempt or self.is_over:
                why = self._why_not_held(sequence, attempt) if parcel is None else None
                refused.append(stale_ack(self.name, sequence, attempt, parcel, why))
        return refused

    def ack(self, sequences: list[int]) -> None:
        """Notes that messages are done."""
        for parcel in self.parcels.settle(sequences):
            self._go_on(parcel)
        self.acked += len(sequences)
        self._context.acked += len(sequences)
        self.stage()

    def nak(self, sequences: list[int], delay: float | None, error: str) -> None:
        """Notes that messages failed: they are tried again after `delay` seconds, or as the backoff says."""
        now = self._context.clock()
        for parcel in self.parcels.take_back(sequences):
            parcel.end_attempt(now, error)
            wait = self.settings.backoff.delay(parcel.attempt) if delay is None else delay
            self._try_again(parcel, now, wait, error)
        self.stage()

    def terminate(self, sequences: list[int], reason: str) -> None:
        """Makes dead letters of messages that can never be done."""
        now = self._context.clock()
        for parcel in self.parcels.take_back(sequences):
            parcel.end_attempt(now, reason)
            self.bury(parcel, Reason.TERMINATED, reason)
        self.stage()

    def release(self, sequences: list[int]) -> None:
        """Takes back messages that were not even started: no attempt is counted."""
        now = self._context.clock()
        for parcel in self.parcels.take_back(sequences):
            parcel.attempts -= 1
            self.parcels.retry(parcel, now, 0.0)
        self.stage()

    def expire(self, run: Run) -> None:
        """Makes dead letters of a run that was handed out and whose TTL was over before it was sent."""
        for parcel in self.parcels.take_back(range(run.first_sequence, run.end)):
            self.bury(parcel, Reason.EXPIRED, "its TTL was over before it was sent")
        self.stage()

    def lapse(self, sequences: list[int], now: float) -> None:
        """Ends leases that are over: each is an attempt that failed."""
        for parcel in self.parcels.take_back(sequences):
            parcel.end_attempt(now, LEASE_EXPIRED)
            self._try_again(parcel, now, 0.0, LEASE_EXPIRED)
        self.stage()

    def move(self, position: int, waiting: int) -> None:
        """Moves every lane; what is leased or waits for another attempt is given up."""
        self.parcels.clear()
        self._keys = OrderingKeys({}, set())
        self.waiting = waiting
        for cursor in self.cursors:
            cursor.move(position)
        self.stage()

    def bury(self, parcel: Parcel, reason: Reason, error: str) -> None:
        """Makes dead letters of a parcel's messages."""
        for run in self._messages(parcel):
            self._bury(run, reason, error, parcel)
        self._finish(parcel)

    def _bury_new(self, run: Run) -> None:
        self.waiting -= len(run.messages)
        self._bury(run, Reason.EXPIRED, "its TTL was over before it was handed out", self.parcels.new(run))
        self.stage()

    def _bury(self, run: Run, reason: Reason, error: str, parcel: Parcel) -> None:
        self.dead_lettered += len(run.messages)
        bury(self._context, self.name, self.pattern, run, reason, error, parcel.log, parcel.redrives)

    def _try_again(self, parcel: Parcel, now: float, wait: float, error: str) -> None:
        if parcel.attempt >= self.settings.max_deliveries:
            self.bury(parcel, Reason.MAX_DELIVERIES, error)
        else:
            self.parcels.retry(parcel, now, wait)

    def _finish(self, parcel: Parcel) -> None:
        self.parcels.finish(parcel)
        self._go_on(parcel)

    def _go_on(self, done: Parcel) -> None:
        """The message of an ordering key is done: the next that was passed over, if any, is ready."""
        key = done.key
        if key is None or not self._keys.is_current(key, done.sequence):
            return
        if self._keys.has_passed_over(key):
            now = self._context.clock()
            for run in self._context.engine.next_of_key(key, done.sequence, self.cursors[MEDIUM_LANE].position):
                if not self.delivers(run):
                    continue
                if _has_expired(run, now):
                    self._bury_new(run)
                    continue
                self.waiting -= 1
                self._keys.go_on(key, run.first_sequence)
                self.parcels.retry(self.parcels.new(run), now, 0.0)
                return
            self._context.staging.keys[self.id, key] = False
        self._keys.free(key)

    def _lose(self, messages: int) -> None:
        """A hard limit removed messages that were still needed."""
        self._context.lost_to_limits += messages
        log.error("%d messages that %r still needed were removed by a hard limit", messages, self.name)

    def _why_not_held(self, sequence: int, attempt: int) -> str:
        retrying = self.parcels.waits(sequence)
        if retrying is not None:
            return why_retrying(retrying, attempt)
        run = next(iter(self._context.engine.messages(sequence, 1)), None)
        if run is None and sequence >= max(cursor.position for cursor in self.cursors):
            return "never handed out"
        if run is None or not self.delivers(run):
            return "not deliverable"
        passed_over = run.key is not None and self._keys.waits(run.key, sequence)
        return "settled" if sequence < self.cursors[run.lane].position and not passed_over else "never handed out"


def _has_expired(run: Run, now: float) -> bool:
    return run.expires_at is not None and run.expires_at < now
