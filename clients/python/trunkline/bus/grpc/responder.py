"""ResponderSubscription: the requests that this client answers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from trunkline.bus.codec import decode_request, parse_message
from trunkline.bus.grpc.subscription import LiveSubscription, OnError
from trunkline.bus.handling import handle_request
from trunkline.bus.life_codec import encode_accepted, encode_failure, encode_part, encode_progress, encode_result
from trunkline.bus.request import Request, check_fraction
from trunkline.errors import InvalidMessageError, RequestNotFoundError, TrunklineError
from trunkline.limits import FRAME_BYTES, MAX_REPORTED_EVENTS
from trunkline.models import AgentMessage
from trunkline.priority import MEDIUM_LEVEL
from trunkline.v1 import bus_pb2
from trunkline.wire.status import error_from_item

log = logging.getLogger(__name__)

_SIGNS: Final = 3
"""Signs of life within an idle timeout, while a handler runs and says nothing itself."""


class Answering:
    """One request while it is answered; see `trunkline.bus.request.Answering`.

    Args:
        id: the request's id.
        name: of the responder.
        requested: what the service says of the request.
        encode: encodes a message, and checks its size.
        touch: says that there is something to send.
        way: where it came from, and what is said of it goes.
    """

    def __init__(
        self,
        id: str,
        name: str,
        requested: bus_pb2.SubscribeResponse.Requested,
        encode: Callable[[AgentMessage, str | None], bytes],
        touch: Callable[[Answering], None],
        way: Way,
    ) -> None:
        self.id = id
        self.way = way
        self.name = name
        self.attempt = requested.attempt
        self.with_traceback = requested.traceback
        self.has_begun = False
        self.is_called_off = False
        self.is_over = False
        self.worker: asyncio.Task[Any] | None = None
        """What runs the handler. None: it has not begun, or has ended."""
        self._cancels = False
        """Whether its worker was cancelled from here."""
        self._encode = encode
        self._touch = touch
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + requested.timeout.seconds + requested.timeout.nanos / 1e9
        idle = requested.idle_timeout
        self._beat = (idle.seconds + idle.nanos / 1e9) / _SIGNS if requested.HasField("idle_timeout") else None
        self._timer: asyncio.TimerHandle | None = None
        self._credit: int | None = requested.credit if requested.HasField("credit") else None
        self._credited = asyncio.Event()
        self._fraction = 0.0
        self._events: deque[bytes] = deque()
        self._has_progress = False
        """Whether the last event that waits is a progress."""

    def begin(self) -> None:
        """Accepts it: a handler begins."""
        self.has_begun = True
        self.worker = asyncio.current_task()
        self._put(encode_accepted(self.name))
        if self._beat is not None:
            self._timer = self._loop.call_later(self._beat, self._live)

    def end(self) -> None:
        """The handler has ended."""
        worker, self.worker = self.worker, None
        if self._timer is not None:
            self._timer.cancel()
        if self._cancels and worker is not None:
            worker.uncancel()  # the handler is over, and its worker goes on

    def progress(self, fraction: float | None, text: str) -> None:
        """See `Request.progress`."""
        if fraction is not None:
            self._fraction = check_fraction(fraction, self._fraction)
        if self._has_progress:
            self._events.pop()
        self._put(encode_progress(fraction, text))
        self._has_progress = True

    async def part(self, message: AgentMessage, correlation_id: str | None) -> None:
        """See `Request.part`."""
        encoded = self._encode(message, correlation_id)
        while self._credit == 0 and not self.is_over:
            self._credited.clear()
            await self._credited.wait()
        if self._credit is not None:
            self._credit -= 1
        self._put(encode_part(encoded))

    def finish(self, message: AgentMessage | None, correlation_id: str | None) -> None:
        """See `Request.finish`."""
        self._end_with(encode_result(None if message is None else self._encode(message, correlation_id)))

    def fail(self, error: BaseException) -> None:
        """Ends it with a failure."""
        self._end_with(encode_failure(error, self.with_traceback))

    def grant(self, parts: int) -> None:
        """Who asked has read parts: so many more may be sent."""
        if self._credit is not None:
            self._credit += parts
            self._credited.set()

    def time_left(self) -> float:
        """See `Request.time_left`."""
        return max(0.0, self._deadline - self._loop.time())

    def call_off(self) -> None:
        """Nobody waits for it any more: cancels the handler; nothing more is said."""
        self.is_called_off = True
        self._close()
        if self.worker is not None:
            self._cancels = True
            self.worker.cancel()

    def take_events(self, room: int) -> tuple[list[bytes], bool]:
        """What waits to be said, about `room` bytes of it and as many events as one answer may bring; and whether that
        is all."""
        events: list[bytes] = []
        while self._events and room > 0 and len(events) < MAX_REPORTED_EVENTS:
            event = self._events.popleft()
            room -= len(event)
            events.append(event)
        self._has_progress = self._has_progress and bool(self._events)
        return events, not self._events

    def _end_with(self, event: bytes) -> None:
        if not self.is_over:
            self._put(event)
            self.is_over = True

    def _close(self) -> None:
        self.is_over = True
        self._events.clear()
        self._has_progress = False
        self._credited.set()

    def _put(self, event: bytes) -> None:
        if self.is_over:
            return
        self._events.append(event)
        self._has_progress = False
        self._touch(self)

    def _live(self) -> None:
        """Says that the handler is at work; an answer without events does."""
        if self.worker is not None and not self.is_over and self._beat is not None:
            self._touch(self)
            self._timer = self._loop.call_later(self._beat, self._live)


class Way(NamedTuple):
    """A subscription's item on one stream: what makes items of that stream, and its id there."""

    item: Callable[..., Any]
    id: int


