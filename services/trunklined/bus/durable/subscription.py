"""DurableSubscription: what one durable subscription has seen, what its subscribers hold, and what comes next.

It is a cursor for each lane and the exceptions to it. Everything below a cursor was looked at; of that, what is not
done is in a parcel: leased to a subscriber, or waiting for another attempt. So what it remembers does not grow with
what waits in the journal, and a message that is acked leaves nothing behind.

Messages with an ordering key are handed out one at a time: while one of a key is in a parcel, the cursor passes others
of that key over; when it is done, the next of that key is looked up in the journal.

What is handed out is made durable before it is sent: so a message that comes a second time says so, whatever was
killed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from trunkline.errors import StaleAckError, TrunklineError
from trunkline.limits import MAX_LEASED_MESSAGES, UNSET_CREDIT_LEASES
from trunkline.priority import MEDIUM_LANE
from trunklined.bus.attempts import Reason
from trunklined.bus.durable.cursor import PAGE_BYTES, PAGE_ROWS, Cursor
from trunklined.bus.durable.dead_letters import bury
from trunklined.bus.durable.desk import Desk, Settings
from trunklined.bus.durable.handout import Handout
from trunklined.bus.durable.keys import OrderingKeys
from trunklined.bus.durable.parcel import Parcel
from trunklined.bus.durable.parcels import Parcels
from trunklined.bus.durable.staleness import LEASE_EXPIRED, stale
from trunklined.bus.durable.tray import Tray
from trunklined.bus.queue import Subscriber
from trunklined.bus.records import DurableRow, Extent
from trunklined.bus.run import Run

log = logging.getLogger(__name__)


class DurableSubscription:
    """Runs in the event loop; nothing in it waits.

    Args:
        desk: what it works with.
        row: as it was kept.
        channels: the channels that match its pattern; None: all. The caller adds to it when one is new.
    """

    def __init__(self, desk: Desk, row: DurableRow, channels: list[str] | None) -> None:
        self.desk = desk
        self.id = row.id
        self.name = row.name
        self.pattern = row.pattern
        self.settings = Settings(*row[3:8])
        self.created_at = row.created_at
        self.channels = channels
        self.waiting = row.waiting
        self.acked = row.acked
        self.redelivered = row.redelivered
        self.dead_lettered = row.dead_lettered
        self.subscribers: list[Subscriber] = []
        self.trays: dict[Subscriber, Tray] = {}
        self.cursors = [Cursor(lane, position, self._read) for lane, position in enumerate(row.positions)]
        self.parcels = Parcels(row.id, desk, self.arm)
        self.keys = OrderingKeys({}, set())
        self._timer: asyncio.TimerHandle | None = None
        self._moving = False
        """What is on disk is void until the next commit."""
        self._ended = False

    def load(self) -> None:
        """Takes up what was open when the program ended."""
        self.parcels.load(self.desk.clock(), self.settings.ack_wait)
        self.keys = OrderingKeys(*self.desk.engine.busy_keys(self.id))
        self.arm()

    # What it is.

    @property
    def group(self) -> str:
        """All who name it share it."""
        return self.name

    @property
    def count(self) -> int:
        """Messages that wait."""
        return self.waiting + self.retrying

    @property
    def size(self) -> int:
        """Bytes that are handed out and wait for a stream."""
        return sum(tray.size for tray in self.trays.values())

    @property
    def retrying(self) -> int:
        """Messages that wait for another attempt."""
        return self.parcels.retrying

    @property
    def leased(self) -> int:
        """Messages that are handed out and not settled."""
        return len(self.parcels.leases)

    @property
    def next_sequence(self) -> int:
        """Of the medium lane, the first that it has not looked at."""
        return self.cursors[MEDIUM_LANE].position

    def row(self) -> DurableRow:
        """As it is kept."""
        return DurableRow(
            self.id,
            self.name,
            self.pattern,
            *self.settings,
            self.created_at,
            tuple(cursor.position for cursor in self.cursors),
            self.waiting,
            self.acked,
            self.redelivered,
            self.dead_lettered,
        )

    def needs(self) -> list[int]:
        """For each lane, a sequence below which it needs nothing but its parcels."""
        needed = [cursor.position for cursor in self.cursors]
        needed[MEDIUM_LANE] = self.keys.oldest_waiting(needed[MEDIUM_LANE])
        return needed

    # What comes from publishers, by way of the journal.

    def expect(self, run: Run, messages: int) -> None:
        """A run is about to be stored: so many messages of it (or, below 0, it was not after all)."""
        if run.first_sequence >= self.cursors[run.lane].position:
            self.waiting += messages
            self.desk.staging.durables[self.id] = self

    def offer(self, run: Run) -> None:
        """A run was stored."""
        if self.cursors[run.lane].offer(run, keep=bool(self.subscribers)):
            self.want()

    def drop_expired(self, run: Run) -> None:
        """A run expired: what was not handed out of it becomes dead letters."""
        cursor = self.cursors[run.lane]
        waits = run.key is not None and self.keys.waits(run.key, run.first_sequence)
        first = run.first_sequence if waits else max(cursor.position, run.first_sequence)
        if first < run.end:
            cursor.drop(run.first_sequence, run.end)
            self.bury_new(run.part(first - run.first_sequence, len(run.messages)))

    def forgo(self, extent: Extent) -> None:
        """A hard limit removes a run: what was not handed out of it never will be."""
        cursor = self.cursors[extent.lane]
        waits = extent.key is not None and self.keys.waits(extent.key, extent.first_sequence)
        lost = extent.messages if waits else extent.end - max(cursor.position, extent.first_sequence)
        if lost > 0:
            cursor.drop(extent.first_sequence, extent.end)
            self.waiting -= lost
            self.lose(lost)
            self.stage()

    def is_for_us(self, run: Run) -> bool:
        """Whether it delivers that."""
        if run.redriven is not None:
            return run.redriven.durable == self.id
        return self.channels is None or run.channel in self.channels

    def _read(self, lane: int, start: int) -> tuple[list[Run], int, bool]:
        runs, read_to, at_end = self.desk.engine.runs(self.channels, lane, start, PAGE_ROWS, PAGE_BYTES)
        return [run for run in runs if run.redriven is None or self.is_for_us(run)], read_to, at_end

    # What comes from subscribers.

    def join(self, subscriber: Subscriber) -> None:
        """Lets a subscriber take from this one."""
        subscriber.queue = self
        self.subscribers.append(subscriber)
        self.trays[subscriber] = Tray()
        self.want()

    def leave(self, subscriber: Subscriber) -> bool:
        """Removes a subscriber. What it holds stays leased; what was not sent yet goes to others."""
        tray = self.trays.pop(subscriber, None)
        if tray is None:
            return False
        self.subscribers.remove(subscriber)
        subscriber.queue = None
        if self._ended:
            return False
        for run in tray:
            self.unsend(run)
        if self.subscribers:
            self.want()
        else:
            for cursor in self.cursors:
                cursor.forget()
        return False

    def take_back_from(self, subscriber: Subscriber) -> None:
        """A subscriber that left has begun with nothing of what it still holds, which was on its way to it."""
        if not self._ended:
            self.release(self.parcels.leases.held_by(subscriber))

    def unsend(self, run: Run) -> None:
        """A run that was handed out is not sent after all."""
        of = self.parcels.leases.of
        held = ((sequence, of(sequence)) for sequence in range(run.first_sequence, run.end))
        self.release([sequence for sequence, parcel in held if parcel and parcel.attempts == run.attempt])

    def feed(self, subscriber: Subscriber) -> None:
        """Its appetite grew."""
        self.want()

    def take(self, subscriber: Subscriber, max_messages: int, now: float) -> Run | None:
        """The next run for a subscriber, of what is handed out to it."""
        tray = self.trays.get(subscriber)
        if tray is None:
            return None
        was_full = tray.is_full
        while (run := tray.take(max_messages)) is not None and run.expires_at is not None and run.expires_at < now:
            self._expire_unsent(subscriber, run)
        if run is not None:
            subscriber.delivered += len(run.messages)
        if was_full:
            self.want()
        return run

    def tell_dropped(self) -> int:
        """Nothing is ever dropped."""
        return 0

    # Settling.

    def check(self, sequences: Iterable[int], attempt: int) -> list[StaleAckError]:
        """Why any of these messages cannot be settled by who was given them with that attempt."""
        of = self.parcels.leases.of
        refused = []
        for sequence in sequences:
            parcel = of(sequence)
            if parcel is None or parcel.attempts != attempt or self._ended:
                refused.append(stale(self, sequence, attempt))
        return refused

    def ack(self, sequences: list[int]) -> None:
        """They are done. Here and below, `check` was asked before, and what it names left out."""
        for parcel in self.parcels.settle(sequences):
            self._go_on(parcel)
        self.acked += len(sequences)
        self.desk.acked += len(sequences)
        self.changed()

    def nak(self, sequences: list[int], delay: float | None, error: str) -> None:
        """They failed: they are handed out again after `delay` seconds, or as the backoff says."""
        now = self.desk.clock()
        for parcel in self.parcels.take_back(sequences):
            parcel.end_attempt(now, error)
            self._try_again(parcel, now, self.settings.delay(parcel.attempt) if delay is None else delay, error)
        self.changed()

    def terminate(self, sequences: list[int], reason: str) -> None:
        """They can never be done."""
        now = self.desk.clock()
        for parcel in self.parcels.take_back(sequences):
            parcel.end_attempt(now, reason)
            self.bury_parcel(parcel, Reason.TERMINATED, reason)
        self.changed()

    def extend(self, sequences: list[int], lease: float | None) -> None:
        """They are still at work: the lease ends `lease` seconds from now, unset: its ack_wait."""
        deadline = self.desk.clock() + (self.settings.ack_wait if lease is None else lease)
        self.parcels.leases.extend(sequences, deadline)
        self.arm()

    def release(self, sequences: list[int]) -> None:
        """They were not even started: no attempt is counted."""
        now = self.desk.clock()
        for parcel in self.parcels.take_back(sequences):
            parcel.attempts -= 1
            self.parcels.retry(parcel, now, 0.0)
        self.changed()

    def _expire_unsent(self, subscriber: Subscriber, run: Run) -> None:
        """The TTL of a run was over before its stream took it."""
        for parcel in self.parcels.take_back(range(run.first_sequence, run.end)):
            self.bury_parcel(parcel, Reason.EXPIRED, "its TTL was over before it was sent")
        subscriber.give_back(len(run.messages))
        self.changed()

    def _expire(self, sequences: list[int], now: float) -> None:
        """Their leases are over. What a stream did not even take is released: who does not read has begun nothing."""
        late = set(sequences)
        for subscriber, tray in self.trays.items():
            unsent = tray.withdraw(late)
            subscriber.give_back(len(unsent))
            if unsent:
                late.difference_update(unsent)
                self.release(unsent)
        for parcel in {self.parcels.leases.of(sequence) for sequence in late}:
            if parcel is not None and parcel.holder is not None:
                parcel.holder.silent = True
        for parcel in self.parcels.take_back(sorted(late)):
            parcel.end_attempt(now, LEASE_EXPIRED)
            self._try_again(parcel, now, 0.0, LEASE_EXPIRED)
        self.changed()

    def _try_again(self, parcel: Parcel, now: float, wait: float, error: str) -> None:
        if parcel.attempt >= self.settings.max_deliveries:
            self.bury_parcel(parcel, Reason.MAX_DELIVERIES, error)
        else:
            self.parcels.retry(parcel, now, wait)

    # Being done.

    def bury_parcel(self, parcel: Parcel, reason: Reason, error: str) -> None:
        """A parcel's messages become dead letters."""
        for run in self.read(parcel):
            self._bury(run, reason, error, parcel)
        self.finish(parcel)

    def bury_new(self, run: Run) -> None:
        """What was waiting to be handed out expired."""
        self.waiting -= len(run.messages)
        self._bury(run, Reason.EXPIRED, "its TTL was over before it was handed out", self.parcels.new(run))
        self.stage()

    def _bury(self, run: Run, reason: Reason, error: str, parcel: Parcel) -> None:
        self.dead_lettered += len(run.messages)
        bury(self.desk, self.name, self.pattern, run, reason, error, parcel.log, parcel.redrives)

    def finish(self, parcel: Parcel) -> None:
        """A parcel is done."""
        self.parcels.finish(parcel)
        self._go_on(parcel)

    def _go_on(self, done: Parcel) -> None:
        """The message of an ordering key is done: the next that was passed over, if any, is ready."""
        key = done.key
        if key is None or not self.keys.is_current(key, done.sequence):
            return
        if self.keys.has_passed_over(key):
            now = self.desk.clock()
            for run in self.desk.engine.next_of_key(key, done.sequence, self.cursors[MEDIUM_LANE].position):
                if not self.is_for_us(run):
                    continue
                if run.expires_at is not None and run.expires_at < now:
                    self.bury_new(run)
                    continue
                self.waiting -= 1
                self.keys.go_on(key, run.first_sequence)
                self.parcels.retry(self.parcels.new(run), now, 0.0)
                return
            self.desk.staging.keys[self.id, key] = False
        self.keys.free(key)

    def read(self, parcel: Parcel) -> list[Run]:
        """The messages of a parcel that are not settled, as runs without gaps."""
        open = set(parcel.open)
        found: list[Run] = []
        for run in self.desk.engine.messages(parcel.sequence, parcel.count):
            start = None
            for offset in range(len(run.messages) + 1):
                is_open = offset < len(run.messages) and run.first_sequence + offset in open
                if is_open and start is None:
                    start = offset
                elif not is_open and start is not None:
                    found.append(run.part(start, offset))
                    start = None
        return found

    # Handing out, and time.

    def pump(self, now: float) -> None:
        """Hands out what there is to who wants it: its turn before a commit."""
        if not self._moving and not self._ended:
            Handout(self, now).give()

    def room(self, subscriber: Subscriber) -> int:
        """How many messages it may be given now."""
        if self.trays[subscriber].is_full:
            return 0
        room = UNSET_CREDIT_LEASES - subscriber.leased if subscriber.credit is None else subscriber.credit
        return min(room, MAX_LEASED_MESSAGES - self.leased)

    def arm(self) -> None:
        """Sets the timer to what happens next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        times = [self.parcels.leases.next_deadline()]
        if any(self.room(each) > 0 for each in self.subscribers):
            times.append(self.parcels.due_at)
        at = min((time for time in times if time is not None), default=None)
        if at is not None and not self._ended:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, at - self.desk.clock()) + 0.001, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        now = self.desk.clock()
        for late in self.parcels.leases.late(now):
            if late:
                self._expire(late, now)
        self.want()
        self.arm()

    # Moving and ending.

    def seek(self, position: int, waiting: int, done: Callable[[], None]) -> None:
        """Moves every lane; what is leased or waits for another attempt is given up."""
        for subscriber, tray in self.trays.items():
            subscriber.leased = 0
            subscriber.give_back(sum(len(run.messages) for run in tray))
            tray.clear()
        self.parcels.clear()
        self.keys = OrderingKeys({}, set())
        self.waiting = waiting
        for cursor in self.cursors:
            cursor.move(position)
        self._moving = True

        def moved() -> None:
            self._moving = False
            self.want()
            done()

        self.desk.staging.after.append(moved)
        self.stage()

    def end(self, error: TrunklineError | None) -> None:
        """It is no more, or the program ends; its subscribers are told the error, if there is one."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if error is not None:
            self.turn_away(error)

    def turn_away(self, error: TrunklineError) -> None:
        """Ends its subscribers' streams."""
        for subscriber in list(self.subscribers):
            if subscriber.end is not None:
                subscriber.end(subscriber, error)

    def lose(self, messages: int) -> None:
        """A hard limit removed messages that it still needed."""
        self.desk.lost_to_limits += messages
        log.error("%d messages that %r still needed were removed by a hard limit", messages, self.name)

    def want(self) -> None:
        """It may have something to hand out."""
        if self.subscribers and not self._ended:
            self.desk.want(self)

    def stage(self) -> None:
        """Its figures changed."""
        if self._ended:  # it is no more: whoever leaves late changes nothing
            return
        self.desk.staging.durables[self.id] = self
        self.desk.kick()

    def changed(self) -> None:
        """Something was settled."""
        self.stage()
        self.want()
