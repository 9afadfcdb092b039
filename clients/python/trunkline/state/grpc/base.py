"""BaseStateManager: a state store whose calls travel on an `OpenStateStream` stream, whatever carries that."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from google.protobuf.message import Message

from trunkline.callbacks import notify
from trunkline.errors import (
    MessageTooLargeError,
    OverloadedError,
    RecordNotFoundError,
    StateDisconnectedError,
    TrunklineError,
)
from trunkline.limits import CLIENT_BUFFER_BYTES, MAX_FRAME_BYTES, MAX_PAGE_SIZE
from trunkline.records import Kind, check_batch_size, check_record_id
from trunkline.state.codec import to_json
from trunkline.state.filter import Filter, WatchFilter, check_page_size, check_revision
from trunkline.state.grpc.frames import (
    duration_of,
    error_of,
    lease_info,
    record_of,
    statistics_from_wire,
    to_outcome,
    write_batch,
    write_call,
    write_delete,
    write_get,
    write_list,
    write_release,
    write_renew,
    write_save,
    write_touch,
)
from trunkline.state.grpc.watch import RemoteWatch
from trunkline.state.leases import LeaseInfo
from trunkline.state.record_manager import RecordManager, Stored, not_connected
from trunkline.state.state_manager import Change, Delete, Operation, Outcome, Save, StateStatistics
from trunkline.v1 import state_pb2
from trunkline.wire.deadlines import Deadlines
from trunkline.wire.stream import Stream

_FLUSHED_CALLS: Final = 32
"""Of many calls at once, so many are sent while the others are still being encoded: then service and client work at the
same time. A lone call is sent at once."""
_FETCHED: Final = MAX_PAGE_SIZE
"""Records of one page, where the caller does not say."""
MAX_CALL_BYTES: Final = MAX_FRAME_BYTES // 2
"""One encoded call; a larger one would not fit into a frame. The service's own limit for a record is lower."""


