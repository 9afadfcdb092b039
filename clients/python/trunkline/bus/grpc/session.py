"""BusSession: what one bus object has open between `connect()` and `disconnect()`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from trunkline.bus.codec import decode_message, parse_message
from trunkline.bus.grpc.asking import AskedRequest
from trunkline.bus.grpc.durable_subscription import DurableSubscription
from trunkline.bus.grpc.publisher import Publisher
from trunkline.bus.grpc.responder import ResponderSubscription
from trunkline.bus.grpc.subscription import LiveSubscription, OnError, Subscription
from trunkline.bus.grpc.task_subscription import TaskSubscription
from trunkline.callbacks import notify
from trunkline.delivery import DurableSettings, Receipt, RequestTerms, Start
from trunkline.errors import (
    BusDisconnectedError,
    BusNotConnectedError,
    InvalidMessageError,
    OverloadedError,
    PermissionDeniedError,
    RequestTimeoutError,
    TrunklineError,
    UnauthenticatedError,
)
from trunkline.limits import BUS_AWAY, HOLDS_STORED
from trunkline.models import AgentMessage
from trunkline.wire.again import wait_of
from trunkline.wire.deadlines import Deadlines
from trunkline.wire.status import error_from_item
from trunkline.wire.stream import Stream, StreamUser

log = logging.getLogger(__name__)


class Visitor(Protocol):
    """Who takes what comes for an item whose subscription is another session's."""

    def take(self, frame: Any) -> None:
        """Takes a frame."""

    def end(self, error: TrunklineError | None) -> None:
        """No more comes; None: as it was asked for."""


AnySubscription = LiveSubscription | DurableSubscription
M = TypeVar("M", bound=AgentMessage)
S = TypeVar("S", LiveSubscription, DurableSubscription, ResponderSubscription, TaskSubscription)

_WAVE = 32
"""Of many requests at once, so many are sent while the others are still being encoded: then service and client work at
the same time. A lone request is sent at once."""


