"""Connection: one client's Connect stream, everything it does multiplexed on it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.limits import FRAME_MESSAGES, MAX_FRAME_BYTES
from trunkline.outbox import Outbox
from trunkline.v1 import bus_pb2
from trunklined.bus.broker import Broker, Subscription
from trunklined.bus.queue import Subscriber
from trunklined.bus.requests import PendingRequest
from trunklined.bus.translation import (
    OpaqueConnectRequest,
    OpaqueConnectResponse,
    OpaqueServerItem,
    apply_frame,
    fill_next,
    receipts_of,
    start_of,
    start_request,
    timeout_of,
    to_publication,
)
from trunklined.rpc.errors import to_item

ClientItem = bus_pb2.ConnectRequest.ClientItem


class Connection:
    """Takes a client's items in order and sends it what comes of them.

    Args:
        broker: where it all goes.
        peer: the client's address, for people.
        write: writes one encoded ConnectResponse to the stream.
        max_message_bytes: limit of one encoded message.
    """

    def __init__(
        self, broker: Broker, peer: str, write: Callable[[bytes], Awaitable[None]], max_message_bytes: int
    ) -> None:
        self._broker = broker
        self._peer = peer
        self._max_message_bytes = max_message_bytes
        self._outbox = Outbox(write, self._gather)
        self._subscriptions: dict[int, Subscription] = {}
        self._requests: dict[int, PendingRequest] = {}
        self._hungry: deque[tuple[int, Subscriber]] = deque()
        """Subscribers that may have something to take, by the client's id."""
        self._awake: set[Subscriber] = set()
        self._idle = asyncio.Event()

    async def take(self, raw: bytes) -> None:
        """Takes one encoded ConnectRequest; waits while the client does not read what it asked for."""
        try:
            frame = bus_pb2.ConnectRequest.FromString(raw)
        except DecodeError as error:
            raise InvalidMessageError("the frame is no ConnectRequest", details={"field": "frame"}) from error
        opaque = OpaqueConnectRequest.FromString(raw)
        for item, twin in zip(frame.items, opaque.items, strict=True):
            try:
                self._take_item(item, twin)
            except TrunklineError as error:
                self._send(id=item.id, error=to_item(error))
        await asyncio.sleep(0)  # what this frame caused is written before the next is asked for: that takes a while
        await self._outbox.room(MAX_FRAME_BYTES)

    async def finish(self) -> None:
        """Waits until nothing is open any more and everything is written: the client has half-closed."""
        while self._subscriptions or self._requests:
            self._idle.clear()
            await self._idle.wait()
        await self._outbox.flushed()

    async def flushed(self) -> None:
        """Waits until everything is written."""
        await self._outbox.flushed()

    def close(self) -> None:
        """Ends everything that the client has open; idempotent."""
        for request in self._requests.values():
            request.cancel()
        self._requests.clear()
        for subscription in self._subscriptions.values():
            subscription.close()
        self._subscriptions.clear()
        self._outbox.close()

    def _take_item(self, item: ClientItem, twin: Any) -> None:
        match item.WhichOneof("item"):
            case "publish":
                self._publish(item, twin)
            case "request":
                self._request(item, twin)
            case "subscribe":
                self._subscribe(item)
            case "cancel":
                self._cancel(item.id)
            case "ping":
                self._send(id=item.id, pong={})
            case _:
                raise InvalidMessageError("the item is empty", details={"field": "item"})

    def _publish(self, item: ClientItem, twin: Any) -> None:
        now = self._broker.clock()
        publication = to_publication(
            item.publish.channel, item.publish.messages, twin.publish.messages, self._max_message_bytes, now
        )
        self._broker.publish(publication.channel, publication.runs, publication.correlated)
        if item.id:
            self._send(id=item.id, published=receipts_of(publication, now))

    def _request(self, item: ClientItem, twin: Any) -> None:
        wanted = item.request
        if not wanted.HasField("timeout"):
            raise InvalidMessageError("timeout is not set", details={"field": "timeout"})
        self._check_id_is_free(item.id)
        request = start_request(
            self._broker,
            wanted,
            twin.request.message,
            timeout_of(wanted.timeout, None),
            self._max_message_bytes,
            partial(self._reply, item.id),
            partial(self._fail_request, item.id),
        )
        self._requests[item.id] = request

    def _reply(self, id: int, channel: str, message: bytes) -> None:
        self._settle(id)
        self._send(id=id, reply={"channel": channel, "message": message})

    def _fail_request(self, id: int, error: TrunklineError) -> None:
        self._settle(id)
        self._send(id=id, error=to_item(error))

    def _settle(self, id: int) -> None:
        self._requests.pop(id, None)
        self._idle.set()

    def _subscribe(self, item: ClientItem) -> None:
        subscription = self._subscriptions.get(item.id)
        if subscription is not None:
            apply_frame(subscription.subscriber, item.subscribe)
            return
        start = start_of(item.subscribe)
        self._check_id_is_free(item.id)
        credit = start.credit if start.HasField("credit") else None
        subscription = self._broker.subscribe(
            start.pattern, start.group, credit, self._peer, partial(self._wake, item.id)
        )
        self._subscriptions[item.id] = subscription
        self._send(id=item.id, subscription={"started": {"subscription_id": subscription.id}})

    def _cancel(self, id: int) -> None:
        request = self._requests.pop(id, None)
        if request is not None:
            request.cancel()
        subscription = self._subscriptions.pop(id, None)
        if subscription is not None:
            subscription.close()
            self._send(id=id, cancelled={})
        self._idle.set()

    def _check_id_is_free(self, id: int) -> None:
        if id < 1:
            raise InvalidMessageError("id is 0, it must be at least 1", details={"field": "id", "value": "0"})
        if id in self._subscriptions or id in self._requests:
            raise InvalidMessageError(f"id {id} is in use on this stream", details={"field": "id", "value": str(id)})

    def _send(self, **item: Any) -> None:
        self._outbox.put(OpaqueConnectResponse(items=[item]).SerializeToString())

    def _wake(self, id: int, subscriber: Subscriber) -> None:
        if subscriber not in self._awake:
            self._awake.add(subscriber)
            self._hungry.append((id, subscriber))
        self._outbox.kick()

    def _gather(self, room: int) -> list[bytes]:
        """Deliveries for one frame: each hungry subscriber in turn, until the frame is full or all are fed."""
        now = self._broker.clock()
        frame = OpaqueConnectResponse()
        messages = 0
        while self._hungry and messages < FRAME_MESSAGES and frame.ByteSize() < room:
            id, subscriber = self._hungry.popleft()
            item = OpaqueServerItem(id=id)
            taken = fill_next(item.subscription, subscriber, FRAME_MESSAGES - messages, now)
            if not taken:
                self._awake.discard(subscriber)
                continue
            self._hungry.append((id, subscriber))
            frame.items.append(item)
            messages += taken
        return [frame.SerializeToString()] if messages else []
