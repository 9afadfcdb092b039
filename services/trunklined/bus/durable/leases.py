"""Leases: who holds which message of a durable subscription, and until when."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import count

from trunklined.bus.durable.pending import Pending
from trunklined.bus.queue import Subscriber


class Leases:
    """Pending batches that are handed out, and their messages that are not settled, by sequence.

    All get the same time at first, so they end in the order in which they began, and a queue is enough. Where leases
    became shorter, those that end before older ones are looked at by their own time. What is extended has a deadline of
    its own by message.
    """

    __slots__ = ("_by_sequence", "_delayed", "_extended", "_first", "_later_at", "_newest", "_tie")

    def __init__(self) -> None:
        self._by_sequence: dict[int, Pending] = {}
        self._first: dict[Pending, None] = {}
        """In order of their first deadlines."""
        self._newest = 0.0
        """The last of these deadlines."""
        self._delayed: list[tuple[float, int, Pending]] = []
        """A heap of the others, by when they are looked at; void where `_later_at` says another time."""
        self._later_at: dict[Pending, float] = {}
        self._tie = count()
        self._extended: dict[int, float] = {}
        """Deadlines of what was extended, by sequence."""

    def __len__(self) -> int:
        return len(self._by_sequence)

    def of(self, sequence: int) -> Pending | None:
        """The pending batch in which a message is leased."""
        return self._by_sequence.get(sequence)

    def pending(self) -> list[Pending]:
        """The pending batches that are leased."""
        return list(dict.fromkeys(self._by_sequence.values()))

    def deadline_of(self, pending: Pending) -> float:
        """When the first lease of what is not settled of a pending batch ends."""
        left = (each for each in pending.open if self._by_sequence.get(each) is pending)
        return min((self._extended.get(each, pending.deadline) for each in left), default=pending.deadline)

    def held_by(self, subscriber: Subscriber) -> list[int]:
        """The messages that a subscriber holds."""
        return [sequence for sequence, pending in self._by_sequence.items() if pending.holder is subscriber]

    def add(self, pending: Pending, deadline: float) -> None:
        """Leases what is open of a pending batch."""
        pending.deadline = deadline
        if self._first and deadline < self._newest:
            self._look_at(pending, deadline)
        else:
            self._first[pending] = None
            self._newest = deadline
        self._by_sequence.update(dict.fromkeys(pending.open, pending))

    def end(self, sequences: Iterable[int]) -> dict[Pending, list[int]]:
        """Ends the leases of messages that are leased; returns them by pending batch."""
        pop, ended = self._by_sequence.pop, dict[Pending, list[int]]()
        for sequence in sequences:
            pending = pop(sequence)
            if pending in ended:
                ended[pending].append(sequence)
            else:
                ended[pending] = [sequence]
        for pending, gone in ended.items():
            pending.left -= len(gone)
            if not pending.left:
                self._first.pop(pending, None)
                self._later_at.pop(pending, None)
            if pending.holder is not None:
                pending.holder.leased -= len(gone)
                if pending.is_suspect:
                    pending.holder.suspects -= len(gone)
            if self._extended:
                for sequence in gone:
                    self._extended.pop(sequence, None)
        return ended

    def extend(self, sequences: Iterable[int], deadline: float) -> None:
        """Lets leases end at another time."""
        pending_messages = set()
        for sequence in sequences:
            self._extended[sequence] = deadline
            pending_messages.add(self._by_sequence[sequence])
        for pending in pending_messages:
            if pending not in self._first or deadline < pending.deadline:
                self._look_at(pending, deadline)

    def late(self, now: float) -> Iterator[list[int]]:
        """Of each pending batch of which leases are over, the messages that it is over for."""
        while self._first and (pending := next(iter(self._first))).deadline <= now:
            del self._first[pending]
            yield self._late_of(pending, now)
        while self._delayed and self._delayed[0][0] <= now:
            time, _, pending = heapq.heappop(self._delayed)
            if self._later_at.get(pending) == time:
                del self._later_at[pending]
                yield self._late_of(pending, now)

    def _look_at(self, pending: Pending, time: float) -> None:
        if time < self._later_at.get(pending, float("inf")):
            self._later_at[pending] = time
            heapq.heappush(self._delayed, (time, next(self._tie), pending))

    def _late_of(self, pending: Pending, now: float) -> list[int]:
        late, goes_on = [], float("inf")
        for sequence in pending.open:
            if self._by_sequence.get(sequence) is pending:
                deadline = self._extended.get(sequence, pending.deadline)
                if deadline <= now:
                    late.append(sequence)
                else:
                    goes_on = min(goes_on, deadline)
        if goes_on < float("inf"):
            self._look_at(pending, goes_on)
        return late

    def next_deadline(self) -> float | None:
        """When it is time to ask for what is late; None while nothing is leased."""
        times = [pending.deadline for pending in (next(iter(self._first), None),) if pending is not None]
        if self._delayed:
            times.append(self._delayed[0][0])
        return min(times, default=None)

    def unsettled(self, pending: Pending) -> set[int]:
        """The messages of a pending batch that are leased."""
        return {sequence for sequence in pending.open if self._by_sequence.get(sequence) is pending}

    def clear(self) -> None:
        """Gives all leases up."""
        self._by_sequence.clear()
        self._first.clear()
        self._delayed.clear()
        self._later_at.clear()
        self._extended.clear()
