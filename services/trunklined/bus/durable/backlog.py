"""Backlog: what one durable subscription has to deliver, and what became of what it delivered.

It is a cursor for each level and the exceptions to it. Everything below a cursor was looked at; of that, what is not
done is in a pending batch: leased to a subscriber, or waiting for another attempt. So what it remembers does not grow
with what waits in the journal, and a message that is acked leaves nothing behind.

Of messages with an ordering key only so many are handed out at a time: while they are pending, the cursor passes others
of that key over; when one is done, the next of that key is looked up in the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from trunkline.channels import matches
from trunkline.delivery import DurableSettings
from trunkline.priority import MEDIUM_LEVEL, PRIORITY_LEVELS
from trunklined.bus.attempts import LEASE_EXPIRED, Reason
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.cursor import PAGE_BYTES, PAGE_ROWS, Cursor
from trunklined.bus.durable.dead_letters import bury
from trunklined.bus.durable.keys import OrderingKeys
from trunklined.bus.durable.pending import Pending
from trunklined.bus.durable.pending_messages import PendingMessages
from trunklined.bus.durable.stale_ack import StaleAck, why_leased, why_retrying
from trunklined.bus.durable.tasks import Tasks
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.queue import Subscriber
from trunklined.bus.recent import EventKind
from trunklined.bus.records import BatchHeader, DurableRow

log = logging.getLogger(__name__)

LOOKED_AT_ROWS: Final = 4_096
"""Runs that one turn looks at; then other subscriptions have theirs."""
KEYS_WITH_ROOM: Final = 64
"""Ordering keys that may have more handed out at once than before, of which one turn looks for what was passed over."""


class Backlog:
    """Stages whatever changes here, so that it is durable with the next commit.

    Args:
        context: what it works with.
        row: as it was kept.
        channels: the channels that match its pattern; None: all. The caller adds to it when one is new.
        due_changed: called when there is a new time at which a pending batch is due.
        tasks: told what becomes of messages, some of which are tasks.
    """

    def __init__(
        self,
        context: JournalContext,
        row: DurableRow,
        channels: list[str] | None,
        due_changed: Callable[[], None],
        tasks: Tasks,
    ) -> None:
        self.id = row.id
        self.name = row.name
        self.pattern = row.pattern
        self.settings = row.settings
        self.paused = row.paused
        """Nothing is handed out until somebody says so."""
        self.created_at = row.created_at
        self.channels = channels
        self.waiting = row.waiting
        """Messages that were not looked at, or were passed over."""
        self.acked = row.acked
        self.redelivered = row.redelivered
        self.dead_lettered = row.dead_lettered
        """Dead letters that can be found."""
        self._buried = row.dead_lettered
        """The same with those that are being stored."""
        self.is_over = False
        """The subscription is no more: nothing is staged, and nothing can be settled."""
        self.cursors = [Cursor(level, position, self._read) for level, position in enumerate(row.positions)]
        self.pending_messages = PendingMessages(row.id, context, due_changed)
        self.keys = OrderingKeys(row.key_concurrency)
        self._keys_with_room: list[str] = []
        self._cancelled_until = 0
        """From this sequence on nothing was cancelled."""
        self._cancelling: dict[tuple[int, int], int] = {}
        """What was cancelled and is not durable yet: before where, by level and from where on."""
        self._context = context
        self._tasks = tasks
        self._counted_to = row.counted_to
        self._uncounted_from: int | None = None
        """The sequence that it was moved to and from which on it is not known yet how much waits: nothing is handed out
        meanwhile."""
        self._counts_changes = True
        """Whether what comes and goes is counted: it is not where a count is to begin."""
        self.count_number = 0
        """Of the last count that was asked for."""
        self._looked_at = 0
        """Runs that this turn looked at."""

    def load(self) -> None:
        """Takes up what was open when the program ended."""
        end = self._context.last_sequence() + 1
        if self._counted_to < end:
            self.waiting += self._context.engine.count_from(self.channels, self.id, self._counted_to, end)
        self.pending_messages.load(self._context.clock(), self.settings.ack_wait)
        self.keys.load(*self._context.engine.busy_keys(self.id))
        self._keys_with_room = self.keys.with_room()
        self._cancelled_until = self._context.engine.cancelled_until(self.id)

    @property
    def count(self) -> int:
        """Messages that wait, those for another attempt included."""
        return self.waiting + self.pending_messages.retrying

    def row(self) -> DurableRow:
        """Returns it as it is kept."""
        return DurableRow(
            id=self.id,
            name=self.name,
            pattern=self.pattern,
            created_at=self.created_at,
            positions=tuple(cursor.position for cursor in self.cursors),
            waiting=self.waiting if self._uncounted_from is None else 0,
            acked=self.acked,
            redelivered=self.redelivered,
            dead_lettered=self._buried,
            counted_to=self._context.last_sequence() + 1 if self._uncounted_from is None else self._uncounted_from,
            paused=self.paused,
            **self.settings.figures(),  # type: ignore[arg-type]  # each column by its name
        )

    def change(self, settings: DurableSettings) -> None:
        """Delivers by other settings from now on."""
        self.settings = settings
        self.keys.concurrency = settings.key_concurrency
        self._keys_with_room = self.keys.with_room()
        self.stage()

    def needs(self) -> list[int]:
        """Returns for each level a sequence below which it needs nothing but its pending batches."""
        needed = [cursor.position for cursor in self.cursors]
        needed[MEDIUM_LEVEL] = self.keys.oldest_waiting(needed[MEDIUM_LEVEL])
        return needed

    def stage(self) -> None:
        """Has its row written with the next commit."""
        if not self.is_over:  # a subscriber that leaves late changes nothing
            self._context.uncounted.pop(self.id, None)
            self._context.staging.durables[self.id] = self
            self._context.schedule()

    # What comes from publishers, by way of the journal.

    def expect(self, batch: MessageBatch, messages: int) -> None:
        """Counts a batch that is about to be stored: so many messages of it (below 0: it was not stored after all)."""
        if batch.first_sequence >= self.cursors[batch.level].position and self._counts_changes:
            self.waiting += messages
            if self.id not in self._context.staging.durables:
                self._context.uncounted[self.id] = self

    def offer(self, batch: MessageBatch, *, keep: bool) -> bool:
        """Takes a batch that was stored; returns whether that may be news. `keep`: a subscriber may take it soon."""
        return self.cursors[batch.level].offer(batch, keep=keep)

    def drop_expired(self, batch: MessageBatch) -> None:
        """Makes dead letters of what was not handed out of a batch that expired."""
        cursor = self.cursors[batch.level]
        waits = batch.key is not None and self.keys.waits(batch.key, batch.first_sequence)
        first = batch.first_sequence if waits else max(cursor.position, batch.first_sequence)
        if first < batch.end:
            cursor.drop(batch.first_sequence, batch.end)
            for part in self.uncancelled(batch.part(first - batch.first_sequence, len(batch.messages))):
                self._bury_new(part)

    def forgo(self, header: BatchHeader) -> None:
        """Gives up what was not handed out of a batch that a hard limit removes."""
        cursor = self.cursors[header.level]
        waits = header.key is not None and self.keys.waits(header.key, header.first_sequence)
        first = header.first_sequence if waits else max(cursor.position, header.first_sequence)
        lost = set(range(first, header.end))
        for cancelled, end in self._cancelled(header.level, first, header.end):
            lost.difference_update(range(cancelled, end))
        if lost:
            cursor.drop(header.first_sequence, header.end)
            self._forget_waiting(len(lost))
            self._lose(lost)
            self.stage()

    def delivers(self, batch: MessageBatch | BatchHeader) -> bool:
        """Returns whether a batch is for this subscription."""
        return matches(self.pattern, batch.channel) if batch.target is None else batch.target == self.id

    def forget_read_ahead(self) -> None:
        """Keeps nothing in memory that no subscriber takes soon."""
        for cursor in self.cursors:
            cursor.forget()

    # What goes to subscribers.

    def begin_turn(self, now: float) -> None:
        """Makes ready what is due; a turn looks at a bounded number of batches."""
        self._looked_at = 0
        self.pending_messages.load_due(now)
        if self._keys_with_room:
            keys, self._keys_with_room = self._keys_with_room, self._keys_with_room[KEYS_WITH_ROOM:]
            for key in keys[:KEYS_WITH_ROOM]:
                self._begin_passed_over(key, now)
            self._looked_at = len(keys[:KEYS_WITH_ROOM])

    @property
    def looked(self) -> bool:
        """Whether this turn looked at anything."""
        return self._looked_at > 0

    @property
    def is_turn_over(self) -> bool:
        """Whether this turn looked at as much as it may: there may be more."""
        return self._looked_at >= LOOKED_AT_ROWS or bool(self._keys_with_room)

    def next(self, most: int, now: float, *, suspect: bool) -> tuple[Pending, list[MessageBatch]] | None:
        """Returns what is handed out next, at most so many messages: the higher level first, and of a level what was
        tried before. None: there is nothing, or the turn is over.

        Args:
            suspect: whether a message may be among it whose last lease lapsed; such a one comes alone.
        """
        for level in range(PRIORITY_LEVELS - 1, -1, -1):
            found = self._next_ready(level, most, now, suspect)
            found = found or self._next_new(self.cursors[level], most, now, suspect)
            if found is not None:
                return found
        return None

    def lease(self, pending: Pending, subscriber: Subscriber, now: float) -> None:
        """Leases a pending batch to a subscriber: one attempt more."""
        pending.holder, pending.peer, pending.handed_out_at = subscriber, subscriber.peer, now
        pending.attempts += 1
        if pending.attempts > 1:
            self.redelivered += pending.left
            self._context.redelivered += pending.left
        self.pending_messages.lease(pending, now + self.settings.ack_wait)
        self.pending_messages.touch(pending)
        self._context.recent.note(
            EventKind.HANDED_OUT,
            pending.open,
            pending.peer,
            self.name,
            pending.attempts,
            due_at=now + self.settings.ack_wait,
        )
        subscriber.leased += pending.left
        if pending.is_suspect:
            subscriber.suspects += pending.left

    def _next_ready(
        self, level: int, most: int, now: float, suspect: bool
    ) -> tuple[Pending, list[MessageBatch]] | None:
        while (pending := self.pending_messages.next_ready(level, most, suspect=suspect)) is not None:
            batches = self.messages_of(pending)
            if any(_has_expired(batch, now) for batch in batches):
                self.bury(pending, Reason.EXPIRED, "its TTL was over before the next attempt")
                continue
            kept = [sequence for batch in batches for sequence in range(batch.first_sequence, batch.end)]
            if len(kept) < pending.left:
                self._lose(set(pending.open).difference(kept))
            if kept:
                pending.keep(kept)
                return pending, batches
            self._finish(pending)
        return None

    def _next_new(
        self, cursor: Cursor, most: int, now: float, suspect: bool
    ) -> tuple[Pending, list[MessageBatch]] | None:
        while self._looked_at < LOOKED_AT_ROWS:
            batch = cursor.next(most)
            if batch is None:
                if not cursor.read_on():
                    return None
                self._looked_at += PAGE_ROWS
                continue
            self._looked_at += 1
            if _has_expired(batch, now):
                self._bury_new(batch)
            elif batch.key is not None and not self.keys.begin(batch.key, batch.first_sequence):
                self._context.staging.keys[self.id, batch.key] = self.keys.start(batch.key)
            else:
                self.waiting -= len(batch.messages)
                pending = self.pending_messages.new(batch)
                if suspect or not pending.is_suspect:
                    return pending, [batch]
                self.pending_messages.retry(pending, now, 0.0)  # it was redriven, and what it did it may do again
        return None

    def _read(self, level: int, start: int) -> tuple[list[MessageBatch], int, bool]:
        batches, read_to, at_end = self._context.engine.batches(self.channels, level, start, PAGE_ROWS, PAGE_BYTES)
        found = [batch for batch in batches if batch.redriven is None or self.delivers(batch)]
        if start < self._cancelled_until:
            found = [part for batch in found for part in self.uncancelled(batch)]
            self._context.staging.passed[self.id, level] = self.needs()[level]
        return found, read_to, at_end

    def uncancelled(self, batch: MessageBatch) -> list[MessageBatch]:
        """Returns what was not cancelled of a batch that was not handed out."""
        parts, start = [], batch.first_sequence
        for first, end in (*self._cancelled(batch.level, start, batch.end), (batch.end, batch.end)):
            if start < first:
                parts.append(batch.part(start - batch.first_sequence, first - batch.first_sequence))
            start = max(start, end)
        return parts

    def _cancelled(self, level: int, first: int, end: int) -> list[tuple[int, int]]:
        """What was cancelled between two sequences of a level, in order."""
        if first >= self._cancelled_until:
            return []
        coming = [(at, to) for (of, at), to in self._cancelling.items() if of == level and at < end and to > first]
        return sorted({*self._context.engine.cancelled(self.id, level, first, end), *coming})

    def messages_of(self, pending: Pending) -> list[MessageBatch]:
        """Returns the messages of a pending batch that are not settled, as batches without gaps."""
        open = set(pending.open)
        found: list[MessageBatch] = []
        for batch in self._context.engine.messages(pending.sequence, pending.count):
            start = None
            for offset in range(len(batch.messages) + 1):
                is_open = offset < len(batch.messages) and batch.first_sequence + offset in open
                if is_open and start is None:
                    start = offset
                elif not is_open and start is not None:
                    found.append(batch.part(start, offset))
                    start = None
        return found

    # What comes back from subscribers: of messages that `check` does not name.

    def check(self, sequences: Sequence[int], attempt: int) -> list[StaleAck]:
        """Returns which of these messages cannot be settled by the subscriber that got them with that attempt. Costs by
        their number, whatever else was published, leased or failed with them."""
        of = self.pending_messages.leases.of
        refused, not_leased = [], []
        for sequence in sequences:
            pending = of(sequence)
            if pending is None:
                not_leased.append(sequence)
            elif pending.attempts != attempt or self.is_over:
                refused.append(StaleAck(sequence, why_leased(pending, attempt), pending.attempts))
        return refused + self._not_leased(not_leased, attempt) if not_leased else refused

    def ack(self, sequences: list[int]) -> None:
        """Notes that messages are done."""
        for pending in self.pending_messages.settle(sequences):
            self._go_on(pending)
        if self._tasks:
            self._tasks.acked(self.id, sequences)
        self._context.recent.note(EventKind.ACKED, sequences, durable=self.name)
        self.acked += len(sequences)
        self._context.acked += len(sequences)
        self.stage()

    def nak(self, sequences: list[int], delay: float | None, error: str) -> None:
        """Notes that messages failed: they are tried again after `delay` seconds, or as the backoff says."""
        now = self._context.clock()
        for pending in self.pending_messages.take_back(sequences):
            pending.end_attempt(now, error)
            wait = self.settings.backoff.delay(pending.attempt) if delay is None else delay
            self._note(EventKind.NAKKED, pending, error, now + wait)
            self._try_again(pending, now, wait, error)
        self.stage()

    def terminate(self, sequences: list[int], reason: str) -> None:
        """Makes dead letters of messages that can never be done."""
        now = self._context.clock()
        for pending in self.pending_messages.take_back(sequences):
            pending.end_attempt(now, reason)
            self._note(EventKind.NAKKED, pending, reason)
            self.bury(pending, Reason.TERMINATED, reason)
        self.stage()

    def release(self, sequences: list[int]) -> None:
        """Takes back messages that were not even started: no attempt is counted."""
        now = self._context.clock()
        for pending in self.pending_messages.take_back(sequences):
            self._note(EventKind.RELEASED, pending)
            pending.attempts -= 1
            if self._keep_all_but(pending, self._tasks.cancelling(self.id, pending.open)):
                self.pending_messages.retry(pending, now, 0.0)
        self.stage()

    def expire(self, batch: MessageBatch) -> None:
        """Makes dead letters of a batch that was handed out and whose TTL was over before it was sent."""
        for pending in self.pending_messages.take_back(range(batch.first_sequence, batch.end)):
            self.bury(pending, Reason.EXPIRED, "its TTL was over before it was sent")
        self.stage()

    def lapse(self, sequences: list[int], now: float) -> None:
        """Ends leases that are over: each is an attempt that failed."""
        for pending in self.pending_messages.take_back(sequences):
            pending.end_attempt(now, LEASE_EXPIRED)
            self._note(EventKind.LEASE_ENDED, pending, LEASE_EXPIRED, now)
            self._try_again(pending, now, 0.0, LEASE_EXPIRED)
        self.stage()

    def cancel(self, new: Iterable[MessageBatch], retrying: Iterable[int]) -> None:
        """Forgets messages that wait. To be called while no commit runs.

        Args:
            new: those that were not handed out yet, in order.
            retrying: the sequences of those that wait for another attempt.
        """
        staged: dict[tuple[int, int], int] = {}
        last = (-1, -1)
        for batch in new:
            self._note_cancelled(range(batch.first_sequence, batch.end))
            self._forget_waiting(len(batch.messages))
            if last in staged and last[0] == batch.level and staged[last] == batch.first_sequence:
                staged[last] = batch.end
            else:
                last = (batch.level, batch.first_sequence)
                staged[last] = batch.end
            self._cancelled_until = max(self._cancelled_until, batch.end)
        for (level, first), end in staged.items():
            self._context.staging.cancelled[self.id, level, first] = end - first
            self.cursors[level].forget()
        self._cancelling.update(staged)

        def cancelled() -> None:
            for key in staged:
                self._cancelling.pop(key, None)

        self._context.staging.after.append(cancelled)
        for pending in self.pending_messages.remove(retrying, self._context.clock()):
            self._note_cancelled(pending.open)
            self._go_on(pending)
        self.stage()

    def move(self, position: int) -> None:
        """Moves every level; what is leased or waits for another attempt is given up."""
        self.pending_messages.clear()
        self.keys.clear()
        self._keys_with_room = []
        self._cancelled_until = 0
        self._cancelling.clear()
        for cursor in self.cursors:
            cursor.move(position)
        self._tasks.moved(self.id, position, self.name)
        self.stage()

    def _note(self, kind: EventKind, pending: Pending, error: str = "", due_at: float | None = None) -> None:
        """Remembers what became of an attempt."""
        recent = self._context.recent
        recent.note(kind, pending.open, pending.peer, self.name, pending.attempts, error, due_at)

    def _note_cancelled(self, sequences: Sequence[int]) -> None:
        self._context.recent.note(EventKind.CANCELLED, sequences, durable=self.name)

    def _forget_waiting(self, messages: int) -> None:
        if self._counts_changes:
            self.waiting -= messages

    # How much waits from a new place on is counted beside everything else; see `Counting`.

    def expect_count(self, position: int) -> None:
        """Takes note that it stands at a sequence from which on it is not known yet how much waits."""
        self.waiting = 0
        self._uncounted_from = position
        self._counts_changes = False
        self.count_number += 1

    @property
    def is_counted(self) -> bool:
        """Whether it is known how much waits."""
        return self._uncounted_from is None

    def begin_count(self) -> int | None:
        """What comes and goes from now on is counted here; returns the sequence from which on all else is to be. None:
        there is nothing to count."""
        if self.is_over or self._counts_changes:
            return None
        self._counts_changes = True
        return self._uncounted_from

    def counted(self, number: int, messages: int) -> bool:
        """Takes what was counted; False where it was moved since."""
        if number != self.count_number:
            return False
        self.waiting += messages
        self._uncounted_from = None
        self.stage()
        return True

    def bury(self, pending: Pending, reason: Reason, error: str) -> None:
        """Makes dead letters of a pending batch's messages."""
        for batch in self.messages_of(pending):
            self._bury(batch, reason, error, pending)
        self._finish(pending)

    def _bury_new(self, batch: MessageBatch) -> None:
        self._forget_waiting(len(batch.messages))
        self._bury(batch, Reason.EXPIRED, "its TTL was over before it was handed out", self.pending_messages.new(batch))
        self.stage()

    def _bury(self, batch: MessageBatch, reason: Reason, error: str, pending: Pending) -> None:
        messages = len(batch.messages)
        self._buried += messages
        if self._tasks:
            self._tasks.dead(self.id, range(batch.first_sequence, batch.end), reason, error)
        self._context.recent.note(
            EventKind.DEAD,
            range(batch.first_sequence, batch.end),
            durable=self.name,
            attempt=pending.attempts,
            error=f"{reason.name.lower()}: {error}",
        )
        bury(self._context, self.name, self.pattern, batch, reason, error, pending.log, pending.redrives)

        def found() -> None:
            self.dead_lettered += messages
            self._context.dead_lettered += messages

        self._context.staging.after.append(found)

    def _try_again(self, pending: Pending, now: float, wait: float, error: str) -> None:
        if self._tasks and not self._keep_all_but(pending, self._tasks.cancelling(self.id, pending.open)):
            return
        if pending.attempt >= self.settings.max_deliveries:
            self.bury(pending, Reason.MAX_DELIVERIES, error)
            return
        if self._tasks:
            self._tasks.postponed(self.id, pending.open, pending.attempts, error, now + wait)
        self.pending_messages.retry(pending, now, wait)

    def _keep_all_but(self, pending: Pending, gone: Collection[int]) -> bool:
        """Takes messages out of a pending batch that nobody holds; returns whether any are left."""
        if not gone:
            return True
        kept = [sequence for sequence in pending.open if sequence not in gone]
        if not kept:
            self._finish(pending)
            return False
        pending.keep(kept)
        self.pending_messages.touch(pending)
        self.stage()
        return True

    def _finish(self, pending: Pending) -> None:
        self.pending_messages.finish(pending)
        self._go_on(pending)

    def _go_on(self, done: Pending) -> None:
        """The message of an ordering key is done: the next that was passed over, if any, is ready."""
        if done.key is not None and self.keys.end(done.key, done.sequence):
            self._begin_passed_over(done.key, self._context.clock())

    def _begin_passed_over(self, key: str, now: float) -> None:
        """Makes as many of a key ready as may be handed out, of those that were passed over."""
        keys = self.keys
        start = keys.start(key)
        if not start:
            return
        if keys.has_room(key):
            for batch in self._context.engine.next_of_key(key, start - 1, self.cursors[MEDIUM_LEVEL].position):
                if not self.delivers(batch) or not self.uncancelled(batch):
                    continue
                if _has_expired(batch, now):
                    self._bury_new(batch)
                    continue
                self.waiting -= 1
                keys.go_on(key, batch.first_sequence)
                self.pending_messages.retry(self.pending_messages.new(batch), now, 0.0)
                if not keys.has_room(key):
                    return
            keys.none_waits(key)
        self._context.staging.keys[self.id, key] = keys.start(key)

    def _lose(self, sequences: Collection[int]) -> None:
        """A hard limit removed messages that were still needed."""
        self._context.lost_to_limits += len(sequences)
        log.error("%d messages that %r still needed were removed by a hard limit", len(sequences), self.name)
        self._tasks.given_up(self.id, sequences, "LOST_TO_LIMITS", "a hard limit of the journal removed its message")

    def _not_leased(self, sequences: Sequence[int], attempt: int) -> list[StaleAck]:
        waiting = self.pending_messages.waiting(sequences)
        headers = self._context.engine.headers([each for each in sequences if each not in waiting])
        return [
            StaleAck(
                sequence,
                why_retrying(waiting[sequence], attempt)
                if sequence in waiting
                else self._why_not_pending(sequence, headers.get(sequence)),
            )
            for sequence in sequences
        ]

    def _why_not_pending(self, sequence: int, header: BatchHeader | None) -> str:
        if header is None and sequence >= max(cursor.position for cursor in self.cursors):
            return "never handed out"
        if header is None or not self.delivers(header):
            return "not deliverable"
        passed_over = header.key is not None and self.keys.waits(header.key, sequence)
        return "settled" if sequence < self.cursors[header.level].position and not passed_over else "never handed out"


def _has_expired(batch: MessageBatch, now: float) -> bool:
    return batch.expires_at is not None and batch.expires_at < now
