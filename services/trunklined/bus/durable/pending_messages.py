"""Pending batches: all that one durable subscription has looked at and not done with."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import Final

from trunkline.priority import PRIORITY_LEVELS
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.leases import Leases
from trunklined.bus.durable.pending import Pending
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.records import PendingRow

DUE_PENDING: Final = 256
"""Pending batches that are loaded at once when their time has come."""

Ready = list[tuple[int, int, Pending]]
"""A heap of pending batches by their first sequence."""


class PendingMessages:
    """Each pending batch is leased, or ready to be handed out again, or waits on disk until it is.

    Whatever changes here is staged, and so durable with the next commit.

    Args:
        durable: the subscription's number.
        context: what it works with.
        changed: told that there is a new time at which something happens.
    """

    def __init__(self, durable: int, context: JournalContext, changed: Callable[[], None]) -> None:
        self.durable = durable
        self.leases = Leases()
        self.retrying = 0
        """Messages that wait for another attempt."""
        self.due_at: float | None = None
        """When the earliest pending batch that waits on disk is due; None: none waits."""
        self._context = context
        self._changed = changed
        self._in_memory: dict[int, Pending] = {}
        self._waiting: dict[int, Pending] = {}
        """Of those in memory that wait for another attempt, by sequence."""
        self._ready: tuple[Ready, ...] = tuple([] for _ in range(PRIORITY_LEVELS))
        """Of each level, a heap: what was published first goes first."""
        self._suspects: tuple[Ready, ...] = tuple([] for _ in range(PRIORITY_LEVELS))
        """The same of those whose last lease lapsed; a subscriber holds one message of them at a time."""

    def load(self, now: float, ack_wait: float) -> None:
        """Takes up what was open when the program ended. What was leased is leased anew: its holder may come back."""
        for row in self._context.engine.leased(self.durable):
            pending = Pending.of_row(row)
            if not pending.peer:  # its file is of a version that did not note it
                pending.peer, pending.handed_out_at = "before a restart", now
            self.lease(pending, now + ack_wait)
        self.retrying = self._context.engine.retrying(self.durable)
        self.due_at = self._context.engine.next_due(self.durable, ())

    def row(self, pending: Pending) -> PendingRow:
        """A pending batch as it is kept."""
        return pending.row(
            self.durable, set(pending.open) if pending.due is not None else self.leases.unsettled(pending)
        )

    def new(self, batch: MessageBatch) -> Pending:
        """A pending batch of a batch that was looked at."""
        return Pending.of_run(self._context.next_pending_id(), batch)

    def lease(self, pending: Pending, deadline: float) -> None:
        """Somebody holds it from now on."""
        pending.due = None
        self._in_memory[pending.id] = pending
        self.leases.add(pending, deadline)

    def is_here(self, pending: Pending) -> bool:
        """Whether it is still open, and in memory."""
        return self._in_memory.get(pending.id) is pending

    def touch(self, pending: Pending) -> None:
        """It changed."""
        self._context.staging.pending_messages[self.durable, pending.id] = partial(self.row, pending)

    def settle(self, sequences: Iterable[int]) -> list[Pending]:
        """Messages that are leased are done; returns the pending batches that are done thereby."""
        done = []
        for pending in self.leases.end(sequences):
            if pending.left:
                self.touch(pending)
            else:
                self.finish(pending)
                done.append(pending)
        return done

    def take_back(self, sequences: Iterable[int]) -> list[Pending]:
        """Ends leases; returns the messages as pending batches: whole ones as they are, parts as new ones."""
        taken = []
        for pending, open in self.leases.end(sequences).items():
            open.sort()
            if pending.left:
                self.touch(pending)
                taken.append(pending.part(self._context.next_pending_id(), open))
            else:
                pending.keep(open)
                pending.holder = None
                taken.append(pending)
        return taken

    def finish(self, pending: Pending) -> None:
        """It is done."""
        self._in_memory.pop(pending.id, None)
        self._context.staging.settle(self.durable, pending.id)

    def retry(self, pending: Pending, now: float, wait: float) -> None:
        """Lets messages wait for their next attempt: here if that is now, else on disk.

        They wait in pending batches without gaps: no two of a subscription overlap, and the one that has a message is
        found by its first sequence.
        """
        due = now + wait
        self.retrying += pending.left
        waiting = self._without_gaps(pending)
        for each in waiting:
            each.due = due
            self._in_memory[each.id] = each
            self._waiting.update(dict.fromkeys(each.open, each))
            self.touch(each)
            if not wait:
                self._make_ready(each)
        if not wait:
            return

        def wait_on_disk() -> None:
            moved = [each for each in waiting if self.is_here(each) and each.due == due]
            for each in moved:
                del self._in_memory[each.id]
                self._forget_waiting(each)
            if moved:
                self.due_at = due if self.due_at is None else min(self.due_at, due)
                self._changed()

        self._context.staging.after.append(wait_on_disk)

    def _without_gaps(self, pending: Pending) -> list[Pending]:
        """Splits a pending batch into batches whose sequences follow each other; the first is itself."""
        open = pending.open
        if pending.left == pending.count:
            return [pending]
        starts = [0, *(index for index in range(1, len(open)) if open[index] != open[index - 1] + 1), len(open)]
        first, *others = (range(open[start], open[end - 1] + 1) for start, end in pairwise(starts))
        pending.keep(first)
        return [pending, *(pending.part(self._context.next_pending_id(), each) for each in others)]

    def _forget_waiting(self, pending: Pending) -> None:
        for sequence in pending.open:
            self._waiting.pop(sequence, None)

    def _make_ready(self, pending: Pending) -> None:
        ready = self._suspects if pending.is_suspect else self._ready
        heapq.heappush(ready[pending.level], (pending.open[0], pending.id, pending))

    def next_ready(self, level: int, most: int, *, suspect: bool) -> Pending | None:
        """Takes the next one of a level that may be handed out again: whole, or so many messages of it.

        Args:
            suspect: whether it may be one whose last lease lapsed, which comes alone.
        """
        ready = self._ready[level]
        suspects = self._suspects[level]
        if suspect and suspects and (not ready or suspects[0] < ready[0]):
            ready, most = suspects, 1
        if not ready:
            return None
        pending = ready[0][2]
        if len(pending.open) > most:
            taken = pending.part(self._context.next_pending_id(), pending.open[:most])
            pending.keep(pending.open[most:])
            heapq.heapreplace(ready, (pending.sequence, pending.id, pending))
            self.touch(pending)
            pending = taken
        else:
            heapq.heappop(ready)
        self.retrying -= pending.left
        self._forget_waiting(pending)
        return pending

    def load_due(self, now: float) -> None:
        """Makes ready what waits on disk and is due."""
        if self.due_at is None or self.due_at > now or any(self._ready):
            return
        # Some that look due on disk are not: what became of them is staged.
        known = self._in_memory.keys() | self._context.staging.settled.keys()
        for row in self._context.engine.due(self.durable, now, DUE_PENDING, known):
            pending = Pending.of_row(row)
            self._in_memory[pending.id] = pending
            self._waiting.update(dict.fromkeys(pending.open, pending))
            self._make_ready(pending)

        def look_again() -> None:
            if not any(self._ready):
                self.due_at = self._context.engine.next_due(self.durable, self._in_memory)
                self._changed()

        self._context.staging.after.append(look_again)

    def waiting(self, sequences: Iterable[int]) -> dict[int, Pending]:
        """Returns the pending batches of those of some messages that wait for another attempt."""
        here = self._waiting
        found = {sequence: here[sequence] for sequence in sequences if sequence in here}
        if self.retrying > len(here):
            elsewhere = [sequence for sequence in sequences if sequence not in here]
            pending_messages: dict[int, Pending] = {}
            for sequence, row in self._context.engine.waiting(self.durable, elsewhere):
                if row.id not in self._in_memory and row.id not in self._context.staging.settled:
                    pending = pending_messages.setdefault(row.id, Pending.of_row(row))
                    if sequence in pending.open:
                        found[sequence] = pending
        return found

    def waiting_between(self, rows: Iterable[PendingRow], first: int, end: int | None) -> list[Pending]:
        """Returns the pending batches that wait for another attempt and have sequences from one on and before another
        (None: all that follow): of those that were read from the disk, and of those that are here."""
        known = self._context.staging.settled
        found = [Pending.of_row(row) for row in rows if row.id not in self._in_memory and row.id not in known]
        here = {
            pending.id: pending
            for sequence, pending in self._waiting.items()
            if sequence >= first and (end is None or sequence < end)
        }
        return [*found, *here.values()]

    def remove(self, sequences: Iterable[int], now: float) -> list[Pending]:
        """Gives up messages that wait for another attempt; returns them as pending batches."""
        by_pending: dict[int, tuple[Pending, set[int]]] = {}
        for sequence, pending in self.waiting(list(sequences)).items():
            by_pending.setdefault(pending.id, (pending, set()))[1].add(sequence)
        removed = []
        for pending, gone in by_pending.values():
            self.retrying -= pending.left
            self._in_memory.pop(pending.id, None)
            self._forget_waiting(pending)
            self._context.staging.settle(self.durable, pending.id)
            kept = [each for each in pending.open if each not in gone]
            removed.append(pending.part(self._context.next_pending_id(), sorted(gone)))
            if kept:
                part = pending.part(self._context.next_pending_id(), kept)
                self.retry(part, now, max(0.0, (pending.due or 0.0) - now))
        for ready in (*self._ready, *self._suspects):
            if any(not self.is_here(each) for _, _, each in ready):
                ready[:] = [entry for entry in ready if self.is_here(entry[2])]
                heapq.heapify(ready)
        return removed

    def clear(self) -> None:
        """Gives everything up; what is on disk is void."""
        self.leases.clear()
        self._in_memory.clear()
        self._waiting.clear()
        for ready in (*self._ready, *self._suspects):
            ready.clear()
        self.retrying, self.due_at = 0, None
        self._context.staging.forget(self.durable)
        self._context.staging.wiped[self.durable] = None
