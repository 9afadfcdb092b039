"""ReplicaConnection: a client's OpenStream stream on one of several replicas.

What is live is served here. What is the journal's goes to the replica that owns it, item by item with its id, on a
stream of its own for this client's: so the owner knows each client as one. Where that stream is lost, so is what was
open on it, and the client's stream ends, as it does when a bus is restarted: the client connects again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from trunkline.errors import BusDisconnectedError, TrunklineError
from trunkline.limits import MAX_FRAME_BYTES, MiB
from trunkline.v1 import bus_pb2
from trunkline.wire.encoding import length_prefix
from trunklined.bus.wire.connection import BusConnection
from trunklined.bus.wire.journal_route import JournalRoute, OwnerStream
from trunklined.bus.wire.translation import PassthroughClientItem
from trunklined.forwarding.open_items import frames_of, items_of

METHOD: Final = "/trunkline.v1.BusService/OpenStream"
MAX_WAITING_BYTES: Final = 4 * MiB
"""Of one client's stream: what waits for a replica that owns the journal. Beyond it publishes are refused."""
AGAIN_SECONDS: Final = 0.1
MAX_FOLLOWING_CHANNELS: Final = 16_384
"""Of one client's stream: channels whose live messages follow its stored ones. Beyond it the one that something was
stored on the longest ago goes."""

_items = length_prefix(bus_pb2.OpenStreamRequest, "items")


class _Waiting(NamedTuple):
    """An item that waits for the journal's owner."""

    id: int
    is_publish: bool
    since: float
    """By the loop's clock."""
    frame: bytes
    serve: Callable[[], Awaitable[None]]
    """Serves it here."""


