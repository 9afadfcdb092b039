"""Batch: many operations of one call, each with its own outcome, or all or none of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from trunkline.errors import OverloadedError, RevisionMismatchError, StateError, TrunklineError
from trunkline.limits import MAX_FRAME_BYTES
from trunklined.rpc.errors import to_item
from trunklined.state.planning import Outcome
from trunklined.state.records import Entry, Operation, Put, Read, Result
from trunklined.state.store import Store, put_size
from trunklined.state.wire.operations import (
    BatchOutcome,
    BatchResponse,
    check_batch,
    fill_got,
    found,
    to_deleted,
    to_operation,
)

ANSWER_BYTES: Final = MAX_FRAME_BYTES // 2
"""What the gets of one batch may read; those beyond it fail with OVERLOADED."""

Finished = Callable[[Any], None]
"""Takes the BatchResponse, or the error of the whole."""


def start_batch(store: Store, request: Any, max_bytes: int, finished: Finished) -> None:
    """Hands a batch's operations to the store; `finished` is called when all are done.

    Raises:
        InvalidRecordError: the batch has no or too many operations. Of an atomic one, any operation's error.
    """
    check_batch(request)
    if request.atomic:
        _start_atomic(store, request, max_bytes, finished)
    else:
        _Separate(store, request, max_bytes, finished).start()


def _start_atomic(store: Store, request: Any, max_bytes: int, finished: Finished) -> None:
    transaction: list[Operation] = []
    for index, operation in enumerate(request.operations):
        try:
            transaction.append(to_operation(operation, max_bytes))
        except TrunklineError as error:
            error.details["operation"] = index
            raise

    def done(outcome: Outcome) -> None:
        if isinstance(outcome, RevisionMismatchError):
            outcome.details.setdefault("operation", 0)  # a lone operation's error does not say which it was
        if isinstance(outcome, StateError):
            finished(outcome)
        else:
            outcomes = [_to_outcome(each, result) for each, result in zip(transaction, outcome, strict=True)]
            finished(BatchResponse(outcomes=outcomes))

    store.counts.gets += sum(isinstance(operation, Read) for operation in transaction)
    store.submit(transaction, put_size(transaction), done)


class _Separate:
    """A batch whose operations stand each for itself; the store does them in order."""

    def __init__(self, store: Store, request: Any, max_bytes: int, finished: Finished) -> None:
        self._store = store
        self._operations = request.operations
        self._max_bytes = max_bytes
        self._finished = finished
        self._outcomes: list[Any] = [None] * len(request.operations)
        self._left = len(request.operations)
        self._room = ANSWER_BYTES

    def start(self) -> None:
        """Submits every operation; one that cannot be taken has its outcome at once."""
        for index, wanted in enumerate(self._operations):
            try:
                operation = to_operation(wanted, self._max_bytes)
                transaction = (operation,)
                self._store.counts.gets += isinstance(operation, Read)
                self._store.submit(transaction, put_size(transaction), partial(self._done, index, operation))
            except StateError as error:
                self._set(index, self._failed(error))

    def _done(self, index: int, operation: Operation, outcome: Outcome) -> None:
        if isinstance(outcome, StateError):
            self._set(index, self._failed(outcome))
            return
        result = outcome[0]
        if isinstance(result, Entry):
            self._room -= len(result.body)
            if self._room < 0:
                self._set(index, self._failed(too_much_to_read()))
                return
        self._set(index, _to_outcome(operation, result))

    def _failed(self, error: StateError) -> Any:
        self._store.counts.errors[error.error_code] += 1
        return BatchOutcome(error=to_item(error).SerializeToString())

    def _set(self, index: int, outcome: Any) -> None:
        self._outcomes[index] = outcome
        self._left -= 1
        if not self._left:
            self._finished(BatchResponse(outcomes=self._outcomes))


def too_much_to_read() -> OverloadedError:
    """The error of a get that would make the answer too large."""
    return OverloadedError(
        f"the records read in one batch are over {ANSWER_BYTES} bytes: read fewer at a time",
        details={"limit": "answer_bytes", "maximum": ANSWER_BYTES},
    )


def _to_outcome(operation: Operation, result: Result) -> Any:
    if isinstance(operation, Put):
        return BatchOutcome(saved={"revision": result})
    if isinstance(operation, Read):
        outcome = BatchOutcome()
        try:
            fill_got(outcome.got, found(operation, result))
        except StateError as error:
            outcome.error = to_item(error).SerializeToString()
        return outcome
    return BatchOutcome(deleted=to_deleted(result))
