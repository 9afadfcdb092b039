"""BusConnection: one client's OpenStream stream, everything it does multiplexed on it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final, NoReturn

from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.limits import FRAME_BYTES, FRAME_MESSAGES, MAX_ANSWER_BYTES, MAX_FRAME_BYTES, MAX_FRAME_ITEMS
from trunkline.v1 import bus_pb2, move_pb2
from trunkline.wire.encoding import length_prefix, number_tag, write_varint
from trunkline.wire.writer import FlushBatch, StreamWriter
from trunklined.access.gate import Gate, closed_gate
from trunklined.admission import invalid_message
from trunklined.bus.broker import Broker, Subscription
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.journal.publication import Publication
from trunklined.bus.queue import Client, Subscriber
from trunklined.bus.requests import PendingRequest, Responder
from trunklined.bus.wire.access import needs_of_subscription
from trunklined.bus.wire.publishing import RECEIPT_BYTES, Publisher
from trunklined.bus.wire.requesting import Requester, check_part_credit, credit_of
from trunklined.bus.wire.responding import Answers, refused_response
from trunklined.bus.wire.subscribing import apply_frame, next_response, open_subscription, start_of, subscriber_of
from trunklined.bus.wire.translation import (
    PassthroughClientItem,
    PassthroughOpenStreamRequest,
    PassthroughOpenStreamResponse,
    parse_large_frame,
    parse_twice,
)
from trunklined.rpc.errors import to_item
from trunklined.rpc.long_work import TimeSlice, check_lists, pieces_of, split, too_many

_ITEM: Final = bus_pb2.OpenStreamResponse.ServerItem
_items = length_prefix(bus_pb2.OpenStreamResponse, "items")
_subscription = length_prefix(_ITEM, "subscription")
_ID: Final = number_tag(_ITEM, "id")

_ANSWER_BYTES: Final = 16
"""About the size of an answer's envelope."""


