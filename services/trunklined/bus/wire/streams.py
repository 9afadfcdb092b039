"""The streaming calls for people and other languages: what each does with the frames of one stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from trunkline.errors import TrunklineError
from trunkline.limits import FRAME_MESSAGES, MAX_ANSWER_BYTES, MAX_FRAME_BYTES
from trunkline.v1 import bus_pb2, move_pb2
from trunkline.wire.writer import FlushBatch, StreamWriter
from trunklined.access.gate import closed_gate
from trunklined.admission import invalid_message, parse
from trunklined.bus.broker import Broker
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.queue import Subscriber
from trunklined.bus.wire.publishing import Publisher
from trunklined.bus.wire.responding import Answers, refused_response
from trunklined.bus.wire.subscribing import apply_frame, next_response, open_subscription, subscriber_of
from trunklined.bus.wire.translation import (
    PassthroughPublishStreamRequest,
    PassthroughSubscribeRequest,
    parse_large_frame,
    parse_twice,
)
from trunklined.rpc.errors import to_item
from trunklined.rpc.identity import peer_of
from trunklined.rpc.long_work import check_lists


class Stream(Protocol):
    """What reads a stream hands it the frames, and closes it in the end, however that comes."""

    @property
    def uses_journal(self) -> bool:
        """Whether something that is open on it is the journal's."""

    async def take(self, raw: bytes) -> None:
        """Takes one encoded frame; waits while the client does not read its answers.

        Raises:
            TrunklineError: the stream ends with it.
        """

    async def finish(self) -> None:
        """Waits until the stream may end: the client has half-closed."""

    async def flushed(self) -> None:
        """Waits until everything that can be sent is written."""

    def ask_to_move(self, move: move_pb2.Move) -> None:
        """Asks the client to go on elsewhere."""

    def close(self) -> None:
        """Ends everything that the stream has open; idempotent."""


class PublishStream:
    """Answers each PublishStreamRequest with its receipts or its error, in the order in which they came.

    Args:
        publisher: takes the messages.
        write: writes one encoded answer to the stream.
    """

    def __init__(self, publisher: Publisher, write: Callable[[bytes], Coroutine[Any, Any, None]]) -> None:
        self._publisher = publisher
        self._writer = StreamWriter(write, join=False)
        self._answers: deque[asyncio.Future[bus_pb2.PublishResponse]] = deque()
        """Of frames that wait for the disk, and of those behind them."""
        self._emptied = asyncio.Event()
        self._gate = closed_gate()

    @property
    def uses_journal(self) -> bool:
        """Whether a frame waits for the disk."""
        return bool(self._answers)

    async def take(self, raw: bytes) -> None:
        """Publishes one frame; an error is the answer to that frame alone."""
        request, encoded = await _parse_frame(raw)
        try:
            if self._gate is not None:
                self._gate.publish(request.channel, encoded, stored=self._publisher.is_stored(request))
        except TrunklineError as error:
            self._refuse(error)
        else:
            await self._publish(raw, request, encoded)
        await self._writer.room(MAX_FRAME_BYTES)

    async def _publish(self, _: bytes, request: Any, encoded: Sequence[bytes]) -> None:
        """Publishes what a frame asks for, which was parsed."""
        try:
            answer = await self._publisher.receipts(request, encoded)
        except TrunklineError as error:
            self._refuse(error)
            return
        self._answers.append(answer)
        if answer.done():
            self._send_settled()
        else:
            answer.add_done_callback(self._send_settled)

    def _refuse(self, error: TrunklineError) -> None:
        """Answers a frame with an error, behind the answers to those before it."""
        answer: asyncio.Future[bus_pb2.PublishResponse] = asyncio.get_running_loop().create_future()
        answer.set_exception(error)
        self._answers.append(answer)
        self._send_settled()

    async def finish(self) -> None:
        """As `flushed`."""
        await self.flushed()

    async def flushed(self) -> None:
        """Waits until every frame is answered, and the answers are written."""
        while self._answers:
            self._emptied.clear()
            await self._emptied.wait()
        await self._writer.flushed()

    def ask_to_move(self, move: move_pb2.Move) -> None:
        """Asks the client to go on elsewhere."""
        self._writer.put(bus_pb2.PublishStreamResponse(move=move).SerializeToString())

    def close(self) -> None:
        """Sends nothing more; idempotent."""
        self._writer.close()

    def _send_settled(self, _: object = None) -> None:
        while self._answers and self._answers[0].done():
            settled = self._answers.popleft()
            error = settled.exception()
            if error is None:
                response = bus_pb2.PublishStreamResponse(published=settled.result())
            else:
                assert isinstance(error, TrunklineError)
                response = bus_pb2.PublishStreamResponse(error=to_item(error))
            self._writer.put(response.SerializeToString())
        if not self._answers:
            self._emptied.set()


