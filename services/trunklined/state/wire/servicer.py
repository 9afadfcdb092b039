"""StateServicer: the calls of trunkline.v1.StateService, each check, call, translate, answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from trunkline import __version__
from trunkline.errors import StateError, TrunklineError
from trunkline.limits import MAX_BATCH_OPERATIONS
from trunkline.records import invalid_record
from trunkline.v1 import move_pb2, state_pb2
from trunklined.rpc.identity import principal
from trunklined.rpc.long_work import parts_of
from trunklined.rpc.moving import Moving
from trunklined.rpc.times import stamp_of
from trunklined.state.store import Store, stopping
from trunklined.state.wire import leases
from trunklined.state.wire.batch import Operations, start_batch, to_response
from trunklined.state.wire.connection import StateConnection
from trunklined.state.wire.leases import Acquisition
from trunklined.state.wire.operations import (
    BatchRequest,
    BatchResponse,
    DeleteRequest,
    DeleteResponse,
    GetResponse,
    ListQuery,
    ListResponse,
    SaveRequest,
    SaveResponse,
    fill_got,
    found,
    to_deleted,
    to_drop,
    to_frame,
    to_kind,
    to_put,
    to_read,
    to_watch_filter,
)
from trunklined.state.wire.outbox import WRITES_OF_BATCH, check_published, to_outbox

_OPERATIONS: Final = (state_pb2.BatchRequest.OPERATIONS_FIELD_NUMBER,)
SERVICE_NAME: Final = "trunkline.v1.StateService"

Context = grpc.aio.ServicerContext[Any, Any]


class StateServicer:
    """The gRPC calls of the state service.

    Args:
        store: the domain.
        max_record_bytes: limit of one encoded record.
        started_at: UNIX time in seconds, for GetStateStats.
        moving: who asks its streams to go elsewhere. None: nobody does.
    """

    def __init__(self, store: Store, max_record_bytes: int, started_at: float, moving: Moving | None = None) -> None:
        self._store = store
        self._moving = moving or Moving()
        self._max_record_bytes = max_record_bytes
        self._started_at = started_at
        self._connections: set[StateConnection] = set()
        self._ending: set[asyncio.Future[None]] = set()

    @property
    def connections(self) -> int:
        """Number of open streams of client libraries."""
        return len(self._connections)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the service to a server. Records pass through encoded."""
        whole = grpc.unary_unary_rpc_method_handler
        wire = state_pb2
        encode = [each.SerializeToString for each in (GetResponse, ListResponse, BatchResponse)]
        handlers: dict[str, Any] = {
            "Save": whole(self._counted(self.save), None, SaveResponse.SerializeToString),
            "Get": whole(self._counted(self.get), wire.GetRequest.FromString, encode[0]),
            "List": whole(self._counted(self.list), wire.ListRequest.FromString, encode[1]),
            "Delete": whole(self._counted(self.delete), None, DeleteResponse.SerializeToString),
            "Batch": whole(self._counted(self.batch), None, encode[2]),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch, wire.WatchRequest.FromString, None),
            "OpenStateStream": grpc.stream_stream_rpc_method_handler(self.open_stream, None, None),
            "AcquireLease": whole(
                self._counted(self.acquire_lease),
                wire.AcquireLeaseRequest.FromString,
                wire.AcquireLeaseResponse.SerializeToString,
            ),
            "RenewLease": whole(
                self._counted(self.renew_lease),
                wire.RenewLeaseRequest.FromString,
                wire.RenewLeaseResponse.SerializeToString,
            ),
            "ReleaseLease": whole(
                self._counted(self.release_lease),
                wire.ReleaseLeaseRequest.FromString,
                wire.ReleaseLeaseResponse.SerializeToString,
            ),
            "ListLeases": whole(
                self._counted(self.list_leases),
                wire.ListLeasesRequest.FromString,
                wire.ListLeasesResponse.SerializeToString,
            ),
            "Touch": whole(
                self._counted(self.touch), wire.TouchRequest.FromString, wire.TouchResponse.SerializeToString
            ),
            "GetStateStats": whole(
                self.get_stats, wire.GetStateStatsRequest.FromString, wire.GetStateStatsResponse.SerializeToString
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))

    async def drain(self, seconds: float) -> None:
        """Waits for submitted writes and for streams to send their answers, up to `seconds`; then ends the streams."""
        deadline = asyncio.get_running_loop().time() + seconds
        await self._store.drain(seconds)
        flushes = [asyncio.ensure_future(connection.flushed()) for connection in self._connections]
        if flushes:
            _, late = await asyncio.wait(flushes, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
            for flush in late:
                flush.cancel()
        for ended in self._ending:
            if not ended.done():
                ended.set_exception(stopping())

    async def save(self, request: bytes, context: Context) -> Any:
        """See state.proto."""
        check_published(request, ())
        put = to_put(_parse(SaveRequest, request), self._max_record_bytes, principal())
        revision = await self._store.execute(put, context.peer())
        return SaveResponse(revision=revision)

    async def get(self, request: state_pb2.GetRequest, context: Context) -> Any:
        """See state.proto."""
        read = to_read(request)
        return fill_got(GetResponse(), found(read, await self._store.get(read.kind, read.id, context.peer())))

    async def list(self, request: state_pb2.ListRequest, context: Context) -> Any:
        """See state.proto."""
        query = ListQuery(request)
        page = await self._store.page(query.kind, query.filter, query.after, query.limit, context.peer())
        return query.answer(page, ListResponse())

    async def delete(self, request: bytes, context: Context) -> Any:
        """See state.proto."""
        check_published(request, ())
        drop = to_drop(_parse(DeleteRequest, request), self._max_record_bytes, principal())
        return DeleteResponse(**to_deleted(await self._store.execute(drop, context.peer())))

    async def batch(self, request: bytes, context: Context) -> Any:
        """See state.proto."""
        if parts_of(request, _OPERATIONS, MAX_BATCH_OPERATIONS) > MAX_BATCH_OPERATIONS:
            raise invalid_record("operations", f"has more than {MAX_BATCH_OPERATIONS} entries")
        check_published(request, *((*_OPERATIONS, number) for number in WRITES_OF_BATCH))
        batch = _parse(BatchRequest, request)
        future: asyncio.Future[tuple[Operations, Any]] = asyncio.get_running_loop().create_future()

        def finished(operations: Operations, outcomes: Any) -> None:
            if not future.done():
                future.set_result((operations, outcomes))

        await start_batch(self._store, batch, self._max_record_bytes, finished, context.peer(), principal())
        operations, outcomes = await future
        if isinstance(outcomes, StateError):
            raise outcomes
        return await to_response(operations, outcomes)

    async def watch(self, request: state_pb2.WatchRequest, context: Context) -> None:
        """See state.proto."""
        filter, after = to_watch_filter(request)
        await context.send_initial_metadata(())
        one_at_a_time = asyncio.Lock()
        asking: set[asyncio.Task[None]] = set()
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def write(frame: bytes) -> None:
            async with one_at_a_time:
                await context.write(frame)

        async def forward() -> None:
            async with aclosing(self._store.watch(filter, after)) as events:
                async for event in events:
                    await write(to_frame(event))

        def ask(move: move_pb2.Move) -> None:
            asking.add(asyncio.ensure_future(write(state_pb2.WatchResponse(move=move).SerializeToString())))

        forwarding = asyncio.ensure_future(forward())
        try:
            with self._moving.stream(context, ask, ended):
                await asyncio.wait({forwarding, ended}, return_when=asyncio.FIRST_COMPLETED)
            (forwarding if forwarding.done() else ended).result()
        finally:
            ended.cancel()
            for task in (forwarding, *asking):
                task.cancel()
            await asyncio.wait({forwarding, *asking})

    async def open_stream(self, _: object, context: Context) -> None:
        """See state.proto. The initial metadata tells the client that the stream is accepted."""
        await context.send_initial_metadata(())
        connection = StateConnection(self._store, context.write, self._max_record_bytes)

        async def run() -> None:
            while (raw := await context.read()) is not grpc.aio.EOF:
                await connection.take(raw)
            await connection.finish()

        reader = asyncio.ensure_future(run())
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connections.add(connection)
        self._ending.add(ended)
        try:
            with self._moving.stream(context, connection.ask_to_move, ended):
                await asyncio.wait({reader, ended}, return_when=asyncio.FIRST_COMPLETED)
            (reader if reader.done() else ended).result()
        finally:
            self._connections.discard(connection)
            self._ending.discard(ended)
            reader.cancel()
            ended.cancel()
            connection.close()

    async def acquire_lease(
        self, request: state_pb2.AcquireLeaseRequest, context: Context
    ) -> state_pb2.AcquireLeaseResponse:
        """See state.proto. A call that ends while it waits is cancelled by gRPC."""
        return await Acquisition(request, self._max_record_bytes).take(self._store)

    async def renew_lease(self, request: state_pb2.RenewLeaseRequest, context: Context) -> state_pb2.RenewLeaseResponse:
        """See state.proto."""
        return await leases.renew(self._store, request)

    async def release_lease(
        self, request: state_pb2.ReleaseLeaseRequest, context: Context
    ) -> state_pb2.ReleaseLeaseResponse:
        """See state.proto."""
        return await leases.release(self._store, request)

    async def list_leases(self, request: state_pb2.ListLeasesRequest, context: Context) -> state_pb2.ListLeasesResponse:
        """See state.proto."""
        return await leases.list_leases(self._store, request)

    async def touch(self, request: state_pb2.TouchRequest, context: Context) -> state_pb2.TouchResponse:
        """See state.proto."""
        touch = leases.to_touch(request, to_kind(request.kind))
        return leases.to_touched(touch, await self._store.execute(touch, context.peer()))

    async def get_stats(
        self, request: state_pb2.GetStateStatsRequest, context: Context
    ) -> state_pb2.GetStateStatsResponse:
        """See state.proto."""
        holdings, counts = self._store.engine.holdings, self._store.counts
        answer = state_pb2.GetStateStatsResponse(
            revision=holdings.revision,
            oldest_revision=holdings.oldest,
            records={kind.label: count for kind, count in holdings.records.items()},
            saves=counts.saves,
            gets=counts.gets,
            lists=counts.lists,
            deletes=counts.deletes,
            commits=counts.commits,
            watchers=len(self._store.watchers),
            connections=self.connections,
            engine=self._store.engine.name,
            version=__version__,
            leases_acquired=counts.leases_acquired,
            lease_renewals=counts.lease_renewals,
            expired=counts.expired,
            ended_with_lease=counts.ended_with_lease,
            lease_waiters=self._store.leases.waiting,
        )
        answer.started_at.CopyFrom(stamp_of(self._started_at))
        if self._store.relay is not None:
            answer.outbox.CopyFrom(await to_outbox(self._store.engine.outbox, self._store.relay))
        return answer

    def _counted(self, call: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
        async def counted(request: Any, context: Context) -> Any:
            try:
                return await call(request, context)
            except TrunklineError as error:
                self._store.counts.errors[error.error_code] += 1
                raise

        return counted


def _parse(kind: Any, request: bytes) -> Any:
    try:
        return kind.FromString(request)
    except DecodeError as error:
        raise invalid_record("request", f"is no {kind.DESCRIPTOR.name}") from error