class BusSession:
    """A stream to the bus, and the subscriptions and requests that are open on it. See `GrpcMessageBus`.

    Args:
        open_stream: makes the stream, for who speaks over it.
        on_disconnected: told why, when the stream was lost.
        on_reconnected: told when it is back.
        on_move: told that the service asks to go on elsewhere; see `trunkline.bus.grpc.moving`.
    """

    live_subscription: type[LiveSubscription] = LiveSubscription

    def __init__(
        self,
        open_stream: Callable[[StreamUser], Stream],
        on_disconnected: Callable[[TrunklineError], None] | None,
        on_reconnected: Callable[[], None] | None,
        on_move: Callable[[BusSession], None] = lambda session: None,
    ) -> None:
        self._on_move = on_move
        self.lives = 0
        """How often the stream came up."""
        self.is_retired = False
        """Whether another session has taken its place: this one ends what is under way."""
        self.visitors: dict[int, Visitor] = {}
        """Items of subscriptions that are another session's: they are about to come here, or have left."""
        self.changed = asyncio.Event()
        """Set whenever something has ended here, while it is retired."""
        self.stream = open_stream(self)
        self._publisher = Publisher(self.stream)
        self._frames = self._publisher.frames
        self._subscriptions: dict[int, AnySubscription] = {}
        self._touched: dict[DurableSubscription | ResponderSubscription, None] = {}
        """Those that have something to say with the next frame."""
        self._asked: dict[int, AskedRequest] = {}
        """Requests whose events are read."""
        self._deadlines = Deadlines(self._give_up)
        self._leaving: set[asyncio.Task[None]] = set()
        self._on_disconnected = on_disconnected
        self._on_reconnected = on_reconnected
        self._was_up = False
        self._loop = asyncio.get_running_loop()  # asked for once: Python 3.11 asks the kernel for its pid each time
        self._bus_there = asyncio.Event()
        self.bus_is_away = False
        """The stream ends at a sidecar whose bus is away: only what is to be stored is taken."""

    async def close(self) -> None:
        """Ends all subscriptions and the stream; what is pending fails."""
        for subscription in self._subscriptions.values():
            subscription.end(BusNotConnectedError("the bus was disconnected"))
            subscription.stop()
            if isinstance(subscription, DurableSubscription):
                subscription.forget()
        self._subscriptions.clear()
        self._fail_asked(BusDisconnectedError(f"disconnected from {self.stream.address}"))
        for task in self._leaving:
            task.cancel()
        self._publisher.close(BusDisconnectedError(f"disconnected from {self.stream.address}"))
        await self.stream.close()
        self._deadlines.close()

    async def wait_for_bus(self) -> None:
        """Waits until the stream is up, and the bus is behind it."""
        while not self.stream.is_up or self.bus_is_away:
            self._bus_there.clear()
            await self._bus_there.wait()

    async def wind_down(self) -> None:
        """Gives back what durable subscriptions hold: what was not started as it is, what was started as failed; and
        flushes."""
        durables = [each for each in self._subscriptions.values() if isinstance(each, DurableSubscription)]
        torn = [worker for subscription in durables for worker in subscription.stop()]
        for subscription in durables:
            subscription.end(BusNotConnectedError("the bus was disconnected"))
            subscription.close()
        if torn:
            await asyncio.wait(torn)
        for subscription in durables:
            subscription.fail_given()
            self._cancel_durable(subscription)
        await self.flush()

    def publish(self, channel: str, encoded: bytes) -> Coroutine[Any, Any, None] | None:
        """See `Publisher.publish`."""
        return self._publisher.publish(channel, encoded)

    async def store(self, channel: str, encoded: bytes) -> Receipt:
        """See `Publisher.store`."""
        return await self._publisher.store(channel, encoded)

    async def request(
        self, channel: str, encoded: bytes, correlation_id: str, timeout: float, terms: RequestTerms | None = None
    ) -> AgentMessage:
        """Sends an encoded request and waits for its reply. What the service refuses for now is asked again when it
        says."""
        deadline = self._loop.time() + timeout
        while True:
            try:
                return await self._request(channel, encoded, correlation_id, timeout, terms)
            except OverloadedError as error:
                await self.stream.pause(error, deadline)
                timeout = deadline - self._loop.time()

    async def _request(
        self, channel: str, encoded: bytes, correlation_id: str, timeout: float, terms: RequestTerms | None
    ) -> AgentMessage:
        stream = self.stream
        id, answer = stream.expect()
        wanted = self._frames.item(id, len(encoded)).request
        wanted.channel = channel
        wanted.message = encoded
        wanted.timeout.seconds = int(timeout)
        wanted.timeout.nanos = int(timeout % 1 * 1e9)
        if terms is not None:
            _fill_terms(wanted, terms)
        if stream.pending == 1 or self._frames.items >= _WAVE:
            stream.flush()
        self._limit(id, channel, correlation_id, timeout)
        try:
            reply: AgentMessage = await answer
            return reply
        except asyncio.CancelledError:
            self._cancel(id)
            raise
        finally:
            self._deadlines.remove(id)
            stream.forget(id)

    def ask(
        self, channel: str, encoded: bytes, correlation_id: str, timeout: float, terms: RequestTerms
    ) -> AskedRequest:
        """Sends an encoded request, whose events are read from what is returned."""
        asked = AskedRequest(self.stream.next_id(), self._frames.item, self._leave_asked)
        wanted = self._frames.item(asked.id, len(encoded)).request_stream.request
        wanted.channel = channel
        wanted.message = encoded
        wanted.timeout.seconds = int(timeout)
        wanted.timeout.nanos = int(timeout % 1 * 1e9)
        _fill_terms(wanted, terms)
        self._asked[asked.id] = asked
        self._limit(asked.id, channel, correlation_id, timeout)
        return asked

    def _leave_asked(self, asked: AskedRequest) -> None:
        if self._end_asked(asked.id) is not None:
            self._cancel(asked.id)

    def _end_asked(self, id: int) -> AskedRequest | None:
        asked = self._asked.pop(id, None)
        if asked is not None:
            self._deadlines.remove(id)
        return asked

    def _fail_asked(self, error: TrunklineError) -> None:
        for id in list(self._asked):
            asked = self._end_asked(id)
            if asked is not None:
                asked.fail(error)

    # What a move needs; see `trunkline.bus.grpc.moving`.

    def live(self) -> list[LiveSubscription]:
        """The live subscriptions that go on."""
        return [
            each for each in self._subscriptions.values() if isinstance(each, LiveSubscription) and not each.is_over
        ]

    def item(self, id: int, size: int = 0) -> Any:
        """A new ClientItem; see `FrameBuilder.item`."""
        return self._frames.item(id, size)

    def leave_all(self) -> list[AnySubscription]:
        """Takes out all subscriptions that go on, behind all that was said of them."""
        self._gather_settled()
        leaving = [each for each in self._subscriptions.values() if not each.is_over]
        for subscription in leaving:
            del self._subscriptions[subscription.id]
        return leaving

    def adopt(self, subscription: AnySubscription, id: int | None = None) -> None:
        """Takes in a subscription of another session, as an item here; default: a new one."""
        subscription.move(id or self.stream.next_id(), self.item, self.end)
        if isinstance(subscription, DurableSubscription):
            subscription.move_durable(self._touch, self.stream.flush)
        elif isinstance(subscription, ResponderSubscription):
            subscription.move_responder(self._touch)
        self._subscriptions[subscription.id] = subscription

    def take_place_of(self, old: BusSession) -> None:
        """Tells from now on what that session told."""
        self._on_disconnected, self._on_reconnected = old._on_disconnected, old._on_reconnected
        old.is_retired = True
        old.stream.retire()

    def inherit(self, old: BusSession) -> None:
        """Tells with the next flush what was refused of that session's messages."""
        if (refused := old._publisher.left()) is not None:
            self._publisher.remember(refused)

    def remember(self, error: TrunklineError) -> None:
        """Tells an error with the next flush."""
        self._publisher.remember(error)

    async def published_has_arrived(self) -> None:
        """Waits until what was published here so far has arrived at all replicas."""
        await self._ping(sent=True)

    async def _ping(self, *, sent: bool) -> None:
        """Waits until the service took what was said before; with `sent`, until what was published has arrived at all
        replicas."""
        id, answer = self.stream.expect()
        ping = self._frames.item(id).ping
        ping.SetInParent()
        ping.sent = sent
        try:
            await answer
        finally:
            self.stream.forget(id)

    async def flush(self) -> None:
        """Waits until the service took everything; raises what it refused, or that the stream was lost."""
        self.stream.check_up()
        published = self._publisher.published
        await self._ping(sent=False)
        self._publisher.confirm(published)

    async def open(
        self,
        pattern: str,
        group: str,
        window: int | None,
        on_lagged: Callable[[int], None] | None,
        on_error: OnError | None,
        observer: bool,
    ) -> LiveSubscription:
        """Opens a subscription; in effect on return."""
        subscription = self.live_subscription(
            self.stream.next_id(), pattern, group, window, self._frames.item, self.end, on_lagged, on_error, observer
        )
        return await self._begin(subscription)

    async def _begin(self, subscription: S) -> S:
        self._subscriptions[subscription.id] = subscription
        if self.stream.is_up:
            subscription.start()
        try:
            await subscription.started()
        except BaseException:
            subscription.leave()  # which may be another session's by now
            raise
        return subscription

    async def open_durable(
        self,
        pattern: str,
        durable: str,
        start: Start,
        settings: DurableSettings | None,
        window: int,
        on_error: OnError | None,
        on_paused: Callable[[bool], None] | None,
    ) -> DurableSubscription:
        """Opens a durable subscription; in effect on return."""
        id, item = self.stream.next_id(), self._frames.item
        told = (on_error, on_paused, self._touch, self.stream.flush)
        subscription = DurableSubscription(id, pattern, durable, start, settings, window, item, self.end, *told)
        return await self._begin(subscription)

    async def open_worker(
        self,
        pattern: str,
        durable: str,
        start: Start,
        settings: DurableSettings | None,
        window: int,
        on_error: OnError | None,
        name: str,
        encode: Callable[[AgentMessage, str | None], bytes],
    ) -> TaskSubscription:
        """Opens a durable subscription whose messages are worked on as tasks; in effect on return."""
        options = (self.stream.next_id(), pattern, durable, start, settings, window)
        ways = (self._frames.item, self.end, on_error, None, self._touch, self.stream.flush)
        return await self._begin(TaskSubscription(*options, *ways, name=name, encode=encode))

    async def open_responder(
        self,
        pattern: str,
        group: str,
        window: int,
        on_error: OnError | None,
        name: str,
        encode: Callable[[AgentMessage, str | None], bytes],
    ) -> ResponderSubscription:
        """Opens a subscription that answers requests; in effect on return."""
        id, item = self.stream.next_id(), self._frames.item
        subscription = ResponderSubscription(
            id, pattern, group, window, item, self.end, on_error, name, encode, self._touch
        )
        return await self._begin(subscription)

    def run(self, subscription: Subscription[M], callback: Callable[[M], Awaitable[None]], concurrency: int) -> None:
        """Gives each message of a subscription to a callback, `concurrency` at once."""
        subscription.run(callback, concurrency)

    def end(self, subscription: Subscription[Any]) -> None:
        """Ends a subscription; idempotent. One that is durable, or answers requests, ends when what runs is done."""
        subscription.close()
        if subscription.id not in self._subscriptions:
            return
        if isinstance(subscription, ResponderSubscription):
            self._gather_settled()  # what it has accepted stays its own
            self._frames.item(subscription.id).cancel.finish = True
        if isinstance(subscription, DurableSubscription | ResponderSubscription):
            leaving = asyncio.ensure_future(self._end_when_finished(subscription))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        else:
            del self._subscriptions[subscription.id]
            self._cancel(subscription.id)

    async def _end_when_finished(self, subscription: DurableSubscription | ResponderSubscription) -> None:
        await subscription.finished()
        self._cancel_durable(subscription)

    def _cancel_durable(self, subscription: DurableSubscription | ResponderSubscription) -> None:
        """Ends one that holds nothing any more, behind all that was said of it."""
        if self._subscriptions.pop(subscription.id, None) is not None:
            self._gather_settled()
            cancel = self._frames.item(subscription.id).cancel
            cancel.nothing_begun = True  # what crosses it on the way goes to others

    def end_all(self, pattern: str) -> None:
        """Ends the subscriptions of a pattern."""
        for subscription in [each for each in self._subscriptions.values() if each.pattern == pattern]:
            self.end(subscription)

    # What the stream calls.

    def gather(self, room: int) -> list[bytes]:
        """The open frame: the youngest of what goes out."""
        self._gather_settled()
        return self._frames.gather(room)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way here any more."""
        return not (
            self.visitors
            or self.stream.pending
            or self.stream.uses
            or self._publisher.awaits_receipts
            or self._asked
            or self._subscriptions
            or self._leaving
        )

    def on_up(self) -> None:
        """Asks for every subscription again, then sends what was published and could not be sent."""
        self.lives += 1
        self._publisher.on_up()
        self._frames.forget_items()  # credits and cancels of the lost stream's subscriptions
        held = self._frames.gather(0)
        for subscription in self._subscriptions.values():
            subscription.start()
        self._frames.seal()
        for frame in (*self.stream.take_kept(), *held):
            self.stream.put(frame, keep=True)
        self._publisher.store_again()
        self.bus_is_away = BUS_AWAY in self.stream.greeting
        if not self.bus_is_away:
            self._bus_there.set()
        if self._was_up and not self.bus_is_away:
            notify(self._on_reconnected)
        self._was_up = True

    def _touch(self, subscription: DurableSubscription | ResponderSubscription) -> None:
        self._touched[subscription] = None
        self.stream.schedule()

    def _gather_settled(self) -> None:
        if self._touched:
            touched, self._touched = self._touched, {}
            for subscription in touched:
                subscription.gather()

    def on_down(self, error: TrunklineError) -> None:
        """Says that the connection was lost; what was published and not flushed may be lost too, and is a warning."""
        log.log(
            logging.WARNING if self._publisher.is_unconfirmed else logging.INFO,
            "the connection to %s was lost: %s",
            self.stream.address,
            error,
        )
        self._frames.forget_items()
        self._fail_asked(error)
        for subscription in self._subscriptions.values():
            subscription.stream_lost()
        is_refused = isinstance(error, UnauthenticatedError | PermissionDeniedError)
        if is_refused:  # the stream does not come back
            for id in list(self._subscriptions):
                self._take_error(id, error)
        stores_again = HOLDS_STORED in self.stream.greeting and not (is_refused or self.is_retired)
        self._publisher.on_down(error, stores_again=stores_again)
        visitors, self.visitors = self.visitors, {}
        for visitor in visitors.values():
            visitor.end(error)
        self.changed.set()
        if self.is_retired:
            return
        if not self.bus_is_away:  # else it was told when that began
            notify(self._on_disconnected, error)

    def on_frame(self, frame: Any) -> None:
        """Gives each item of a frame to whom it is for."""
        for item in frame.items:
            match item.WhichOneof("item"):
                case "subscription":
                    self._take_subscription(item.id, item.subscription)
                case "published":
                    self._publisher.take(item.id, item.published)
                case "reply":
                    try:
                        wire = parse_message(item.reply.message)
                        self.stream.settle(item.id, decode_message(wire, item.reply.channel))
                    except InvalidMessageError as error:
                        self.stream.fail(item.id, error)
                case "request_events" | "request_end" as kind:
                    self._take_events(item.id, getattr(item, kind).events, kind == "request_end")
                case "error":
                    self._take_error(item.id, error_from_item(item.error))
                case "pong" | "cancelled" as kind:
                    if not self.stream.settle(item.id, kind) and (visitor := self.visitors.pop(item.id, None)):
                        visitor.end(None)
                case "move":
                    self._on_move(self)
                case "bus_connected":
                    self.bus_is_away = False
                    self._bus_there.set()
                    notify(self._on_reconnected)
        if self.is_retired:
            self.changed.set()

    def _take_subscription(self, id: int, frame: Any) -> None:
        subscription = self._subscriptions.get(id)
        if subscription is not None:
            subscription.take(frame)
        elif (visitor := self.visitors.get(id)) is not None:
            visitor.take(frame)
        elif frame.WhichOneof("frame") == "refused":
            log.warning("what was said of messages came too late: %s", frame.refused.error.message)

    def _take_events(self, id: int, events: Any, is_end: bool) -> None:
        asked = self._end_asked(id) if is_end else self._asked.get(id)
        if asked is not None:
            asked.take(events, is_end)

    def _take_error(self, id: int, error: TrunklineError) -> None:
        subscription = self._subscriptions.get(id)
        if subscription is not None and subscription.has_started and (wait := wait_of(error)) is not None:
            # The service may not know yet that the stream is lost on which it was open.
            self._loop.call_later(wait, self._start_again, subscription, self.lives)
        elif subscription is not None:
            del self._subscriptions[id]
            subscription.fail(error)
        elif (asked := self._end_asked(id)) is not None:
            asked.fail(error)
        elif (visitor := self.visitors.pop(id, None)) is not None:
            visitor.end(error)
        elif not id:
            log.error("the service refused a message: %s", error)
            self._publisher.remember(error)
            self._publisher.slow_down(error)
        elif not (self._publisher.refuse(id, error) or self.stream.fail(id, error)):
            log.debug("nobody waits any more for what the service refused: %s", error)

    def _start_again(self, subscription: AnySubscription, life: int) -> None:
        """Asks for a subscription that was refused for now, unless it was asked for since."""
        if self.lives == life and self.stream.is_up and subscription in self._subscriptions.values():
            subscription.start()

    def _limit(self, id: int, channel: str, correlation_id: str, timeout: float) -> None:
        self._deadlines.add(self._loop, id, self._loop.time() + timeout, channel, correlation_id, timeout)

    def _give_up(self, id: int, channel: str, correlation_id: str, timeout: float) -> None:
        """Ends a request at its deadline, where the service did not: it has the same, and forgets it by itself."""
        error = RequestTimeoutError(
            f"no reply on {channel!r} within {timeout:g} s",
            details={"channel": channel, "correlation_id": correlation_id, "timeout_seconds": timeout},
        )
        asked = self._end_asked(id)
        if asked is not None:
            asked.fail(error)
        else:
            self.stream.fail(id, error)

    def _cancel(self, id: int) -> None:
        self._frames.item(id).cancel.SetInParent()


def _fill_terms(wanted: Any, terms: RequestTerms) -> None:
    """Fills in what is wished of a request beside its timeout."""
    if terms.idle_timeout is not None:
        wanted.idle_timeout.seconds = int(terms.idle_timeout)
        wanted.idle_timeout.nanos = int(terms.idle_timeout % 1 * 1e9)
    wanted.wait_for_responder = terms.wait_for_responder
    wanted.repeatable = terms.repeatable
    wanted.outlives_asker = terms.outlives_asker
    wanted.traceback = terms.traceback
