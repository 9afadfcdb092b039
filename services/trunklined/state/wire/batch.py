"""Batches on the wire: requests into operations of the domain, and their outcomes into a BatchResponse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trunkline.errors import StateError
from trunkline.records import check_batch_size
from trunklined.rpc.errors import to_item
from trunklined.state import batch
from trunklined.state.records import Operation, Put, Read
from trunklined.state.store import Store
from trunklined.state.wire.operations import (
    BatchOutcome,
    BatchResponse,
    fill_got,
    found,
    to_deleted,
    to_operation,
)

Done = Callable[[Any], None]
"""Takes the BatchResponse, or the error of the whole."""


def start_batch(store: Store, request: Any, max_bytes: int, done: Done) -> None:
    """Submits the operations of a BatchRequest to the store; calls `done` when all are done.

    Raises:
        InvalidRecordError: the batch has no or too many operations. Of an atomic one, any operation's error.
    """
    check_batch_size(len(request.operations))
    operations = [_read(operation, max_bytes) for operation in request.operations]

    def answered(outcomes: list[batch.BatchOutcome] | StateError) -> None:
        if isinstance(outcomes, StateError):
            done(outcomes)
        else:
            done(BatchResponse(outcomes=map(_to_outcome, operations, outcomes)))

    batch.start_batch(store, operations, answered, atomic=request.atomic)


def _read(operation: Any, max_bytes: int) -> Operation | StateError:
    try:
        return to_operation(operation, max_bytes)
    except StateError as error:
        return error


def _to_outcome(operation: Operation | StateError, outcome: batch.BatchOutcome) -> Any:
    if isinstance(outcome, StateError):
        return BatchOutcome(error=to_item(outcome).SerializeToString())
    if isinstance(operation, Put):
        return BatchOutcome(saved={"revision": outcome})
    if isinstance(operation, Read):
        answer = BatchOutcome()
        try:
            fill_got(answer.got, found(operation, outcome))
        except StateError as error:
            answer.error = to_item(error).SerializeToString()
        return answer
    return BatchOutcome(deleted=to_deleted(outcome))