class BusConnection:
    """Takes a client's items in order and sends it what comes of them.

    Args:
        broker: where everything goes.
        publisher: publishes into it.
        requester: requests from it.
        answers: takes what responders say.
        turn: shared by all streams of the service: what one takes, others send.
        peer: who the client is, for people.
        write: writes one encoded OpenStreamResponse to the stream.
    """

    def __init__(
        self,
        broker: Broker,
        publisher: Publisher,
        requester: Requester,
        answers: Answers,
        flush_batch: FlushBatch,
        peer: str,
        write: Callable[[bytes], Coroutine[Any, Any, None]],
    ) -> None:
        self._broker = broker
        self._publisher = publisher
        self._requester = requester
        self._answering = answers
        self._peer = peer
        self._gate = closed_gate()
        if self._gate is not None:
            self._gate.on_change = self._end_what_is_denied
        self._client = Client()
        self._storing = 0
        """Publishes that wait for the disk."""
        self._closed = False
        self._flush_batch = flush_batch
        self._writer = StreamWriter(write, self._gather, flush_batch=flush_batch)
        self._frame = PassthroughOpenStreamResponse()
        """Answers for the next frame."""
        self._answers = 0
        self._answer_bytes = 0
        self._subscriptions: dict[int, Subscription] = {}
        self._requests: dict[int, PendingRequest] = {}
        self._hungry: deque[Subscriber] = deque()
        """Subscribers that may have something to take."""
        self._awake: set[Subscriber] = set()
        self._idle = asyncio.Event()
        self._changes = 0
        """How often the client's interest changed."""
        self._told = 0
        """How many of these changes other replicas know of."""

    @property
    def uses_journal(self) -> bool:
        """Whether a publish waits for the disk, or a subscription is durable."""
        return self._storing > 0 or any(
            isinstance(each.queue, DurableSubscription) for each in self._subscriptions.values()
        )

    @property
    def peer(self) -> str:
        """Who the client is, for people."""
        return self._peer

    @property
    def asked(self) -> int:
        """Requests of the client that wait for their answers."""
        return len(self._requests)

    async def take(self, raw: bytes) -> None:
        """Takes one encoded OpenStreamRequest; waits while the client does not read what it asked for.

        A large one is taken piece by piece, and gives others their turn in between.
        """
        pieces: Iterable[bytes | memoryview] = (raw,)
        if len(raw) > FRAME_BYTES:
            check_lists(raw, bus_pb2.OpenStreamRequest, invalid_message)
            pieces = pieces_of(memoryview(raw), FRAME_BYTES)
        work = TimeSlice()
        for piece in pieces:
            if len(piece) > MAX_ANSWER_BYTES and await self._take_large(piece):
                continue
            for item, passthrough in _items_of(bytes(piece)):
                if monotonic() >= work.until:
                    await work.rest()
                    await self._writer.room(MAX_FRAME_BYTES)
                kind = item.WhichOneof("item")
                try:
                    if self._gate is not None:
                        self._check_item(self._gate, kind, item, passthrough)
                    match kind:
                        case "publish":
                            await self._publish(item.id, item.publish, passthrough.publish.messages)
                        case "request":
                            self._request(item.id, item.request, passthrough.request.message)
                        case "subscribe":
                            self._subscribe(item.id, item.subscribe, passthrough.subscribe)
                        case _:
                            self._take_other(kind, item, passthrough)
                except TrunklineError as error:
                    self._fail(item.id, error)
        self._broker.journal.commits.begin()
        self._flush_batch.end()  # what this frame caused is sent before the next one is asked for: that takes a while
        await self._writer.room(MAX_FRAME_BYTES)

    def _check_item(self, gate: Gate, kind: str | None, item: Any, passthrough: Any) -> None:
        """Checks what an item asks for. An empty one is refused behind the gate.

        Raises:
            PermissionDeniedError: the caller may not do it. OverloadedError: not now.
        """
        if kind == "publish":
            stored = self._publisher.is_stored(item.publish)
            gate.publish(item.publish.channel, passthrough.publish.messages, stored=stored)
        elif kind is not None:
            gate.check_message(getattr(item, kind))

    def _take_other(self, kind: str | None, item: Any, passthrough: Any) -> None:
        match kind:
            case "request_stream":
                self._request_stream(item.id, item.request_stream, passthrough.request_stream)
            case "request_credit":
                self._grant(item.id, item.request_credit.parts)
            case "cancel":
                self._cancel(item.id, item.cancel.nothing_begun, item.cancel.finish)
            case "ping":
                self._pong_when_begun(item.id, sent=item.ping.sent)
            case _:
                raise InvalidMessageError("the item is empty", details={"field": "item"})

    async def finish(self) -> None:
        """Waits until nothing is open any more and everything is written: the client has half-closed."""
        while self._has_open():
            self._idle.clear()
            await self._idle.wait()
        await self._writer.flushed()

    def _has_open(self) -> bool:
        return bool(self._subscriptions or self._requests or self._storing)

    async def flushed(self) -> None:
        """Waits until everything is written."""
        await self._writer.flushed()

    def close(self) -> None:
        """Ends everything that the client has open; idempotent."""
        self._closed = True
        for request in self._requests.values():
            request.leave()
        self._requests.clear()
        for subscription in self._subscriptions.values():
            subscription.close()
        self._subscriptions.clear()
        self._writer.close()

    async def _take_large(self, piece: bytes | memoryview) -> bool:
        """Takes a piece that is one item, which publishes a lot; False: it is another."""
        items, _ = await split(piece, bus_pb2.OpenStreamRequest.ITEMS_FIELD_NUMBER)
        if len(items) != 1:
            return False
        large = await parse_large_frame(PassthroughClientItem, bus_pb2.OpenStreamRequest.ClientItem, items[0])
        if large is None or large[0].WhichOneof("item") is not None:
            return False
        item, request, encoded = large
        try:
            if self._gate is not None:
                self._gate.publish(request.channel, encoded, stored=self._publisher.is_stored(request))
            await self._publish(item.id, request, encoded)
        except TrunklineError as error:
            self._fail(item.id, error)
        return True

    async def _publish(self, id: int, request: bus_pb2.PublishRequest, encoded: Sequence[bytes]) -> None:
        if self._publisher.is_stored(request):
            await self._publisher.store(request, encoded, partial(self._stored, id, len(encoded) * RECEIPT_BYTES))
            self._storing += 1
            return
        publication = await self._publisher.publish(request, encoded)
        if id:
            receipts = self._answer(id, len(encoded) * RECEIPT_BYTES).published
            self._publisher.fill_receipts(receipts, publication, stored=False)

    def _stored(self, id: int, size: int, publication: Publication, error: TrunklineError | None) -> None:
        self._storing -= 1
        self._idle.set()
        if self._closed:
            return
        if error is not None:
            self._fail(id, error)
        elif id:
            receipts = self._answer(id, size).published
            self._publisher.fill_receipts(receipts, publication, stored=True)

    def _request(self, id: int, request: bus_pb2.RequestRequest, encoded: bytes) -> None:
        if not isinstance(request, bus_pb2.RequestRequest):  # a large one, which was not parsed twice
            request = bus_pb2.RequestRequest.FromString(request.SerializeToString())
        if not request.HasField("timeout"):
            raise InvalidMessageError("timeout is not set", details={"field": "timeout"})
        self._check_id_is_free(id)
        self._requests[id] = self._requester.request(request, encoded, id, None, self._reply, self._fail_request)

    def _request_stream(self, id: int, stream: bus_pb2.RequestStreamRequest, passing: Any) -> None:
        if not isinstance(stream, bus_pb2.RequestStreamRequest):
            stream = bus_pb2.RequestStreamRequest.FromString(stream.SerializeToString())
        if not stream.request.HasField("timeout"):
            raise InvalidMessageError("timeout is not set", details={"field": "request.timeout"})
        self._check_id_is_free(id)
        self._requests[id] = self._requester.request(
            stream.request,
            passing.request.message,
            id,
            None,
            self._reply,
            self._fail_request,
            credit_of("credit", stream),
            self._send_events,
        )

    def _send_events(self, request: PendingRequest, events: list[bytes], is_end: bool) -> None:
        if is_end:
            self._settle(request)
        item = self._answer(request.id, sum(map(len, events)))
        (item.request_end if is_end else item.request_events).events.extend(events)

    def _grant(self, id: int, parts: int) -> None:
        check_part_credit("request_credit.parts", parts)
        request = self._requests.get(id)
        if request is not None:
            request.grant(parts)

    def _reply(self, request: PendingRequest, channel: str, message: bytes) -> None:
        self._settle(request)
        reply = self._answer(request.id, len(message)).reply
        reply.channel = channel
        reply.message = message

    def _fail_request(self, request: PendingRequest, error: TrunklineError) -> None:
        self._settle(request)
        self._fail(request.id, error)

    def _settle(self, request: PendingRequest) -> None:
        self._requests.pop(request.id, None)
        self._idle.set()

    def _pong_when_begun(self, id: int, *, sent: bool) -> None:
        """Answers a ping: at once, or when the subscriptions that this client made before it have begun, and the others
        know which it ended; with `sent`, when what it published has arrived there too."""
        changes = self._changes

        def pong_now() -> None:
            if not self._closed:
                self._pong(id, sent=sent)

        def pong() -> None:
            self._told = max(self._told, changes)
            if sent:
                self._broker.peers.when_arrived(pong_now)
            else:
                pong_now()

        if changes > self._told:
            self._broker.peers.when_begun(pong)
        else:
            pong()

    def _pong(self, id: int, *, sent: bool) -> None:
        """Says that what came before a ping was taken."""
        self._answer(id).pong.SetInParent()

    def _respond(self, id: int, responder: Responder, request: Any, encoded: Sequence[bytes]) -> None:
        try:
            self._answering.take(request, encoded, responder)
        except TrunklineError as error:
            self._tell(id, refused_response(request.request_id, error))

    def _tell(self, id: int, frame: bus_pb2.SubscribeResponse) -> None:
        encoded = frame.SerializeToString()
        self._answer(id, len(encoded)).subscription.MergeFromString(encoded)

    def _subscribe(self, id: int, frame: bus_pb2.SubscribeRequest, passing: Any) -> None:
        subscription = self._subscriptions.get(id)
        if subscription is not None:
            responder = subscription.subscriber.responder
            if responder is not None and frame.HasField("respond"):
                self._respond(id, responder, frame.respond, passing.respond.events)
                return
            for refused in apply_frame(subscription.subscriber, frame):
                encoded = refused.SerializeToString()
                self._answer(id, len(encoded)).subscription.refused.MergeFromString(encoded)
            return
        start = start_of(frame)
        self._check_id_is_free(id)
        tell = partial(self._tell, id)
        subscriber = subscriber_of(start, id, self._peer, self._wake, self._end_subscription, tell, self._client)

        def started(begun: bus_pb2.SubscribeResponse.Started) -> None:
            if subscriber.queue is not None:
                self._answer(id).subscription.started.MergeFromString(begun.SerializeToString())

        self._subscriptions[id] = open_subscription(self._broker, start, subscriber, started)
        self._changes += 1

    def _end_subscription(self, subscriber: Subscriber, error: TrunklineError) -> None:
        subscription = self._subscriptions.pop(subscriber.id, None)
        if subscription is not None:
            subscription.close()
            self._fail(subscriber.id, error)
            self._idle.set()

    def _end_what_is_denied(self) -> None:
        """Ends the subscriptions that are not allowed any more; all else goes on."""
        assert self._gate is not None
        for subscription in list(self._subscriptions.values()):
            refused = self._gate.refusal(needs_of_subscription(subscription))
            if refused is not None:
                self._end_subscription(subscription.subscriber, refused)

    def _cancel(self, id: int, nothing_begun: bool, finish: bool) -> None:
        if finish:
            if (subscription := self._subscriptions.get(id)) is not None:
                self._finish(id, subscription)
            return
        self._changes += 1
        self._drop(id, nothing_begun=nothing_begun)

    def _drop(self, id: int, *, nothing_begun: bool) -> None:
        """Ends what has this id."""
        request = self._requests.pop(id, None)
        if request is not None:
            request.leave()
        subscription = self._subscriptions.pop(id, None)
        if subscription is not None:
            subscription.close(nothing_begun=nothing_begun)
            if nothing_begun and isinstance(subscription.queue, DurableSubscription):
                subscription.queue.take_back_from(subscription.subscriber)
            self._answer(id).cancelled.SetInParent()
        self._idle.set()

    def _finish(self, id: int, subscription: Subscription) -> None:
        """Lets a subscription take nothing more. A live one has first what others sent here before they knew that it
        goes on elsewhere; it ends when all is sent that waits for it."""
        if subscription.subscriber.responder is not None:
            self._broker.retire(subscription)
            return

        def retire() -> None:
            if self._closed or self._subscriptions.get(id) is not subscription:
                return
            self._broker.retire(subscription)
            if not (subscription.is_retired and subscription.queue.count):
                self._drop(id, nothing_begun=False)

        self._broker.peers.when_received(retire)

    def ask_to_move(self, move: move_pb2.Move) -> None:
        """Asks the client to go on elsewhere."""
        encoded = move.SerializeToString()
        self._answer(0, len(encoded)).move.MergeFromString(encoded)

    def _check_id_is_free(self, id: int) -> None:
        if id < 1:
            raise InvalidMessageError("id is 0, it must be at least 1", details={"field": "id", "value": "0"})
        if id in self._subscriptions or id in self._requests:
            self._refuse_id(id)

    def _refuse_id(self, id: int) -> NoReturn:
        raise InvalidMessageError(f"id {id} is in use on this stream", details={"field": "id", "value": str(id)})

    def _fail(self, id: int, error: TrunklineError) -> None:
        # Through its encoding: passthrough messages and public ones know nothing else of each other.
        encoded = to_item(error).SerializeToString()
        self._answer(id, len(encoded)).error.MergeFromString(encoded)

    def _answer(self, id: int, size: int = 0) -> Any:
        """A new item of the next frame, to be filled in before anything is awaited. `size`: about its bytes."""
        size += _ANSWER_BYTES
        if self._answers >= FRAME_MESSAGES or (self._answers and self._answer_bytes + size > FRAME_BYTES):
            self._writer.put(self._take_answers())
        self._answers += 1
        self._answer_bytes += size
        self._writer.schedule()
        item = self._frame.items.add()
        item.id = id  # named in `add`, it would take twice as long
        return item

    def _take_answers(self) -> bytes:
        frame, self._frame = self._frame, PassthroughOpenStreamResponse()
        self._answers = self._answer_bytes = 0
        encoded: bytes = frame.SerializeToString()
        return encoded

    def _wake(self, subscriber: Subscriber) -> None:
        if subscriber not in self._awake:
            self._awake.add(subscriber)
            self._hungry.append(subscriber)
            self._writer.schedule()

    def _gather(self, room: int) -> list[bytes]:
        """The answers that gathered, then deliveries: each hungry subscriber in turn, until a frame's worth is there or
        all are fed. Each is a frame of its own; the writer joins those that fit into one."""
        room -= self._answer_bytes
        messages = self._answers
        frames = [self._take_answers()] if messages else []
        while self._hungry and messages < FRAME_MESSAGES and room > 0:
            subscriber = self._hungry.popleft()
            response = next_response(self._broker, subscriber, FRAME_MESSAGES - messages)
            if response is None:
                self._awake.discard(subscriber)
                self._end_retired(subscriber)
                continue
            self._hungry.append(subscriber)
            id, subscription = _ID + write_varint(subscriber.id), _subscription(response.size)
            item = _items(len(id) + len(subscription) + response.size)
            frames.append(b"".join((item, id, subscription, *response.parts)))
            messages += response.messages
            room -= response.size
        return frames

    def _end_retired(self, subscriber: Subscriber) -> None:
        """Ends a subscription that takes nothing more, when all that it had is sent."""
        subscription = self._subscriptions.get(subscriber.id)
        if subscription is not None and subscription.is_retired and not subscription.queue.count:
            self._drop(subscriber.id, nothing_begun=False)


def _items_of(raw: bytes) -> Iterable[tuple[Any, Any]]:
    """The items of an encoded frame, each as its public type and as its passthrough type."""
    frame, passing = parse_twice(bus_pb2.OpenStreamRequest, PassthroughOpenStreamRequest, raw)
    items = frame.items
    if len(items) > MAX_FRAME_ITEMS:
        raise too_many("items", invalid_message)
    return zip(items, passing.items, strict=True)
