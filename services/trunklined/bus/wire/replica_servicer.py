"""ReplicaServicer: BusService on one of several replicas, of which one owns the journal.

Calls about the journal go to its owner, whole and with their deadlines; all else is served here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

from google.protobuf.message import Message

from trunkline.errors import BusDisconnectedError, TrunklineError
from trunkline.limits import MAX_FRAME_BYTES
from trunkline.v1 import bus_pb2
from trunklined.bus.broker import Broker
from trunklined.bus.wire.durable_calls import Call
from trunklined.bus.wire.journal_route import JournalRoute, OwnerStream
from trunklined.bus.wire.publishing import Publisher
from trunklined.bus.wire.replica_connection import ReplicaConnection
from trunklined.bus.wire.servicer import SERVICE_NAME, BusServicer, Context, new_end
from trunklined.bus.wire.streams import PublishStream
from trunklined.forwarding.forwarder import Forwarder
from trunklined.rpc.identity import is_from_replica, peer_of
from trunklined.rpc.moving import Moving

JOURNAL_FIGURES: Final = (
    *("stored", "duplicates", "acked", "redelivered", "dead_lettered", "lost_to_limits", "durable_subscriptions"),
    *("dead_letters", "journal_messages", "journal_bytes", "journal_file_bytes", "held_back", "tasks"),
)
"""What only the owner knows."""


def _path(name: str) -> str:
    return f"/{SERVICE_NAME}/{name}"


class ReplicaServicer(BusServicer):
    """See the module, and `BusServicer`.

    Args:
        route: the way to the journal.
    """

    def __init__(
        self,
        broker: Broker,
        max_message_bytes: int,
        stored_patterns: Sequence[str],
        started_at: float,
        moving: Moving,
        route: JournalRoute,
    ) -> None:
        super().__init__(broker, max_message_bytes, stored_patterns, started_at, moving)
        self._route = route
        route.ownership.on_lost = self._journal_lost

    def unary_calls(self) -> dict[str, Call]:
        calls = super().unary_calls()
        of_the_journal = ("Settle", *self._calls.by_name(), *self._task_calls.by_name())
        return {**calls, **{name: self._at_owner(name, calls[name]) for name in of_the_journal}}

    def _at_owner(self, name: str, call: Call) -> Any:
        async def serve(raw: bytes, context: Context) -> Message | bytes:
            forwarder = await self._find(context)
            if forwarder is not None:
                return await forwarder.unary(_path(name), raw, context)
            return await self._route.run(call(raw, context))

        return serve

    async def _find(self, context: Context) -> Forwarder | None:
        """Returns the way to the journal's owner; None: it is this replica."""
        if not is_from_replica():
            return await self._route.find(context.time_remaining())
        if not await self._route.opens_here(context.time_remaining()):  # two that err could send it to and fro
            raise BusDisconnectedError("this replica does not own the journal", details={"why": "not owner"})
        return None

    def _journal_lost(self, error: TrunklineError) -> None:
        """Ends the streams on which something of the journal is open."""
        for ended, stream in self._streams.items():
            if stream.uses_journal and not ended.done():
                ended.set_exception(error)

    async def drain(self, seconds: float) -> None:
        """See `BusServicer.drain`; what the owner was handed is waited for too."""
        began = asyncio.get_running_loop().time()
        self._broker.journal.stop_handing_out()
        with suppress(TimeoutError):  # what is left had its time
            async with asyncio.timeout(seconds):
                for connection in self._connections:
                    if isinstance(connection, ReplicaConnection):
                        await connection.answered()
        left = seconds - (asyncio.get_running_loop().time() - began)
        await super().drain(max(0.0, left))
        await self._route.drain(max(0.0, left))

    async def _publish(self, raw: bytes, context: Context, request: Any, encoded: Sequence[bytes]) -> Message | bytes:
        if not self._publisher.is_stored(request):
            return await super()._publish(raw, context, request, encoded)
        forwarder = await self._find(context)
        if forwarder is not None:
            return await forwarder.unary(_path("Publish"), raw, context)
        return await self._route.run(super()._publish(raw, context, request, encoded))

    async def _subscribe(self, raw: bytes, start: bus_pb2.SubscribeRequest.Start, context: Context) -> None:
        forwarder = await self._find(context) if start.durable else None
        if forwarder is None:
            await super()._subscribe(raw, start, context)
        else:
            begun: Any = _BegunContext(context, raw)
            await forwarder.stream_stream(_path("Subscribe"), begun)

    async def publish_stream(self, _: object, context: Context) -> None:
        """See bus.proto."""
        ended = new_end()
        await self._run(context, ReplicaPublishStream(self._publisher, context, self._find, _ender(ended)), ended)

    async def open_stream(self, _: object, context: Context) -> None:
        """See bus.proto."""
        if is_from_replica():
            await self._find(context)
        await context.send_initial_metadata(())
        ended = new_end()
        parts = self._broker, self._publisher, self._requester, self._answers, self._flush_batch
        connection = ReplicaConnection(
            *parts, peer_of(context), context.write, route=self._route, context=context, end=_ender(ended)
        )
        self._connections.add(connection)
        try:
            await self._run(context, connection, ended)
        finally:
            self._connections.discard(connection)

    async def get_stats(self, raw: bytes, context: Context) -> bus_pb2.GetStatsResponse:
        """See bus.proto. The journal's figures are its owner's, as far as it says them in time."""
        stats = await super().get_stats(raw, context)
        if not self._route.is_here:
            for each in stats.others:
                if each.address == stats.journal_owner:
                    for name in JOURNAL_FIGURES:
                        setattr(stats, name, getattr(each, name))
        return stats

    def own_stats(self) -> bus_pb2.GetStatsResponse:
        stats = super().own_stats()
        stats.journal_owner = self._route.ownership.owner or ""
        stats.journal_takeovers = self._route.ownership.takeovers
        return stats


