"""Leases: who holds which message of a durable subscription, and until when."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import count

from trunklined.bus.durable.parcel import Parcel
from trunklined.bus.queue import Subscriber


class Leases:
    """Parcels that are handed out, and their messages that are not settled, by sequence.

    All get the same time at first, so they end in the order in which they began, and a queue is enough. What is
    extended has a deadline of its own by message.
    """

    __slots__ = ("_by_sequence", "_extended", "_first", "_later", "_later_at", "_tie")

    def __init__(self) -> None:
        self._by_sequence: dict[int, Parcel] = {}
        self._first: dict[Parcel, None] = {}
        """In order of their first deadlines."""
        self._later: list[tuple[float, int, Parcel]] = []
        """A heap of those that were extended, by when they are looked at; void where `_later_at` says another time."""
        self._later_at: dict[Parcel, float] = {}
        self._tie = count()
        self._extended: dict[int, float] = {}
        """Deadlines of what was extended, by sequence."""

    def __len__(self) -> int:
        return len(self._by_sequence)

    def of(self, sequence: int) -> Parcel | None:
        """The parcel in which a message is leased."""
        return self._by_sequence.get(sequence)

    def held_by(self, subscriber: Subscriber) -> list[int]:
        """The messages that a subscriber holds."""
        return [sequence for sequence, parcel in self._by_sequence.items() if parcel.holder is subscriber]

    def add(self, parcel: Parcel, deadline: float) -> None:
        """Leases what is open of a parcel."""
        parcel.deadline = deadline
        self._first[parcel] = None
        self._by_sequence.update(dict.fromkeys(parcel.open, parcel))

    def end(self, sequences: Iterable[int]) -> dict[Parcel, list[int]]:
        """Ends the leases of messages that are leased; returns them by parcel."""
        pop, ended = self._by_sequence.pop, dict[Parcel, list[int]]()
        for sequence in sequences:
            parcel = pop(sequence)
            if parcel in ended:
                ended[parcel].append(sequence)
            else:
                ended[parcel] = [sequence]
        for parcel, gone in ended.items():
            parcel.left -= len(gone)
            if not parcel.left:
                self._first.pop(parcel, None)
                self._later_at.pop(parcel, None)
            if parcel.holder is not None:
                parcel.holder.leased -= len(gone)
            if self._extended:
                for sequence in gone:
                    self._extended.pop(sequence, None)
        return ended

    def extend(self, sequences: Iterable[int], deadline: float) -> None:
        """Lets leases end at another time."""
        parcels = set()
        for sequence in sequences:
            self._extended[sequence] = deadline
            parcels.add(self._by_sequence[sequence])
        for parcel in parcels:
            if parcel not in self._first or deadline < parcel.deadline:
                self._look_at(parcel, deadline)

    def late(self, now: float) -> Iterator[list[int]]:
        """Of each parcel of which leases are over, the messages that it is over for."""
        while self._first and (parcel := next(iter(self._first))).deadline <= now:
            del self._first[parcel]
            yield self._late_of(parcel, now)
        while self._later and self._later[0][0] <= now:
            time, _, parcel = heapq.heappop(self._later)
            if self._later_at.get(parcel) == time:
                del self._later_at[parcel]
                yield self._late_of(parcel, now)

    def _look_at(self, parcel: Parcel, time: float) -> None:
        if time < self._later_at.get(parcel, float("inf")):
            self._later_at[parcel] = time
            heapq.heappush(self._later, (time, next(self._tie), parcel))

    def _late_of(self, parcel: Parcel, now: float) -> list[int]:
        late, goes_on = [], float("inf")
        for sequence in parcel.open:
            if self._by_sequence.get(sequence) is parcel:
                deadline = self._extended.get(sequence, parcel.deadline)
                if deadline <= now:
                    late.append(sequence)
                else:
                    goes_on = min(goes_on, deadline)
        if goes_on < float("inf"):
            self._look_at(parcel, goes_on)
        return late

    def next_deadline(self) -> float | None:
        """When it is time to ask for what is late; None while nothing is leased."""
        times = [parcel.deadline for parcel in (next(iter(self._first), None),) if parcel is not None]
        if self._later:
            times.append(self._later[0][0])
        return min(times, default=None)

    def unsettled(self, parcel: Parcel) -> set[int]:
        """The messages of a parcel that are leased."""
        return {sequence for sequence in parcel.open if self._by_sequence.get(sequence) is parcel}

    def clear(self) -> None:
        """Gives all leases up."""
        self._by_sequence.clear()
        self._first.clear()
        self._later.clear()
        self._later_at.clear()
        self._extended.clear()
