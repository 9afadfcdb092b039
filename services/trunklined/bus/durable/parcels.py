"""Parcels: all that one durable subscription has looked at and not done with."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from trunkline.priority import LANES
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.leases import Leases
from trunklined.bus.durable.parcel import Parcel
from trunklined.bus.records import ParcelRow
from trunklined.bus.run import Run

DUE_PARCELS: Final = 256
"""Parcels that are loaded at once when their time has come."""


class Parcels:
    """Each parcel is leased, or ready to be handed out again, or waits on disk until it is.

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
        """When the earliest parcel that waits on disk is due; None: none waits."""
        self._context = context
        self._changed = changed
        self._in_memory: dict[int, Parcel] = {}
        self._ready: tuple[list[tuple[int, int, Parcel]], ...] = tuple([] for _ in range(LANES))
        """Of each lane, a heap: what was published first goes first."""

    def load(self, now: float, ack_wait: float) -> None:
        """Takes up what was open when the program ended. What was leased is leased anew: its holder may come back."""
        for row in self._context.engine.leased(self.durable):
            parcel = Parcel.of_row(row)
            parcel.peer, parcel.handed_out_at = "before a restart", now
            self.lease(parcel, now + ack_wait)
        self.retrying = self._context.engine.retrying(self.durable)
        self.due_at = self._context.engine.next_due(self.durable)

    def row(self, parcel: Parcel) -> ParcelRow:
        """A parcel as it is kept."""
        return parcel.row(self.durable, set(parcel.open) if parcel.due is not None else self.leases.unsettled(parcel))

    def new(self, run: Run) -> Parcel:
        """A parcel of a run that was looked at."""
        return Parcel.of_run(self._context.next_parcel(), run)

    def lease(self, parcel: Parcel, deadline: float) -> None:
        """Somebody holds it from now on."""
        parcel.due = None
        self._in_memory[parcel.id] = parcel
        self.leases.add(parcel, deadline)

    def is_here(self, parcel: Parcel) -> bool:
        """Whether it is still open, and in memory."""
        return self._in_memory.get(parcel.id) is parcel

    def touch(self, parcel: Parcel) -> None:
        """It changed."""
        self._context.staging.parcels[self.durable, parcel.id] = partial(self.row, parcel)

    def settle(self, sequences: Iterable[int]) -> list[Parcel]:
        """Messages that are leased are done; returns the parcels that are done thereby."""
        done = []
        for parcel in self.leases.end(sequences):
            if parcel.left:
                self.touch(parcel)
            else:
                self.finish(parcel)
                done.append(parcel)
        return done

    def take_back(self, sequences: Iterable[int]) -> list[Parcel]:
        """Ends leases; returns the messages as parcels: whole ones as they are, parts as new ones."""
        taken = []
        for parcel, open in self.leases.end(sequences).items():
            open.sort()
            if parcel.left:
                self.touch(parcel)
                taken.append(parcel.part(self._context.next_parcel(), open))
            else:
                parcel.keep(open)
                parcel.holder = None
                taken.append(parcel)
        return taken

    def finish(self, parcel: Parcel) -> None:
        """It is done."""
        self._in_memory.pop(parcel.id, None)
        self._context.staging.settle(self.durable, parcel.id)

    def retry(self, parcel: Parcel, now: float, wait: float) -> None:
        """It waits for its next attempt: here if that is now, else on disk."""
        parcel.due = now + wait
        self.retrying += parcel.left
        self._in_memory[parcel.id] = parcel
        self.touch(parcel)
        if not wait:
            self._make_ready(parcel)
            return

        def wait_on_disk() -> None:
            if self.is_here(parcel) and parcel.due is not None:
                del self._in_memory[parcel.id]
                self.due_at = parcel.due if self.due_at is None else min(self.due_at, parcel.due)
                self._changed()

        self._context.staging.after.append(wait_on_disk)

    def _make_ready(self, parcel: Parcel) -> None:
        heapq.heappush(self._ready[parcel.lane], (parcel.open[0], parcel.id, parcel))

    def next_ready(self, lane: int, most: int) -> Parcel | None:
        """Takes the next one of a lane that may be handed out again: whole, or so many messages of it."""
        ready = self._ready[lane]
        if not ready:
            return None
        parcel = ready[0][2]
        if len(parcel.open) > most:
            taken = parcel.part(self._context.next_parcel(), parcel.open[:most])
            parcel.keep(parcel.open[most:])
            self.touch(parcel)
            parcel = taken
        else:
            heapq.heappop(ready)
        self.retrying -= parcel.left
        return parcel

    def load_due(self, now: float) -> None:
        """Makes ready what waits on disk and is due."""
        if self.due_at is None or self.due_at > now or any(self._ready):
            return
        # Some that look due on disk are not: what became of them is staged.
        for row in self._context.engine.due(self.durable, now, DUE_PARCELS + len(self._context.staging.parcels)):
            if row.id not in self._in_memory and row.id not in self._context.staging.settled:
                parcel = Parcel.of_row(row)
                self._in_memory[parcel.id] = parcel
                self._make_ready(parcel)

        def look_again() -> None:
            if not any(self._ready):
                self.due_at = self._context.engine.next_due(self.durable)
                self._changed()

        self._context.staging.after.append(look_again)

    def waits(self, sequence: int) -> Parcel | None:
        """The parcel in which a message waits for another attempt."""
        for parcel in self._in_memory.values():
            if parcel.due is not None and sequence in parcel.open:
                return parcel
        for row in self._context.engine.parcels_at(self.durable, sequence):
            if row.due is not None and (row.open is None or row.open[sequence - row.sequence]):
                return Parcel.of_row(row)
        return None

    def clear(self) -> None:
        """Gives everything up; what is on disk is void."""
        self.leases.clear()
        self._in_memory.clear()
        for ready in self._ready:
            ready.clear()
        self.retrying, self.due_at = 0, None
        self._context.staging.forget(self.durable)
        self._context.staging.wiped[self.durable] = None