class ReplicaPublishStream(PublishStream):
    """A PublishStream: served here until something is to be stored elsewhere, and by the owner from then on, so that
    answers keep their order.

    Args:
        publisher: takes the messages.
        context: of the call.
        find: finds the journal's owner.
        end: ends the client's stream with an error.
    """

    def __init__(
        self,
        publisher: Publisher,
        context: Context,
        find: Callable[[Context], Coroutine[Any, Any, Forwarder | None]],
        end: Callable[[TrunklineError], None],
    ) -> None:
        super().__init__(publisher, context.write)
        self._context = context
        self._find = find
        self._end = end
        self._stream: OwnerStream | None = None
        self._unanswered = 0
        """Frames that the owner has not answered."""

    @property
    def uses_journal(self) -> bool:
        """Whether a frame waits for the disk, here or elsewhere."""
        return super().uses_journal or self._unanswered > 0

    async def _publish(self, raw: bytes, request: Any, encoded: Sequence[bytes]) -> None:
        if self._stream is None and self._publisher.is_stored(request):
            try:
                forwarder = await self._find(self._context)
                if forwarder is not None:
                    await super().flushed()
                    call = await forwarder.open(_path("PublishStream"), self._context)
                    self._stream = OwnerStream(call, self._came, self._lose, join=False)
            except TrunklineError as error:
                self._refuse(error)
                return
        if self._stream is None:
            await super()._publish(raw, request, encoded)
            return
        self._unanswered += 1
        self._stream.put(raw)
        await self._stream.room(MAX_FRAME_BYTES)

    async def flushed(self) -> None:
        """See `PublishStream.flushed`."""
        while self._unanswered:
            self._emptied.clear()
            await self._emptied.wait()
        await super().flushed()

    def close(self) -> None:
        super().close()
        if self._stream is not None:
            self._stream.close()

    async def _came(self, raw: bytes) -> None:
        is_answer = bus_pb2.PublishStreamResponse.FromString(raw).WhichOneof("frame") != "move"
        self._unanswered -= is_answer
        self._writer.put(raw)
        self._emptied.set()
        await self._writer.room(MAX_FRAME_BYTES)

    def _lose(self, error: TrunklineError) -> None:
        self._stream = None
        if self._unanswered:
            self._end(error)


class _BegunContext:
    """The context of a stream whose first frame was read."""

    def __init__(self, context: Context, first: bytes) -> None:
        self._context = context
        self._first: bytes | None = first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def read(self) -> Any:
        """Returns the next frame, or EOF."""
        first, self._first = self._first, None
        return first if first is not None else await self._context.read()


def _ender(ended: asyncio.Future[None]) -> Callable[[TrunklineError], None]:
    def end(error: TrunklineError) -> None:
        if not ended.done():
            ended.set_exception(error)

    return end