class ResponderSubscription(LiveSubscription):
    """A live subscription that answers requests. What is no request, or was called off before it began, is passed over.

    Args:
        name: what the responder calls itself.
        encode: encodes a message, and checks its size.
        touched: told that it has something to say with the next frame.
    """

    answers_requests = True

    def __init__(
        self,
        id: int,
        pattern: str,
        group: str,
        window: int | None,
        item: Callable[..., Any],
        left: Callable[[Any], None],
        on_error: OnError | None,
        name: str,
        encode: Callable[[AgentMessage, str | None], bytes],
        touched: Callable[[ResponderSubscription], None],
    ) -> None:
        super().__init__(id, pattern, group, window, item, left, None, on_error)
        self._way = Way(item, id)
        """Its item on the present stream."""
        self._source: Way | None = None
        """The item of another stream whose frame is taken now."""
        self._taken: Counter[Way] = Counter()
        """Of other streams: messages taken since credit was last granted there."""
        self._name = name
        self._encode = encode
        self._touched = touched
        self._answerings: dict[str, Answering] = {}
        """By request id: what was handed out, and is not over."""
        self._saying: dict[Answering, None] = {}
        """Those that have something to say with the next frame."""
        self._lasts: dict[Way, Callable[[], None]] = {}
        """The streams that it has left, and what is told when nothing is answered there any more."""
        self._spares: dict[str, tuple[Any, int, str, Answering]] = {}
        """Requests that came a second time, on another stream: taken where the first one is called off."""

    def move_responder(self, touched: Callable[[ResponderSubscription], None]) -> None:
        """Says what it has to say on another stream, from now on; to be called behind `move`. What began on the one
        before is answered there."""
        self._touched = touched
        self._way = Way(self._item, self.id)
        self._done = self._taken[self._way]
        self._taken.clear()
        self._arrived.set()  # workers that wait grant credit for what was taken there already

    @property
    def _arriving_by(self) -> Way:
        """Where the frame comes from that is taken now."""
        return self._source or self._way

    @property
    def way(self) -> Way:
        """Its item on the present stream."""
        return self._way

    def when_answered(self, way: Way, tell: Callable[[], None]) -> None:
        """Leaves a stream: what came there and did not begin goes to others. Calls `tell` when what began is
        answered."""
        self._let_go_all(way, but_begun=True)
        self._lasts[way] = tell
        self._look_answered()

    def take_from(self, way: Way, frame: bus_pb2.SubscribeResponse) -> None:
        """Takes a frame of another stream than the present one."""
        self._source = way
        try:
            self.take(frame)
        finally:
            self._source = None

    def lose(self, way: Way) -> None:
        """A stream is lost: who asked there hears that the responder is gone, and what runs is called off."""
        self._lasts.pop(way, None)
        self._taken.pop(way, None)
        self._let_go_all(way)

    def _let_go_all(self, way: Way, *, but_begun: bool = False) -> None:
        for id in [id for id, spare in self._spares.items() if spare[-1].way == way]:
            del self._spares[id]
        for answering in [each for each in self._answerings.values() if each.way == way]:
            if not (but_begun and answering.has_begun):
                self._let_go(answering)

    def _let_go(self, answering: Answering) -> None:
        """Answers a request no more, unless it came on another stream too."""
        del self._answerings[answering.id]
        self._saying.pop(answering, None)
        answering.call_off()
        spare = self._spares.pop(answering.id, None)
        if spare is not None:
            self._answerings[answering.id] = spare[-1]
            self._count(spare[-1].way, -1)  # it counted as taken while it was in reserve
            self._runs.push(MEDIUM_LEVEL, deque((spare,)))
            self._current = None
            self._arrived.set()

    def _look_answered(self) -> None:
        for way in list(self._lasts):
            if not any(each.way == way for each in self._answerings.values()):
                self._lasts.pop(way)()

    def stream_lost(self) -> None:
        """Who asked hears that the responder is gone: what runs is called off."""
        self._runs.clear()
        self._current = None
        self.lose(self._way)

    async def finished(self) -> None:
        """Waits until no handler runs; to be called after `close`."""
        if self._workers:
            await asyncio.wait(self._workers)

    def failed(self, request: Request, error: BaseException) -> None:
        """Ends a request with its failure."""
        answering = request._answering
        assert isinstance(answering, Answering)
        answering.fail(error)

    def gather(self) -> None:
        """Sends what there is to say, each request's events as one item of a frame."""
        saying, self._saying = self._saying, {}
        for answering in saying:
            is_all = False
            while not is_all:
                events, is_all = answering.take_events(FRAME_BYTES)
                self._say(answering.way, answering.id, events)
            if answering.is_over:
                self._answerings.pop(answering.id, None)
                self._spares.pop(answering.id, None)
        if self._lasts:
            self._look_answered()

    def _run(self, deliveries: bus_pb2.SubscribeResponse.Deliveries) -> deque[Any]:
        run: deque[Any] = deque()
        way = self._arriving_by
        messages: Any = deliveries.messages
        for requested in deliveries.requests:
            try:
                wire = parse_message(messages[requested.index])
            except InvalidMessageError:
                log.exception("a request on %r cannot be read and was skipped", self.pattern)
                continue
            answering = Answering(wire.correlation_id, self._name, requested, self._encode, self._touch, way)
            waiting = (wire, deliveries.first_sequence + requested.index, deliveries.channel, answering)
            if answering.id in self._answerings:
                self._spares[answering.id] = waiting
            else:
                self._answerings[answering.id] = answering
                run.append(waiting)
        self._count(way, len(deliveries.messages) - len(run))
        return run

    def _count(self, way: Way, taken: int) -> None:
        """Counts messages that were taken, for the credit of the stream that brought them."""
        if way == self._way:
            self._done += taken
        else:
            self._taken[way] += taken

    def _open(self, waiting: Any) -> Request | None:
        wire, sequence, channel, answering = waiting
        self._count(answering.way, 1)
        if answering.is_called_off:
            return None
        request = decode_request(wire, sequence, channel, answering)
        if wire.ttl_seconds and request.is_expired():
            log.debug("request %s expired while it waited here", request.message_id)
            return None
        return request

    def _take_other(self, frame: bus_pb2.SubscribeResponse) -> None:
        match frame.WhichOneof("frame"):
            case "part_credit":
                answering = self._answerings.get(frame.part_credit.request_id)
                if answering is not None and answering.way == self._arriving_by:
                    answering.grant(frame.part_credit.parts)
            case "called_off":
                self._call_off(frame.called_off.request_id)
            case "refused_response":
                refused = frame.refused_response
                error = error_from_item(refused.error)
                log.log(
                    logging.DEBUG if isinstance(error, RequestNotFoundError) else logging.WARNING,
                    "an answer was refused: %s",
                    error,
                )
                self._call_off(refused.request_id, error)
            case _:
                super()._take_other(frame)

    def _call_off(self, request_id: str, error: TrunklineError | None = None) -> None:
        way = self._arriving_by
        answering = self._answerings.get(request_id)
        spare = self._spares.get(request_id)
        if answering is not None and answering.way == way:
            self._let_go(answering)
            if self._lasts:
                self._look_answered()
        elif spare is not None and spare[-1].way == way:
            del self._spares[request_id]
        if error is not None and not isinstance(error, RequestNotFoundError):
            # Who asked would miss what was refused, its end too. A failure is refused only where the request is over.
            self._say(way, request_id, [encode_failure(error, with_traceback=False)])

    def _say(self, way: Way, request_id: str, events: list[bytes]) -> None:
        said = way.item(way.id, sum(map(len, events))).subscribe.respond
        said.request_id = request_id
        said.events.extend(events)

    async def _call(self, callback: Callable[[Any], Awaitable[None]], message: Any) -> None:
        answering: Answering = message._answering
        answering.begin()
        try:
            await handle_request(self, callback, message)
        finally:
            answering.end()

    def _touch(self, answering: Answering) -> None:
        self._saying[answering] = None
        self._touched(self)
