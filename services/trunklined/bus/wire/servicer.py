"""BusServicer: the calls of trunkline.v1.BusService, each check, call, translate, answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from trunkline.errors import BusDisconnectedError, TrunklineError
from trunkline.limits import FRAME_MESSAGES, MAX_FRAME_BYTES
from trunkline.v1 import bus_pb2
from trunkline.wire.writer import Outbox, Turn
from trunklined.bus.broker import Broker
from trunklined.bus.queue import Subscriber
from trunklined.bus.requests import PendingRequest
from trunklined.bus.wire.connection import Connection
from trunklined.bus.wire.durable_calls import Call, DurableCalls
from trunklined.bus.wire.inspection import list_subscriptions, to_stats
from trunklined.bus.wire.publishing import (
    is_stored,
    receipts_of,
    stored_receipts_of,
    to_publication,
    to_stored_publication,
)
from trunklined.bus.wire.requesting import timeout_of, to_request_run
from trunklined.bus.wire.subscribing import apply_frame, fill_next, open_subscription, start_of
from trunklined.bus.wire.translation import (
    OpaquePublishRequest,
    OpaquePublishStreamRequest,
    OpaqueRequestResponse,
    OpaqueSubscribeResponse,
    durability_of,
    parse,
)
from trunklined.rpc.errors import to_item

SERVICE_NAME: Final = "trunkline.v1.BusService"

Context = grpc.aio.ServicerContext[Any, Any]


def _serialize(answer: Message) -> bytes:
    return answer.SerializeToString()


def _stopping() -> BusDisconnectedError:
    return BusDisconnectedError("the bus is shutting down")


class BusServicer:
    """Translates between the wire and the broker.

    Args:
        broker: the domain.
        max_message_bytes: limit of one encoded message.
        stored_patterns: channels of which everything is stored, unless the publisher says otherwise.
        started_at: UNIX time in seconds, for GetStats.
    """

    def __init__(
        self, broker: Broker, max_message_bytes: int, stored_patterns: Sequence[str], started_at: float
    ) -> None:
        self._broker = broker
        self._stored_patterns = stored_patterns
        self._calls = DurableCalls(broker)
        self._max_message_bytes = max_message_bytes
        self._started_at = started_at
        self._streams: set[asyncio.Future[None]] = set()
        self._connections: set[Connection] = set()
        self.turn = Turn()

    def unary_calls(self) -> dict[str, Call]:
        """The calls of people and tools, by name: each takes an encoded request and a context, which it does not use,
        and returns the answer."""
        return {
            "ListSubscriptions": self.list_subscriptions,
            "GetStats": self.get_stats,
            **self._calls.by_name(),
        }

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the service to a server. Requests are taken encoded, so that what cannot be read is refused by us."""
        whole = grpc.unary_unary_rpc_method_handler
        stream = grpc.stream_stream_rpc_method_handler
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Publish": whole(self.publish, None, bus_pb2.PublishResponse.SerializeToString),
            "PublishStream": stream(self.publish_stream),
            "Subscribe": stream(self.subscribe),
            "Request": whole(self.request, None, None),
            "Connect": stream(self.connect),
            **{name: whole(call, None, _serialize) for name, call in self.unary_calls().items()},
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))

    async def drain(self, seconds: float) -> None:
        """Fails pending requests, gives streams the time to send what they have, then ends them."""
        self._broker.fail_requests(_stopping())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._broker.journal.commits.settled(), seconds)
        flushes = [asyncio.ensure_future(connection.flushed()) for connection in self._connections]
        if flushes:
            _, late = await asyncio.wait(flushes, timeout=seconds)
            for flush in late:
                flush.cancel()
        for ended in self._streams:
            if not ended.done():
                ended.set_exception(_stopping())

    async def publish(self, raw: bytes, context: Context) -> bus_pb2.PublishResponse:
        """See bus.proto."""
        answer = self._publish(parse(bus_pb2.PublishRequest, raw), OpaquePublishRequest.FromString(raw))
        return answer if isinstance(answer, bus_pb2.PublishResponse) else await answer

    def _publish(
        self, wanted: bus_pb2.PublishRequest, twin: Any
    ) -> bus_pb2.PublishResponse | asyncio.Future[bus_pb2.PublishResponse]:
        """The receipts; where they wait for the disk, their future."""
        now = self._broker.clock()
        if is_stored(wanted, self._stored_patterns):
            journal = self._broker.journal
            stored = to_stored_publication(wanted, twin.messages, self._max_message_bytes, now, journal.window)
            settled: asyncio.Future[bus_pb2.PublishResponse] = asyncio.get_running_loop().create_future()

            def done(error: TrunklineError | None) -> None:
                if settled.done():
                    return
                if error is None:
                    settled.set_result(stored_receipts_of(stored, durability_of(self._broker)))
                else:
                    settled.set_exception(error)

            self._broker.store(stored, done)
            return settled
        publication = to_publication(wanted, twin.messages, self._max_message_bytes, now)
        self._broker.publish(publication.channel, publication.runs, publication.correlated)
        return receipts_of(publication, now)

    async def publish_stream(self, _: object, context: Context) -> None:
        """See bus.proto."""
        outbox = Outbox(context.write, join=False)
        answers: deque[asyncio.Future[bus_pb2.PublishResponse]] = deque()
        """Of frames that wait for the disk, and of those behind them: the answers go out in order."""
        emptied = asyncio.Event()

        def send(answer: bus_pb2.PublishStreamResponse) -> None:
            outbox.put(answer.SerializeToString())

        def send_settled(_: object = None) -> None:
            while answers and answers[0].done():
                settled = answers.popleft()
                error = settled.exception()
                if error is None:
                    send(bus_pb2.PublishStreamResponse(published=settled.result()))
                else:
                    assert isinstance(error, TrunklineError)
                    send(bus_pb2.PublishStreamResponse(error=to_item(error)))
            if not answers:
                emptied.set()

        async def read() -> bool:
            raw = await context.read()
            if raw is grpc.aio.EOF:
                while answers:
                    emptied.clear()
                    await emptied.wait()
                await outbox.flushed()
                return False
            frame = parse(bus_pb2.PublishStreamRequest, raw)
            twin = OpaquePublishStreamRequest.FromString(raw)
            answer: asyncio.Future[bus_pb2.PublishResponse] = asyncio.get_running_loop().create_future()
            try:
                published = self._publish(frame.publish, twin.publish)
                if isinstance(published, asyncio.Future):
                    answer = published
                else:
                    answer.set_result(published)
            except TrunklineError as error:
                answer.set_exception(error)
            answers.append(answer)
            if answer.done():
                send_settled()
            else:
                answer.add_done_callback(send_settled)
            await outbox.room(MAX_FRAME_BYTES)
            return True

        await self._run_stream(read, outbox.close)

    async def subscribe(self, _: object, context: Context) -> None:
        """See bus.proto."""
        first = await context.read()
        start = start_of(parse(bus_pb2.SubscribeRequest, b"" if first is grpc.aio.EOF else first))
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def gather(_: int) -> list[bytes]:
            response = OpaqueSubscribeResponse()
            taken, _ = fill_next(response, subscriber, FRAME_MESSAGES, self._broker.clock())
            return [response.SerializeToString()] if taken else []

        async def read() -> bool:
            reading = asyncio.ensure_future(context.read())
            try:
                await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    return ended.result()
                frame = reading.result()
                if frame is grpc.aio.EOF:
                    return await ended  # half-closed: it goes on until it is cancelled
            finally:
                reading.cancel()
            for refused in apply_frame(subscriber, parse(bus_pb2.SubscribeRequest, frame)):
                outbox.put(bus_pb2.SubscribeResponse(refused=refused).SerializeToString())
            return True

        def end(_: Subscriber, error: TrunklineError) -> None:
            if not ended.done():
                ended.set_exception(error)

        def send_started(begun: bus_pb2.SubscribeResponse.Started) -> None:
            outbox.put(bus_pb2.SubscribeResponse(started=begun).SerializeToString())

        outbox = Outbox(context.write, gather, join=False, turn=self.turn)
        subscriber = Subscriber(
            0,
            context.peer(),
            start.credit if start.HasField("credit") else None,
            lambda _: outbox.kick(),
            start.observer,
            end,
        )
        subscription = open_subscription(self._broker, start, subscriber, send_started)

        def close() -> None:
            subscription.close()
            outbox.close()
            ended.cancel()

        await self._run_stream(read, close)

    async def request(self, raw: bytes, context: Context) -> bytes:
        """See bus.proto."""
        settled: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def reply(_: PendingRequest, channel: str, message: bytes) -> None:
            if not settled.done():
                settled.set_result(OpaqueRequestResponse(channel=channel, message=message).SerializeToString())

        def fail(_: PendingRequest, error: TrunklineError) -> None:
            if not settled.done():
                settled.set_exception(error)

        wanted = parse(bus_pb2.RequestRequest, raw)
        timeout = timeout_of(wanted.timeout if wanted.HasField("timeout") else None, context.time_remaining())
        run = to_request_run(wanted, wanted.message.SerializeToString(), self._max_message_bytes, self._broker.clock())
        message = wanted.message
        pending = PendingRequest(0, wanted.channel, message.message_id, message.correlation_id, timeout, reply, fail)
        self._broker.request(pending, run)
        try:
            return await settled
        finally:
            pending.cancel()

    async def connect(self, _: object, context: Context) -> None:
        """See bus.proto. The initial metadata tells the client that the line is up."""
        await context.send_initial_metadata(())
        connection = Connection(
            self._broker, self.turn, context.peer(), context.write, self._max_message_bytes, self._stored_patterns
        )

        async def read() -> bool:
            raw = await context.read()
            if raw is grpc.aio.EOF:
                await connection.finish()
                return False
            await connection.take(raw)
            return True

        self._connections.add(connection)
        try:
            await self._run_stream(read, connection.close)
        finally:
            self._connections.discard(connection)

    async def list_subscriptions(self, raw: bytes, context: Context) -> bus_pb2.ListSubscriptionsResponse:
        """See bus.proto."""
        return list_subscriptions(self._broker, parse(bus_pb2.ListSubscriptionsRequest, raw))

    async def get_stats(self, raw: bytes, context: Context) -> bus_pb2.GetStatsResponse:
        """See bus.proto."""
        parse(bus_pb2.GetStatsRequest, raw)
        return to_stats(self._broker, self._started_at, len(self._connections))

    async def _run_stream(self, read: Callable[[], Awaitable[bool]], close: Callable[[], object]) -> None:
        """Reads a stream until `read` says that it is over, the service stops, or the client is gone; then closes."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            while await read():
                pass

        reader = asyncio.ensure_future(run())
        self._streams.add(ended)
        try:
            await asyncio.wait({reader, ended}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
            else:
                ended.result()
        finally:
            self._streams.discard(ended)
            reader.cancel()
            ended.cancel()
            close()
