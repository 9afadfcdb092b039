"""StateConnection: the OpenStateStream stream of one client library, which multiplexes all calls but watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from google.protobuf.message import DecodeError

from trunkline.errors import StateError, TrunklineError
from trunkline.limits import FRAME_BYTES, MAX_FRAME_ITEMS
from trunkline.records import invalid_record
from trunkline.v1 import move_pb2, state_pb2
from trunkline.wire.writer import StreamWriter
from trunklined.access.gate import closed_gate
from trunklined.relay.journal import size_of
from trunklined.rpc.errors import to_item
from trunklined.rpc.identity import principal
from trunklined.rpc.long_work import TimeSlice, parts_of
from trunklined.state.batch import BatchOutcome
from trunklined.state.engines.engine import OUTCOME_BYTES
from trunklined.state.leases import released, to_release
from trunklined.state.planning import TransactionOutcome
from trunklined.state.records import Hold, Read, Touch
from trunklined.state.store import Store
from trunklined.state.wire import leases
from trunklined.state.wire.batch import Operations, start_batch, to_response
from trunklined.state.wire.operations import (
    ListQuery,
    OpenStateStreamRequest,
    OpenStateStreamResponse,
    fill_got,
    found,
    to_drop,
    to_kind,
    to_put,
    to_read,
)
from trunklined.state.wire.outbox import WRITES_OF_BATCH, check_published

MAX_OPEN_ITEMS: Final = 16_384
MAX_OPEN_BYTES: Final = 64 * 1024 * 1024
"""Unanswered items of one stream, and their bytes; beyond either the stream is not read further."""

MAX_OPEN_GETS: Final = 64
MAX_OPEN_LISTS: Final = 4
"""Concurrent reads that wait, and lists, of one stream; it waits before the next one."""


_ITEMS: Final = (state_pb2.OpenStateStreamRequest.ITEMS_FIELD_NUMBER,)
_OPERATIONS: Final = (
    *_ITEMS,
    state_pb2.OpenStateStreamRequest.ClientItem.BATCH_FIELD_NUMBER,
    state_pb2.BatchRequest.OPERATIONS_FIELD_NUMBER,
)
_ITEM = state_pb2.OpenStateStreamRequest.ClientItem
_WRITES: Final = (
    (*_ITEMS, _ITEM.SAVE_FIELD_NUMBER),
    (*_ITEMS, _ITEM.DELETE_FIELD_NUMBER),
    *((*_OPERATIONS, number) for number in WRITES_OF_BATCH),
)


class StateConnection:
    """Takes a client's items in order and answers each as soon as its outcome is known.

    Args:
        store: executes the items.
        write: writes one encoded OpenStateStreamResponse to the stream.
        max_record_bytes: limit of one encoded record.
    """

    def __init__(
        self, store: Store, write: Callable[[bytes], Coroutine[Any, Any, None]], max_record_bytes: int
    ) -> None:
        self._store = store
        self._gate = closed_gate()
        self._slots = self._gate.requests if self._gate is not None else None
        """Where unanswered items are counted for the caller. None: nowhere."""
        self._max_record_bytes = max_record_bytes
        self._principal = principal()
        """Who writes what comes on this stream."""
        self._writer = StreamWriter(write, self._gather)
        self._frame = OpenStateStreamResponse()
        """The answers to send; filled in place, encoded once the stream can take them."""
        self._frame_bytes = 0
        self._open_items = 0
        self._open_bytes = 0
        self._fewer = asyncio.Event()
        self._gets: set[asyncio.Task[None]] = set()
        """The reads of an engine whose reads wait."""
        self._lists: set[asyncio.Task[None]] = set()
        self._batches: set[asyncio.Task[None]] = set()
        """The answers to batches that are being made."""
        self._renewals: set[asyncio.Task[None]] = set()
        """The renewals under way."""

    async def take(self, raw: bytes) -> None:
        """Takes one encoded OpenStateStreamRequest; waits while too many items are unanswered or answers unread."""
        try:
            _check_parts(raw)
            frame = OpenStateStreamRequest.FromString(raw)
        except DecodeError as error:
            raise invalid_record("frame", "is no OpenStateStreamRequest") from error
        writer = self._writer
        work = TimeSlice()
        for item in frame.items:
            if work.is_over:
                await work.rest()
            try:
                await self._take_item(item)
            except TrunklineError as error:
                self._fail(item.id, error)
            if self._frame_bytes > FRAME_BYTES:
                writer.put(self._encoded())
            if writer.size > FRAME_BYTES:
                await writer.room(FRAME_BYTES)
        writer.flush()
        while self._open_items > MAX_OPEN_ITEMS or self._open_bytes > MAX_OPEN_BYTES:
            await self._until_fewer()

    async def finish(self) -> None:
        """Waits until all items are answered and the answers written, after the client half-closed."""
        while self._open_items:
            await self._until_fewer()
        await self._writer.flushed()

    async def flushed(self) -> None:
        """Waits until all answers are written."""
        await self._writer.flushed()

    def ask_to_move(self, move: move_pb2.Move) -> None:
        """Asks the client to go on elsewhere."""
        item = state_pb2.OpenStateStreamResponse.ServerItem(move=move)
        self._writer.put(state_pb2.OpenStateStreamResponse(items=[item]).SerializeToString())

    def close(self) -> None:
        """Stops sending, after the client disconnected; submitted writes are still committed. Idempotent."""
        for task in self._gets | self._lists | self._batches | self._renewals:
            task.cancel()
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.held -= self._open_items
        self._writer.close()

    async def _take_item(self, item: Any) -> None:
        kind = item.WhichOneof("item")
        if self._gate is not None and kind is not None:
            self._gate.check_message(getattr(item, kind))
            self._gate.check_requests()
        match kind:
            case "get":
                await self._get(item.id, to_read(item.get))
            case "save":
                put = to_put(item.save, self._max_record_bytes, self._principal)
                size = len(put.body) + size_of(put.publish)
                self._store.submit((put,), size, partial(self._saved, item.id, size), self)
                self._opened(size)
            case "delete":
                drop = to_drop(item.delete, self._max_record_bytes, self._principal)
                size = size_of(drop.publish)
                self._store.submit((drop,), size, partial(self._deleted, item.id, size), self)
                self._opened(size)
            case "list":
                await self._list(item.id, ListQuery(item.list))
            case "batch":
                size = item.ByteSize()
                done = partial(self._batched, item.id, size)
                self._opened(size)
                try:
                    await start_batch(self._store, item.batch, self._max_record_bytes, done, self, self._principal)
                except BaseException:
                    self._closed(size)
                    raise
            case "renew_lease":
                self._begin(self._renew(item.id, item.renew_lease), self._renewals)
            case "release_lease":
                hold = leases.to_hold(item.release_lease.lease, "lease")
                release = to_release(hold, self._principal)
                self._store.submit(release, 0, partial(self._released, item.id, hold), self)
                self._opened(0)
            case "touch":
                touch = leases.to_touch(item.touch, to_kind(item.touch.kind))
                self._store.submit((touch,), 0, partial(self._touched, item.id, touch), self)
                self._opened(0)
            case _:
                raise invalid_record("item", "is not set")

    async def _renew(self, id: int, request: Any) -> None:
        try:
            answer = await leases.renew(self._store, request)
            self._answer(id).lease_renewed.remaining.MergeFromString(answer.remaining.SerializeToString())
        except StateError as error:
            self._fail(id, error)
        finally:
            self._closed(0)

    def _released(self, id: int, hold: Hold, outcome: TransactionOutcome) -> None:
        self._closed(0)
        try:
            revision = released(hold, outcome)
        except StateError as error:
            self._fail(id, error)
        else:
            self._answer(id).lease_released.revision = revision

    def _touched(self, id: int, touch: Touch, outcome: TransactionOutcome) -> None:
        self._closed(0)
        try:
            if isinstance(outcome, StateError):
                raise outcome
            answer = leases.to_touched(touch, outcome[0])
        except StateError as error:
            self._fail(id, error)
        else:
            self._answer(id).touched.revision = answer.revision

    async def _get(self, id: int, read: Read) -> None:
        if self._store.is_settled(read.kind, read.id):
            if self._store.engine.reads_wait:
                await _until_below(MAX_OPEN_GETS, self._gets)
                self._begin(self._answer_get(id, read), self._gets)
            else:
                entry = found(read, await self._store.get(read.kind, read.id))
                fill_got(self._answer(id, entry.size).got, entry)
        else:
            self._store.submit((read,), 0, partial(self._got, id, read), self)
            self._store.counts.gets += 1
            self._opened(0)

    async def _answer_get(self, id: int, read: Read) -> None:
        try:
            entry = found(read, await self._store.get(read.kind, read.id))
            await self._writer.room(FRAME_BYTES)
            fill_got(self._answer(id, entry.size).got, entry)
        except TrunklineError as error:
            self._fail(id, error)
        finally:
            self._closed(0)

    async def _list(self, id: int, query: ListQuery) -> None:
        await _until_below(MAX_OPEN_LISTS, self._lists)
        self._begin(self._answer_list(id, query), self._lists)

    async def _answer_list(self, id: int, query: ListQuery) -> None:
        try:
            page = await self._store.page(query.kind, query.filter, query.after, query.limit, self)
            await self._writer.room(FRAME_BYTES)
            query.answer(page, self._answer(id, sum(entry.size for entry in page.entries)).listed)
        except StateError as error:
            self._fail(id, error)
        finally:
            self._closed(0)

    def _saved(self, id: int, size: int, outcome: TransactionOutcome) -> None:
        self._closed(size)
        if isinstance(outcome, StateError):
            self._fail(id, outcome)
        else:
            self._answer(id).saved.revision = outcome[0]

    def _deleted(self, id: int, size: int, outcome: TransactionOutcome) -> None:
        self._closed(size)
        if isinstance(outcome, StateError):
            self._fail(id, outcome)
        else:
            deleted = self._answer(id).deleted
            deleted.deleted, deleted.revision = outcome[0] != 0, outcome[0]

    def _got(self, id: int, read: Read, outcome: TransactionOutcome) -> None:
        self._closed(0)
        if isinstance(outcome, StateError):
            self._fail(id, outcome)
            return
        try:
            entry = found(read, outcome[0])
        except StateError as error:
            self._fail(id, error)
        else:
            fill_got(self._answer(id, entry.size).got, entry)

    def _batched(self, id: int, size: int, operations: Operations, outcomes: list[BatchOutcome] | StateError) -> None:
        if isinstance(outcomes, StateError):
            self._closed(size)
            self._fail(id, outcomes)
            return
        task = asyncio.ensure_future(self._answer_batch(id, size, operations, outcomes))
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    async def _answer_batch(self, id: int, size: int, operations: Operations, outcomes: list[BatchOutcome]) -> None:
        try:
            answer = await to_response(operations, outcomes)
            self._answer(id, answer.ByteSize()).batched.CopyFrom(answer)
        finally:
            self._closed(size)

    def _fail(self, id: int, error: TrunklineError) -> None:
        self._store.counts.errors[error.error_code] += 1
        encoded = to_item(error).SerializeToString()
        self._answer(id, len(encoded)).error = encoded

    def _answer(self, id: int, size: int = 0) -> Any:
        """Returns a new item of the next frame, to be filled at once; `size` is that of what it will hold."""
        size += OUTCOME_BYTES
        if self._frame_bytes and self._frame_bytes + size > FRAME_BYTES:
            self._writer.put(self._encoded())
        item = self._frame.items.add()
        item.id = id
        self._frame_bytes += size
        self._writer.schedule()
        return item

    def _gather(self, room: int) -> list[bytes]:
        return [self._encoded()] if self._frame.items else []

    def _encoded(self) -> bytes:
        encoded: bytes = self._frame.SerializeToString()
        self._frame = OpenStateStreamResponse()
        self._frame_bytes = 0
        return encoded

    def _begin(self, answering: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        """Lets an item be answered beside the others; ends with `_closed(0)`."""
        task = asyncio.ensure_future(answering)
        self._opened(0)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _opened(self, size: int) -> None:
        self._open_items += 1
        self._open_bytes += size
        if self._slots is not None:
            self._slots.held += 1

    def _closed(self, size: int) -> None:
        self._open_items -= 1
        self._open_bytes -= size
        if self._slots is not None:
            self._slots.give_back()
        self._fewer.set()

    async def _until_fewer(self) -> None:
        self._fewer.clear()
        await self._fewer.wait()


def _check_parts(raw: bytes) -> None:
    """Raises `InvalidRecordError` for a frame of too many items, or whose batches have too many operations."""
    for name, path in (("items", _ITEMS), ("operations", _OPERATIONS)):
        if parts_of(raw, path, MAX_FRAME_ITEMS) > MAX_FRAME_ITEMS:
            raise invalid_record(f"frame.{name}", f"are more than {MAX_FRAME_ITEMS}")
    check_published(raw, *_WRITES)


async def _until_below(most: int, tasks: set[asyncio.Task[None]]) -> None:
    while len(tasks) >= most:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