class BaseStateManager(RecordManager):
    """Everything that a state manager does but to connect: checks, encodes, and matches answers to calls.

    Args:
        address: what it is connected to, for people.
        timeout: seconds that a call may take, the wait for a reconnect included; then `StateDisconnectedError`.
        on_disconnected: called with the reason when the connection was lost.
        on_reconnected: called when it is back.
    """

    def __init__(
        self,
        address: str,
        timeout: float,
        on_disconnected: Callable[[TrunklineError], None] | None = None,
        on_reconnected: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.address = address
        self._timeout = timeout
        self._on_disconnected = on_disconnected
        self._on_reconnected = on_reconnected
        self._stream: Stream | None = None
        self._open_calls = 0
        self._unflushed = 0
        self._watches: set[RemoteWatch] = set()
        self._deadlines = Deadlines(self._expire)

    @abstractmethod
    async def _begin(self) -> Stream:
        """A stream that is up."""

    async def connect(self) -> None:
        if self._stream is not None and self._stream.loop_is_closed:
            await self.disconnect()  # nobody could: its loop has ended
        if self._stream is not None:
            return
        self._stream = await self._begin()

    async def disconnect(self) -> None:
        if self._stream is not None and not self._stream.loop_is_closed:
            await self._release_all()
        stream, self._stream = self._stream, None
        if stream is None:
            return
        for watch in self._watches:
            watch.end()
        await stream.close()
        self._deadlines.close()

    @property
    def is_connected(self) -> bool:
        return self._stream is not None and self._stream.is_up

    async def batch(self, operations: Sequence[Operation], *, atomic: bool = False) -> list[Outcome]:
        check_batch_size(len(operations))
        answer = await self._call("batch", write_batch(operations, atomic))
        return [
            to_outcome(operation, outcome)
            for operation, outcome in zip(operations, answer.batched.outcomes, strict=True)
        ]

    async def watch(
        self,
        *kinds: Kind,
        id: str | None = None,
        status: str | None = None,
        type: str | None = None,
        phase: str | None = None,
        agent_id: str | None = None,
        capability: str | None = None,
        after_revision: int | None = None,
    ) -> AsyncIterator[Change]:
        stream = self._connected()
        filter = WatchFilter(kinds, id, Filter(status, type, phase, agent_id, capability))
        filter.check()
        check_revision("after_revision", after_revision, 0)
        watch = RemoteWatch(lambda: self._stream or stream, filter, after_revision, self._asked_to_move)
        self._watches.add(watch)
        try:
            async for change in watch.changes():
                yield change
        finally:
            self._watches.discard(watch)
            watch.end()

    async def statistics(self) -> StateStatistics:
        return statistics_from_wire(await self._call_beside("GetStateStats", state_pb2.GetStateStatsRequest()))

    async def touch(self, kind: Kind, id: str, *, ttl: float | None = None) -> bool:
        try:
            await self._call("touch", write_touch(kind, id, ttl))
        except RecordNotFoundError:
            return False
        return True

    async def list_leases(self, *, name: str | None = None) -> list[LeaseInfo]:
        request = state_pb2.ListLeasesRequest(page_size=_FETCHED)
        if name is not None:
            request.name = check_record_id("name", name)
        found: list[LeaseInfo] = []
        while True:
            listed = await self._call_beside("ListLeases", request)
            found.extend(map(lease_info, listed.leases))
            if not listed.next_page_token:
                return found
            request.page_token = listed.next_page_token

    async def renew_lease(self, name: str, number: int, timeout: float) -> None:
        await self._call("renew_lease", write_renew(name, number), min(timeout, self._timeout))

    async def release_lease(self, name: str, number: int) -> None:
        await self._call("release_lease", write_release(name, number))

    async def _acquire(self, name: str, holder: str, ttl: float, wait: float, metadata: Mapping[str, Any]) -> int:
        request = state_pb2.AcquireLeaseRequest(
            name=name, holder=holder, ttl=duration_of(ttl), wait=duration_of(wait) if wait else None
        )
        if metadata:
            request.metadata_json = to_json("metadata", dict(metadata)).decode()
        number: int = (await self._call_beside("AcquireLease", request, wait)).lease.number
        return number

    async def _call_beside(self, name: str, request: Message, wait: float = 0.0) -> Any:
        """Makes a unary call beside the stream; `wait`: seconds that the service may take beyond the timeout."""
        stream = self._connected()
        if not stream.is_up:
            stream.check_loop()
            await self._until(asyncio.get_running_loop().time() + self._timeout, stream.wait_up())
        return await stream.call(name, request, self._timeout + wait)

    async def _save(self, save: Save) -> int:
        answer = await self._call("save", write_save(save))
        revision: int = answer.saved.revision
        return revision

    async def _get(self, kind: Kind, id: str) -> Stored | None:
        try:
            answer = await self._call("get", write_get(kind, id))
        except RecordNotFoundError:
            return None
        return record_of(answer.got.record)

    async def _list(self, kind: Kind, filter: Filter, page_size: int | None) -> list[Stored]:
        filter.check(kind)
        size, values, token = check_page_size(page_size) or _FETCHED, filter.values(), ""
        found: list[Stored] = []
        while True:
            listed = (await self._call("list", write_list(kind, values, size, token))).listed
            found.extend(map(record_of, listed.records))
            token = listed.next_page_token
            if not token:
                return found

    async def _delete(self, delete: Delete) -> bool:
        deleted: bool = (await self._call("delete", write_delete(delete))).deleted.deleted
        return deleted

    async def _call(self, name: str, request: bytes, timeout: float | None = None) -> Any:
        """Sends one item and returns the item that answers it; raises the error that answers it. What the service
        refuses for now is asked again when it says."""
        stream = self._connected()
        loop = asyncio.get_running_loop()
        timeout = self._timeout if timeout is None else timeout
        deadline = loop.time() + timeout
        while True:
            try:
                return await self._send(stream, name, request, timeout, deadline, loop)
            except OverloadedError as error:
                await stream.pause(error, deadline)
                stream = self._connected()

    async def _send(
        self,
        stream: Stream,
        name: str,
        request: bytes,
        timeout: float,
        deadline: float,
        loop: asyncio.AbstractEventLoop,
    ) -> Any:
        if not stream.is_up:
            stream.check_loop()
            await self._until(deadline, stream.wait_up())
        if len(request) > MAX_CALL_BYTES:
            raise MessageTooLargeError(
                f"the call has {len(request)} bytes, at most {MAX_CALL_BYTES} are allowed",
                details={"size": len(request), "limit": MAX_CALL_BYTES},
            )
        id, answer = stream.expect(loop)
        self._open_calls += 1
        self._deadlines.add(loop, id, deadline, stream, timeout)
        try:
            stream.put(write_call(id, name, request))
            self._unflushed += 1
            if self._open_calls == 1 or self._unflushed >= _FLUSHED_CALLS:
                self._unflushed = 0
                stream.flush()
            if stream.waiting_bytes > CLIENT_BUFFER_BYTES:
                await self._until(deadline, stream.room(CLIENT_BUFFER_BYTES))
            return await answer
        finally:
            self._open_calls -= 1
            self._deadlines.remove(id)
            stream.forget(id)

    def _connected(self) -> Stream:
        if self._stream is None:
            raise not_connected()
        if self._stream.is_over:
            self._stream.check_loop()
        return self._stream

    async def _until(self, deadline: float, waiting: Coroutine[Any, Any, None]) -> None:
        """Waits for something, to the call's deadline by the loop's clock."""
        try:
            async with asyncio.timeout_at(deadline):
                await waiting
        except TimeoutError:
            raise _too_late(self._timeout, self.address) from None

    def _asked_to_move(self) -> None:
        """The service asks to go on at another replica; nobody does where there is none."""

    def _expire(self, id: int, stream: Stream, timeout: float) -> None:
        stream.fail(id, _too_late(timeout, self.address))

    def on_up(self) -> None:
        """Nothing must be said to the service anew: watches have streams of their own."""
        if self._stream is not None:  # else it is the first time
            notify(self._on_reconnected)

    def on_down(self, error: TrunklineError) -> None:
        """What was pending is failed by the stream."""
        notify(self._on_disconnected, error)

    def gather(self, room: int) -> list[bytes]:
        """Everything is put when it is called for."""
        return []

    def on_frame(self, frame: Any) -> None:
        """Answers those who wait."""
        if self._stream is not None:
            take_frame(self._stream, frame)


def take_frame(stream: Stream, frame: Any) -> bool:
    """Answers those who wait on a stream; returns whether the service asks to go on elsewhere."""
    is_asked = False
    for item in frame.items:
        match item.WhichOneof("item"):
            case "error":
                stream.fail(item.id, error_of(item.error))
            case "move":
                is_asked = True
            case _:
                stream.settle(item.id, item)
    return is_asked


def _too_late(timeout: float, address: str) -> StateDisconnectedError:
    return StateDisconnectedError(
        f"{address} did not answer within {timeout:g} s", details={"address": address, "timeout_seconds": timeout}
    )
