"""Batches on the wire: requests into operations of the domain, and their outcomes into a BatchResponse."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Final

from trunkline.errors import StateError
from trunkline.records import check_batch_size
from trunkline.v1 import error_pb2
from trunklined.rpc.errors import to_item
from trunklined.rpc.long_work import TimeSlice
from trunklined.state import batch
from trunklined.state.engines.engine import ANSWER_BYTES
from trunklined.state.records import Entry, Operation, Put, Read
from trunklined.state.store import Store
from trunklined.state.wire.operations import (
    BatchOutcome,
    BatchResponse,
    fill_got,
    found,
    to_deleted,
    to_operation,
)

Operations = Sequence[Operation | StateError]
"""The operations of a batch; an error in the place of one that was refused."""

Done = Callable[[Operations, list[batch.BatchOutcome] | StateError], None]
"""Takes the operations and their outcomes, or the error of the whole."""

_SHORT: Final = "left out: the batch's answer is full"


async def start_batch(store: Store, request: Any, max_bytes: int, done: Done, source: Hashable, writer: str) -> None:
    """Submits the operations of a BatchRequest to the store; calls `done` when all are done. `writer`: whose it is.

    Raises:
        InvalidRecordError: the batch has no or too many operations. Of an atomic one, any operation's error.
    """
    check_batch_size(len(request.operations))
    operations: list[Operation | StateError] = []
    work = TimeSlice()
    for operation in request.operations:
        operations.append(_read(operation, max_bytes, writer))
        if work.is_over:
            await work.rest()
    await batch.start_batch(store, operations, partial(done, operations), atomic=request.atomic, source=source)


async def to_response(operations: Operations, outcomes: list[batch.BatchOutcome]) -> Any:
    """Returns the BatchResponse. Where it would be larger than MAX_ANSWER_BYTES, errors lose texts and details."""
    response = BatchResponse()
    room = ANSWER_BYTES - sum(outcome.size for outcome in outcomes if isinstance(outcome, Entry))
    work = TimeSlice()
    for operation, outcome in zip(operations, outcomes, strict=True):
        translated = _to_outcome(operation, outcome)
        if translated.WhichOneof("outcome") == "error":
            room -= len(translated.error)
            if room < 0:
                translated = BatchOutcome(error=_shortened(translated.error))
        response.outcomes.append(translated)
        if work.is_over:
            await work.rest()
    return response


def _shortened(encoded: bytes) -> bytes:
    error = error_pb2.Error.FromString(encoded)
    return error_pb2.Error(reason=error.reason, code=error.code, message=_SHORT).SerializeToString()


def _read(operation: Any, max_bytes: int, writer: str) -> Operation | StateError:
    try:
        return to_operation(operation, max_bytes, writer)
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
