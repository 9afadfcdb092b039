"""BusServicer: the calls of trunkline.v1.BusService, each check, call, translate, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from trunkline.errors import BusDisconnectedError
from trunkline.v1 import bus_pb2, inspection_pb2
from trunkline.wire.writer import FlushBatch
from trunklined.access.gate import closed_gate
from trunklined.admission import parse
from trunklined.bus.broker import Broker
from trunklined.bus.wire.connection import BusConnection
from trunklined.bus.wire.durable_calls import Call, DurableCalls
from trunklined.bus.wire.inspection import explaining, lists, stuck, tracing
from trunklined.bus.wire.inspection.questions import Questions
from trunklined.bus.wire.inspection.tailing import Tail
from trunklined.bus.wire.publishing import Publisher
from trunklined.bus.wire.requesting import Requester
from trunklined.bus.wire.responding import Answers
from trunklined.bus.wire.streams import PublishStream, Stream, SubscribeStream
from trunklined.bus.wire.subscribing import start_of
from trunklined.bus.wire.task_calls import TaskCalls
from trunklined.bus.wire.translation import PassthroughRespondRequest, parse_publish
from trunklined.rpc.identity import is_from_replica, peer_of
from trunklined.rpc.moving import Moving

SERVICE_NAME: Final = "trunkline.v1.BusService"

Context = grpc.aio.ServicerContext[Any, Any]


def _serialize(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def _stopping() -> BusDisconnectedError:
    return BusDisconnectedError("the bus is shutting down")


class BusServicer:
    """Translates between the wire and the broker.

    Args:
        broker: the domain.
        max_message_bytes: limit of one encoded message.
        stored_patterns: channels of which everything is stored, unless the publisher says otherwise.
        started_at: UNIX time in seconds, for GetStats.
        moving: who asks its streams to go elsewhere. None: nobody does.
    """

    def __init__(
        self,
        broker: Broker,
        max_message_bytes: int,
        stored_patterns: Sequence[str],
        started_at: float,
        moving: Moving | None = None,
    ) -> None:
        self.address = ""
        """Of several replicas: where the others reach this one."""
        self._broker = broker
        self._stored_patterns = stored_patterns
        self._questions = Questions(
            broker,
            {
                lists.SUBSCRIPTIONS: partial(lists.own_subscriptions, broker),
                lists.FIGURES: self._own_figures,
                explaining.EXPLAIN: partial(explaining.own_part, broker),
                stuck.STUCK: lambda raw: stuck.own_part(broker, self._connections, raw),
                tracing.TRACE: partial(tracing.own_part, broker),
            },
        )
        self._moving = moving or Moving()
        self._publisher = Publisher(broker, max_message_bytes, stored_patterns)
        self._requester = Requester(broker, max_message_bytes)
        self._answers = Answers(broker, max_message_bytes)
        self._calls = DurableCalls(broker)
        self._task_calls = TaskCalls(broker, self._publisher)
        self._started_at = started_at
        self._streams: dict[asyncio.Future[None], Stream] = {}
        """The open streams, by what ends each from here."""
        self._tails: set[asyncio.Future[None]] = set()
        """The same of those on which somebody only looks."""
        self._readers: set[asyncio.Future[None]] = set()
        """The tasks that read them, until they are half-closed."""
        self._drains = False
        self._connections: set[BusConnection] = set()
        self._flush_batch = FlushBatch()

    def unary_calls(self) -> dict[str, Call]:
        """Returns the calls of people and tools, by name: each takes an encoded request and a context, which it does
        not use, and returns the answer."""
        return {
            "ListSubscriptions": self.list_subscriptions,
            "GetStats": self.get_stats,
            "Explain": self.explain,
            "Trace": self.trace,
            "Stuck": self.stuck,
            **self._calls.by_name(),
            **self._task_calls.by_name(),
            "Settle": self.settle,
            "Respond": self.respond,
            "Cancel": self.cancel,
        }

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the service to a server. Requests are taken encoded, so that what cannot be read is refused by us."""
        unary = grpc.unary_unary_rpc_method_handler
        stream = grpc.stream_stream_rpc_method_handler
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Publish": unary(self.publish, None, _serialize),
            "PublishStream": stream(self.publish_stream),
            "Subscribe": stream(self.subscribe),
            "Request": unary(self.request, None, None),
            "RequestStream": grpc.unary_stream_rpc_method_handler(self.request_stream),
            "OpenStream": stream(self.open_stream),
            "Tail": grpc.unary_stream_rpc_method_handler(self.tail, None, None),
            **{name: unary(call, None, _serialize) for name, call in self.unary_calls().items()},
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))

    def accept(
        self,
        peer: str,
        write: Callable[[bytes], Coroutine[Any, Any, None]],
        connection: type[BusConnection] = BusConnection,
    ) -> BusConnection:
        """Makes the service's end of an OpenStream stream, for any transport.

        Args:
            peer: who the client is, for people.
            write: writes one encoded OpenStreamResponse to the stream.
            connection: its class.
        """
        parts = self._broker, self._publisher, self._requester, self._answers, self._flush_batch
        return connection(*parts, peer, write)

    async def drain(self, seconds: float) -> None:
        """Waits for the replies to pending requests, then for what was taken to be durable and answered; `seconds` at
        the most. Then ends the streams.

        Until the last reply has come, streams are read, a Publish that brings a reply is taken, and so are acks; new
        requests, and all else that is published by unary calls, are refused.
        """
        self._drains = True
        self._broker.begin_drain(_stopping)
        with suppress(TimeoutError):  # what is left had its time
            async with asyncio.timeout(seconds):
                await self._broker.requests_settled()
                for reader in self._readers:
                    reader.cancel()
                await self._broker.journal.commits.settled()
                await asyncio.gather(*(stream.flushed() for stream in self._streams.values()))
        self._broker.fail_requests(_stopping())
        for ended in (*self._streams, *self._tails):
            if not ended.done():
                ended.set_exception(_stopping())

    async def publish(self, raw: bytes, context: Context) -> Any:
        """See bus.proto."""
        return await self._publish(raw, context, *await parse_publish(raw))

    async def _publish(self, raw: bytes, _: Context, request: Any, encoded: Sequence[bytes]) -> Message | bytes:
        """Publishes what a request asks for, which was parsed."""
        if self._drains and not any(self._broker.awaits(message.correlation_id) for message in request.messages):
            raise _stopping()
        return await (await self._publisher.receipts(request, encoded))

    async def publish_stream(self, _: object, context: Context) -> None:
        """See bus.proto."""
        await self._run(context, PublishStream(self._publisher, context.write), new_end())

    async def subscribe(self, _: object, context: Context) -> None:
        """See bus.proto."""
        first = await context.read()
        raw = b"" if first is grpc.aio.EOF else first
        frame = parse(bus_pb2.SubscribeRequest, raw)
        if (gate := closed_gate()) is not None:
            gate.check_message(frame, stays=True)
        await self._subscribe(raw, start_of(frame), context)

    async def _subscribe(self, _: bytes, start: bus_pb2.SubscribeRequest.Start, context: Context) -> None:
        """Serves a subscription that begins with a frame, which was parsed."""
        ended = new_end()
        await self._run(context, self._new_subscription(context, start, ended), ended)

    async def request(self, raw: bytes, context: Context) -> bytes:
        """See bus.proto."""
        request = parse(bus_pb2.RequestRequest, raw)
        return await self._requester.response(request, request.message.SerializeToString(), context.time_remaining())

    async def request_stream(self, raw: bytes, context: Context) -> None:
        """See bus.proto."""
        request = parse(bus_pb2.RequestStreamRequest, raw)
        encoded = request.request.message.SerializeToString()
        await self._requester.stream(request, encoded, context.time_remaining(), context.write)

    async def respond(self, raw: bytes, _: Context) -> bus_pb2.RespondResponse:
        """See bus.proto."""
        request = parse(bus_pb2.RespondRequest, raw)
        id = request.subscription_id
        responder = self._broker.responder(id) if id else None
        pending = self._answers.take(request, PassthroughRespondRequest.FromString(raw).events, responder)
        return bus_pb2.RespondResponse(credit=pending.credit if pending.on_events is not None else None)

    async def cancel(self, raw: bytes, _: Context) -> bus_pb2.CancelResponse:
        """See bus.proto."""
        request = parse(bus_pb2.CancelRequest, raw)
        id, by, reason = request.request_id, request.by, request.reason
        if not self._broker.awaits(id) and await self._broker.peers.cancel(id, by, reason):
            return bus_pb2.CancelResponse()
        self._broker.find_request(id).cancel(by, reason)
        return bus_pb2.CancelResponse()

    async def open_stream(self, _: object, context: Context) -> None:
        """See bus.proto. The initial metadata tells the client that the line is up."""
        await context.send_initial_metadata(())
        connection = self.accept(peer_of(context), context.write)
        self._connections.add(connection)
        try:
            await self._run(context, connection, new_end())
        finally:
            self._connections.discard(connection)

    async def settle(self, raw: bytes, context: Context) -> Message:
        """See bus.proto."""
        if self._drains and not self._broker.has_requests:
            raise _stopping()
        return await self._calls.settle(raw, context)

    async def list_subscriptions(self, raw: bytes, context: Context) -> bus_pb2.ListSubscriptionsResponse:
        """See bus.proto."""
        request = parse(bus_pb2.ListSubscriptionsRequest, raw)
        return await lists.list_subscriptions(self._broker, self._questions, request)

    async def get_stats(self, raw: bytes, _: Context) -> bus_pb2.GetStatsResponse:
        """See bus.proto."""
        parse(bus_pb2.GetStatsRequest, raw)
        stats = self.own_stats()
        stats.others.extend(await lists.stats_of_others(self._questions))
        return stats

    async def _own_figures(self, _: bytes) -> bytes:
        return self.own_stats().SerializeToString()

    async def explain(self, raw: bytes, _: Context) -> inspection_pb2.ExplainResponse:
        """See bus.proto."""
        request = parse(inspection_pb2.ExplainRequest, raw)
        return await explaining.explain(self._broker, self._questions, self._stored_patterns, request)

    async def trace(self, raw: bytes, _: Context) -> inspection_pb2.TraceResponse:
        """See bus.proto."""
        return await tracing.trace(self._questions, parse(inspection_pb2.TraceRequest, raw))

    async def stuck(self, raw: bytes, _: Context) -> inspection_pb2.StuckResponse:
        """See bus.proto."""
        return await stuck.stuck(self._questions, parse(inspection_pb2.StuckRequest, raw))

    async def tail(self, raw: bytes, context: Context) -> None:
        """See bus.proto."""
        frames, ended = self.tail_frames(raw, peer_of(context)), new_end()

        async def pass_on() -> None:
            async for frame in frames:
                await context.write(frame)

        running = asyncio.ensure_future(pass_on())
        self._tails.add(ended)
        try:
            await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
            await (running if running.done() else ended)
        finally:
            self._tails.discard(ended)
            running.cancel()
            ended.cancel()
            await asyncio.wait([running])
            await frames.aclose()

    def tail_frames(self, raw: bytes, peer: str) -> AsyncGenerator[bytes, None]:
        """Returns the encoded answers of a tail, for any transport.

        Args:
            raw: the encoded TailRequest.
            peer: who looks, for people.
        """
        return Tail(self._broker, parse(inspection_pb2.TailRequest, raw), peer).frames()

    def own_stats(self) -> bus_pb2.GetStatsResponse:
        """Returns the figures of this replica alone."""
        return lists.to_stats(self._broker, self._started_at, len(self._connections), self.address)

    def _new_subscription(
        self, context: Context, start: bus_pb2.SubscribeRequest.Start, ended: asyncio.Future[None]
    ) -> SubscribeStream:
        return SubscribeStream(self._broker, self._flush_batch, context, start, ended, self._answers)

    async def _run(self, context: Context, stream: Stream, ended: asyncio.Future[None]) -> None:
        """Gives a stream its frames until it is finished, `ended` says that it is over, or the client is gone; then
        closes it. While the bus drains, a stream that is not read any more waits for `ended`."""

        async def read() -> None:
            while (raw := await context.read()) is not grpc.aio.EOF:
                await stream.take(raw)
            self._readers.discard(reader)
            await stream.finish()

        reader = asyncio.ensure_future(read())
        self._readers.add(reader)
        self._streams[ended] = stream
        try:
            # Streams of other replicas follow the journal, which has no age. At a stop they are asked too: that reaches
            # the clients whose they are.
            with self._moving.stream(context, stream.ask_to_move, ended, ages=not is_from_replica()):
                await asyncio.wait({reader, ended}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done() and not reader.cancelled():
                reader.result()
            else:
                await ended
        finally:
            del self._streams[ended]
            self._readers.discard(reader)
            reader.cancel()
            ended.cancel()
            stream.close()


def new_end() -> asyncio.Future[None]:
    """Returns what a stream ends by, from here."""
    return asyncio.get_running_loop().create_future()