class ReplicaConnection(BusConnection):
    """See the module, and `BusConnection`.

    Args:
        route: the way to the journal.
        context: of the client's call.
        end: ends the client's stream with an error.
    """

    def __init__(self, *parts: Any, route: JournalRoute, context: Any, end: Callable[[TrunklineError], None]) -> None:
        super().__init__(*parts)
        self._route = route
        self._context = context
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._stream: OwnerStream | None = None
        self._opening: asyncio.Task[None] | None = None
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._handed_on: set[int] = set()
        """Subscriptions that are the owner's."""
        self._unanswered: set[int] = set()
        """Publishes that the owner has not answered."""
        self._following: dict[str, None] = {}
        """The channels of what was stored by way of the owner, lately last. What is live on them goes the same way:
        from here it could overtake what comes from the owner to live subscribers, also after the receipt."""
        self._came_frames: Any = frames_of(METHOD)

    @property
    def uses_journal(self) -> bool:
        """Whether something of the journal is open, here or with its owner."""
        return super().uses_journal or bool(self._handed_on or self._unanswered)

    async def answered(self) -> None:
        """Waits until the owner has answered every publish."""
        while self._unanswered:
            self._idle.clear()
            await self._idle.wait()

    def close(self) -> None:
        super().close()
        if self._opening is not None:
            self._opening.cancel()
        if self._stream is not None:
            self._stream.close()
        self._waiting.clear()

    def _has_open(self) -> bool:
        return super()._has_open() or bool(self._handed_on or self._unanswered)

    async def take(self, raw: bytes) -> None:
        await super().take(raw)
        if self._stream is not None:
            await self._stream.room(MAX_FRAME_BYTES)

    # What comes from the client.

    @property
    def _is_local(self) -> bool:
        """Whether the journal is here, and nothing that came before waits for it."""
        return self._route.is_here and not self._waiting

    async def _publish(self, id: int, request: bus_pb2.PublishRequest, encoded: Sequence[bytes]) -> None:
        is_stored = self._publisher.is_stored(request)
        if self._is_local or not (is_stored or self._follows(request.channel)):
            await super()._publish(id, request, encoded)
            return
        item = PassthroughClientItem(id=id)
        publish = item.publish
        publish.channel = request.channel
        publish.messages.extend(encoded)
        publish.durability = (
            (request.durability or bus_pb2.DURABILITY_STORED) if is_stored else bus_pb2.DURABILITY_MEMORY
        )
        serve = partial(self._serve_publish, id, request, encoded)
        self._hand_on(_Waiting(id, True, self._loop.time(), _frame(item), serve))
        if id:
            self._unanswered.add(id)
        if is_stored:
            self._following.pop(request.channel, None)
            self._following[request.channel] = None
            if len(self._following) > MAX_FOLLOWING_CHANNELS:
                del self._following[next(iter(self._following))]

    def _follows(self, channel: str) -> bool:
        """Whether what is live on a channel goes by way of the owner."""
        return channel in self._following and (self._stream is not None or bool(self._waiting))

    async def _serve_publish(self, id: int, request: bus_pb2.PublishRequest, encoded: Sequence[bytes]) -> None:
        self._unanswered.discard(id)
        await super()._publish(id, request, encoded)

    def _subscribe(self, id: int, frame: bus_pb2.SubscribeRequest, passing: Any) -> None:
        is_start = id not in self._handed_on
        if is_start:
            is_durable = frame.WhichOneof("frame") == "start" and bool(frame.start.durable)
            if id in self._subscriptions or not is_durable or self._is_local:
                super()._subscribe(id, frame, passing)
                return
            self._check_id_is_free(id)
        item = PassthroughClientItem(id=id)
        item.subscribe.MergeFromString(passing.SerializeToString())
        serve = partial(self._serve_subscribe, id, frame, passing)
        self._hand_on(_Waiting(id, False, self._loop.time(), _frame(item), serve))
        self._handed_on.add(id)

    async def _serve_subscribe(self, id: int, frame: bus_pb2.SubscribeRequest, passing: Any) -> None:
        self._handed_on.discard(id)
        super()._subscribe(id, frame, passing)

    def _cancel(self, id: int, nothing_begun: bool, finish: bool) -> None:
        if id not in self._handed_on:
            super()._cancel(id, nothing_begun, finish)
            return
        item = PassthroughClientItem(id=id)
        item.cancel.nothing_begun = nothing_begun
        item.cancel.finish = finish
        serve = partial(self._serve_cancel, id, nothing_begun, finish)
        self._hand_on(_Waiting(id, False, self._loop.time(), _frame(item), serve))

    async def _serve_cancel(self, id: int, nothing_begun: bool, finish: bool) -> None:
        self._handed_on.discard(id)
        super()._cancel(id, nothing_begun, finish)

    def _pong(self, id: int, *, sent: bool) -> None:
        if self._stream is None:
            super()._pong(id, sent=sent)
            return
        item = PassthroughClientItem(id=id)
        item.ping.sent = sent
        item.ping.SetInParent()
        self._stream.put(_frame(item))  # answered when the owner took what came before it

    def _check_id_is_free(self, id: int) -> None:
        super()._check_id_is_free(id)
        if id in self._handed_on:
            self._refuse_id(id)

    # To the owner, and back.

    def _hand_on(self, waiting: _Waiting) -> None:
        if self._stream is not None:
            self._stream.put(waiting.frame)
            return
        if waiting.is_publish and self._waiting_bytes + len(waiting.frame) > MAX_WAITING_BYTES:
            raise BusDisconnectedError(
                f"no replica owns the journal yet, and {self._waiting_bytes} bytes wait for one already",
                details={"why": "no owner"},
            )
        self._waiting.append(waiting)
        self._waiting_bytes += len(waiting.frame)
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        """Finds the journal's owner for what waits. Publishes wait so long as they may, subscriptions for ever."""
        while self._waiting:
            try:
                forwarder = await self._route.find()
                if forwarder is None:
                    await self._serve_waiting()
                    continue
                call = await self._route.open_stream(forwarder, METHOD, self._context)
            except TrunklineError as error:
                self._refuse_publishes(error)
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            self._stream = OwnerStream(call, self._came, self._lose, join=True)
            while self._waiting:
                self._stream.put(self._take_waiting().frame)
        self._opening = None

    def _take_waiting(self) -> _Waiting:
        waiting = self._waiting.popleft()
        self._waiting_bytes -= len(waiting.frame)
        return waiting

    async def _serve_waiting(self) -> None:
        """Serves here what waits: this replica owns the journal now."""
        while self._waiting:
            waiting = self._waiting[0]
            try:
                await waiting.serve()
            except TrunklineError as error:
                self._fail(waiting.id, error)
            self._take_waiting()

    def _refuse_publishes(self, error: TrunklineError) -> None:
        """Refuses those that waited as long as they may."""
        kept: deque[_Waiting] = deque()
        until = self._loop.time() - self._route.wait
        while self._waiting:
            waiting = self._take_waiting()
            if waiting.is_publish and waiting.since <= until:
                self._unanswered.discard(waiting.id)
                self._fail(waiting.id, error)
            else:
                kept.append(waiting)
        for waiting in kept:
            self._waiting.append(waiting)
            self._waiting_bytes += len(waiting.frame)

    async def _came(self, raw: bytes) -> None:
        for item in items_of(self._came_frames[1], raw):
            kind = item.WhichOneof("item")
            if kind in ("published", "error"):
                self._unanswered.discard(item.id)
            if kind in ("cancelled", "error"):
                self._handed_on.discard(item.id)
        self._writer.put(raw)
        self._idle.set()
        await self._writer.room(MAX_FRAME_BYTES)

    def _lose(self, error: TrunklineError) -> None:
        self._stream = None
        self._following.clear()
        if self._handed_on or self._unanswered:
            self._end(error)


def _frame(item: Any) -> bytes:
    encoded = item.SerializeToString()
    return bytes(_items(len(encoded)) + encoded)
