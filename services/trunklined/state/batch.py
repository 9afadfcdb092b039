"""Batches: many operations of one call, each with an outcome of its own, or all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial

from trunkline.errors import RevisionMismatchError, StateError
from trunklined.rpc.long_work import TimeSlice
from trunklined.state.engines.engine import ANSWER_BYTES
from trunklined.state.planning import TransactionOutcome, too_much_to_read
from trunklined.state.records import Entry, Operation, Read, Result
from trunklined.state.store import Store, put_size

BatchOutcome = Result | StateError
"""The result or the error of one operation of a batch."""

Done = Callable[[list[BatchOutcome] | StateError], None]
"""Takes the outcomes in the order of the operations, or the error of the whole. It must neither block nor raise."""


async def start_batch(
    store: Store, operations: Sequence[Operation | StateError], done: Done, *, atomic: bool, source: Hashable = None
) -> None:
    """Submits a batch to the store; calls `done` when all operations are done, possibly at once. To submit many gives
    others their turn.

    Args:
        store: does the operations, in order.
        operations: at least one. An error stands for an operation that was refused already, and is its outcome.
        done: called once, unless this raises.
        atomic: all operations are one transaction; its error names the operation in details["operation"].
        source: see `Store.submit`.

    Raises:
        StateError: of an atomic batch, the first operation that was refused already, or that the store takes none.
    """
    if atomic:
        _start_atomic(store, operations, done, source)
    else:
        await _Separate(store, len(operations), done).start(operations, source)


def _start_atomic(store: Store, operations: Sequence[Operation | StateError], done: Done, source: Hashable) -> None:
    transaction: list[Operation] = []
    for index, operation in enumerate(operations):
        if isinstance(operation, StateError):
            operation.details["operation"] = index
            raise operation
        transaction.append(operation)

    def settled(outcome: TransactionOutcome) -> None:
        if isinstance(outcome, RevisionMismatchError):
            outcome.details.setdefault("operation", 0)  # the planner names no index where there is one operation only
        done(outcome if isinstance(outcome, StateError) else [*outcome])

    store.counts.gets += sum(isinstance(operation, Read) for operation in transaction)
    store.submit(transaction, put_size(transaction), settled, source)


class _Separate:
    """A batch of which each operation is a transaction of its own."""

    def __init__(self, store: Store, count: int, done: Done) -> None:
        self._store = store
        self._done = done
        self._outcomes: list[BatchOutcome] = [None] * count
        self._left = count
        self._room = ANSWER_BYTES

    async def start(self, operations: Sequence[Operation | StateError], source: Hashable) -> None:
        """Submits each operation; one that was refused, or that the store refuses, has its outcome at once."""
        work = TimeSlice()
        for index, operation in enumerate(operations):
            if index and work.is_over:
                await work.rest()
            if isinstance(operation, StateError):
                self._fail(index, operation)
                continue
            transaction = (operation,)
            self._store.counts.gets += isinstance(operation, Read)
            try:
                self._store.submit(transaction, put_size(transaction), partial(self._settled, index), source)
            except StateError as error:
                self._fail(index, error)

    def _settled(self, index: int, outcome: TransactionOutcome) -> None:
        if isinstance(outcome, StateError):
            self._fail(index, outcome)
            return
        result = outcome[0]
        if isinstance(result, Entry):
            is_first = self._room == ANSWER_BYTES
            self._room -= result.size
            if self._room < 0 and not is_first:
                self._fail(index, too_much_to_read(ANSWER_BYTES))
                return
        self._set(index, result)

    def _fail(self, index: int, error: StateError) -> None:
        self._store.counts.errors[error.error_code] += 1
        self._set(index, error)

    def _set(self, index: int, outcome: BatchOutcome) -> None:
        self._outcomes[index] = outcome
        self._left -= 1
        if not self._left:
            self._done(self._outcomes)
