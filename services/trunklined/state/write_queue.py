"""WriteQueue: what waits for a commit, in an order in which no client waits for all that another has sent."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from heapq import heappop, heappush
from typing import Final, NamedTuple

from trunklined.relay.journal import Arrival
from trunklined.state.planning import TransactionOutcome
from trunklined.state.records import RecordKey, Transaction

COMMIT_OPERATIONS: Final = 256
COMMIT_BYTES: Final = 8 * 1024 * 1024
"""Upper bounds of one commit, of its operations with their messages, and of their bytes. It has at least one
transaction, and keeps the loop busy for at most 3 ms, more than the wait for the disk costs."""

Done = Callable[[TransactionOutcome], None]


class Waiting(NamedTuple):
    """One transaction that waits.

    Args:
        start: its place in the order; of equal ones the lower number goes first.
        end: the place behind it.
    """

    start: int
    number: int
    end: int
    source: Hashable
    transaction: Transaction
    size: int
    messages: Sequence[Arrival]
    done: Done

    @property
    def rows(self) -> int:
        """What it adds to a commit: its operations, and the messages that they carry."""
        return len(self.transaction) + len(self.messages)


class WriteQueue:
    """Orders transactions by start-time fair queueing: each source has its turn, and a turn counts by operations. What
    one source submits keeps its order, and so does what is done to one record, whoever does it.

    A place is a number of operations. A transaction's is behind those of its source and those of its records, and not
    before the place that the queue has reached: so a source that was idle comes next, and what a busy one submits lies
    further and further behind.
    """

    def __init__(self) -> None:
        self.operations = 0
        """Operations that wait."""
        self.bytes = 0
        """Bytes of bodies that wait."""
        self._heap: list[Waiting] = []
        self._number = 0
        self._reached = 0
        self._behind: dict[Hashable, int] = {}
        """The place behind all that waits of a source."""
        self._unsettled: dict[RecordKey, int] = {}
        """The place behind the last operation on a record that is under way."""

    def __len__(self) -> int:
        """Transactions that wait."""
        return len(self._heap)

    def put(
        self, source: Hashable, transaction: Transaction, size: int, messages: Sequence[Arrival], done: Done
    ) -> None:
        """Adds a transaction; `size`: bytes of its bodies and messages."""
        start = max(self._behind.get(source, 0), self._reached)
        unsettled = self._unsettled
        for operation in transaction:
            behind = unsettled.get((operation[0], operation[1]))
            if behind is not None and behind > start:
                start = behind
        end = start + len(transaction)
        for operation in transaction:
            unsettled[operation[0], operation[1]] = end
        self._behind[source] = end
        self._number += 1
        heappush(self._heap, Waiting(start, self._number, end, source, transaction, size, messages, done))
        self.operations += len(transaction)
        self.bytes += size

    def take(self) -> list[Waiting]:
        """Removes and returns the transactions of the next commit, in order."""
        group: list[Waiting] = []
        operations, size = COMMIT_OPERATIONS, COMMIT_BYTES
        heap = self._heap
        while heap and (not group or (heap[0].rows <= operations and heap[0].size <= size)):
            waiting = heappop(heap)
            operations -= waiting.rows
            size -= waiting.size
            self.operations -= len(waiting.transaction)
            self.bytes -= waiting.size
            self._reached = waiting.start
            if self._behind.get(waiting.source) == waiting.end:
                del self._behind[waiting.source]
            group.append(waiting)
        return group

    def settle(self, waiting: Waiting) -> None:
        """Takes note that a transaction that was taken is done."""
        unsettled = self._unsettled
        for operation in waiting.transaction:
            key = operation[0], operation[1]
            if unsettled.get(key) == waiting.end:
                del unsettled[key]

    def is_settled(self, key: RecordKey) -> bool:
        """Returns whether no operation on this record waits or is being committed."""
        return key not in self._unsettled