async def _parse_frame(raw: bytes) -> tuple[Any, Sequence[bytes]]:
    """Returns what a PublishStreamRequest asks for, and its messages as they came."""
    if len(raw) > MAX_ANSWER_BYTES:
        check_lists(raw, bus_pb2.PublishStreamRequest, invalid_message)
        large = await parse_large_frame(PassthroughPublishStreamRequest, bus_pb2.PublishStreamRequest, raw)
        if large is not None:
            return large[1:]
    frame, passing = parse_twice(bus_pb2.PublishStreamRequest, PassthroughPublishStreamRequest, raw)
    return frame.publish, passing.publish.messages


class SubscribeStream:
    """Sends one subscription's messages, and takes its credit and acks.

    Args:
        broker: what is subscribed to.
        turn: shared by all streams of the service: what one takes, others send.
        context: of the call; the messages are written to it.
        start: the first frame's content.
        ended: gets the error with which the stream ends when the subscription is no more.
        answers: takes what it says of requests.

    Raises:
        As `open_subscription`.
    """

    def __init__(
        self,
        broker: Broker,
        flush_batch: FlushBatch,
        context: Any,
        start: bus_pb2.SubscribeRequest.Start,
        ended: asyncio.Future[None],
        answers: Answers,
    ) -> None:
        self._broker = broker
        self._answers = answers
        self._ended = ended
        self._writer = StreamWriter(context.write, self._gather, join=False, flush_batch=flush_batch)
        self._subscriber = subscriber_of(start, 0, peer_of(context), self._wake, self._end, self._tell)
        self._subscription = open_subscription(broker, start, self._subscriber, self._send_started)

    @property
    def uses_journal(self) -> bool:
        """Whether the subscription is durable."""
        return isinstance(self._subscription.queue, DurableSubscription)

    async def take(self, raw: bytes) -> None:
        """Applies one frame behind the first, and answers with what could not be settled."""
        frame = parse(bus_pb2.SubscribeRequest, raw)
        if (gate := closed_gate()) is not None:
            gate.check_message(frame)
        responder = self._subscriber.responder
        if frame.HasField("respond") and responder is not None:
            passing = PassthroughSubscribeRequest.FromString(raw)
            try:
                self._answers.take(frame.respond, passing.respond.events, responder)
            except TrunklineError as error:
                self._tell(refused_response(frame.respond.request_id, error))
            return
        for refused in apply_frame(self._subscriber, frame):
            self._writer.put(bus_pb2.SubscribeResponse(refused=refused).SerializeToString())

    async def finish(self) -> None:
        """Goes on until the call is cancelled: a caller that half-closes keeps its stream."""
        await asyncio.Event().wait()

    async def flushed(self) -> None:
        """Waits until what its credit allows is written."""
        await self._writer.flushed()

    def ask_to_move(self, move: move_pb2.Move) -> None:
        """Asks the client to go on elsewhere."""
        self._tell(bus_pb2.SubscribeResponse(move=move))

    def close(self) -> None:
        """Ends the subscription; idempotent."""
        self._subscription.close()
        self._writer.close()

    def _gather(self, _: int) -> list[bytes]:
        response = next_response(self._broker, self._subscriber, FRAME_MESSAGES)
        return [b"".join(response.parts)] if response is not None else []

    def _wake(self, _: Subscriber) -> None:
        self._writer.schedule()

    def _end(self, _: Subscriber, error: TrunklineError) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def _tell(self, frame: bus_pb2.SubscribeResponse) -> None:
        self._writer.put(frame.SerializeToString())

    def _send_started(self, begun: bus_pb2.SubscribeResponse.Started) -> None:
        self._writer.put(bus_pb2.SubscribeResponse(started=begun).SerializeToString())
