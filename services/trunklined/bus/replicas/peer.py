"""Peer: one other replica of the bus. To the broker it is a subscriber with many patterns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from trunkline.delivery import RequestTerms
from trunkline.errors import InvalidMessageError, OverloadedError, TrunklineError
from trunkline.limits import FRAME_MESSAGES, MiB
from trunklined.bus.groups import GroupKey
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.pattern_index import PatternIndex
from trunklined.bus.queue import Subscriber, SubscriptionQueue
from trunklined.bus.replicas import items
from trunklined.bus.replicas.forwarded_request import ForwardedRequest
from trunklined.bus.replicas.peers import Home
from trunklined.bus.requests import Correlated, PendingRequest, Responder, Said, not_found

MAX_FRAME_BYTES: Final = MiB
"""A frame gets no more items when it is so large."""
MAX_FRAME_MESSAGES: Final = 8 * FRAME_MESSAGES
FORGET_AFTER: Final = 5.0
"""Seconds after its deadline in which a request is forgotten here that the other replica never called off."""

_NO_GROUP: Final = ("", "")


log = structlog.get_logger()


class RouteQueue(SubscriptionQueue):
    """What waits for another replica, and is for all there who are in no group."""

    __slots__ = ("answering",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.answering: PatternIndex[str] = PatternIndex()
        """The patterns of those there who could answer a request."""

    @property
    def is_here(self) -> bool:
        return False

    def can_answer(self, channel: str) -> bool:
        return bool(self.answering.match(channel))

    def has_responder(self, channel: str) -> bool:
        """As `can_answer`: it says what becomes of what it was handed."""
        return self.can_answer(channel)

    def has_other(self, channel: str) -> bool:
        return False


class _Place(Subscriber):
    """Takes a group's messages for its members at another replica."""

    __slots__ = ("key", "sent")

    def __init__(self, key: GroupKey, peer: str, wake: Callable[[Subscriber], None], responder: Responder) -> None:
        super().__init__(0, peer, 0, wake, responder=responder)
        self.key = key
        self.sent = 0

    @property
    def is_responder(self) -> bool:
        return not self.observer

    @property
    def is_other(self) -> bool:
        return False

    def allow(self, allowed: int | None) -> None:
        """Allows so many messages in all."""
        self.credit = None if allowed is None else max(0, allowed - self.sent)
        if self.queue is not None:
            self.queue.feed(self)


class _RemoteResponder(Responder):
    """Whoever answers at another replica."""

    __slots__ = ("on_forgotten",)

    def __init__(self, *arguments: Any, on_forgotten: Callable[[str], None]) -> None:
        super().__init__(*arguments)
        self.on_forgotten = on_forgotten

    def forget(self, request_id: str) -> None:
        self.on_forgotten(request_id)


class Peer:
    """Keeps what another replica wants, sends it that, and does here what it says.

    Args:
        id: the other's, of this life of its connection.
        name: where it serves, for people.
        own_id: this replica's.
        home: the broker here.
        on_known: called when it knows another version of the interest here.
    """

    def __init__(
        self,
        id: str,
        name: str,
        own_id: str,
        home: Home,
        on_known: Callable[[], None],
    ) -> None:
        self.id = id
        self.name = name
        self._own_id = own_id
        self._home = home
        self._on_known = on_known
        self._loop = asyncio.get_running_loop()
        self.since = self._loop.time()
        self.known = -1
        """The version of the interest here that it knows."""
        self.is_welcome = False
        """Its interest is known here."""
        self.is_gone = False
        self._queue = home.make_route_queue(RouteQueue)
        self._responder = _RemoteResponder(name, self._call_off, self._grant, on_forgotten=self._forget)
        self._subscriber = Subscriber(0, name, None, self._wake, responder=self._responder)
        self._interest: dict[GroupKey, items.Entry] = {}
        self._places: dict[GroupKey, _Place] = {}
        self._received: dict[GroupKey, int] = {}
        """Messages of a group that came from it."""
        self._allowed: dict[GroupKey, int | None] = {}
        """What it was told that it may send in all."""
        self._forwarded: dict[str, ForwardedRequest] = {}
        """Requests that were asked there, and are pending here."""
        self._replying = ""
        """The request whose reply it tells of now."""
        self._calls: dict[int, asyncio.Future[Any]] = {}
        """What it was asked, and did not answer yet."""
        self.newcomers: set[SubscriptionQueue] = set()
        """Queues that began here, while messages may still come that waited there before: those are not for them."""
        self._answering: set[asyncio.Task[None]] = set()
        """What it asks, while that is looked up."""
        self._waiting: deque[tuple[items.Item, int]] = deque()
        """Items with about their size, beside messages."""
        self._hungry: deque[Subscriber] = deque()
        self._awake: set[Subscriber] = set()
        self._more = asyncio.Event()
        self._is_sending = False
        self._emptied = asyncio.Event()
        """Nothing is sent, and nothing waits that may be."""
        self._emptied.set()
        self._marks: deque[tuple[int, Callable[[], None]]] = deque()
        """Who waits until so many messages have left the queue, and are sent."""
        self._queue.join(self._subscriber)
        home.open_route(self._queue)

    # What is sent.

    async def run(self, send: Callable[[str, bytes], Any]) -> None:
        """Sends what gathers, a frame as soon as the one before it is sent; returns when the other is no more.

        Args:
            send: see `Exchange.send`.
        """
        while True:
            await self._more.wait()
            self._more.clear()
            while (frame := self._next_frame()) is not None:
                self._is_sending = True
                if not await send(self.id, frame):
                    return
                self._is_sending = False
                self._look_sent()
            self._look_sent()  # what expired left without a frame
            self._emptied.set()

    def _when_sent(self, tell: Callable[[], None]) -> None:
        """Calls `tell` when so many messages are sent as wait now for all there who are in no group, or the other is
        gone: at once where none wait, and none are being sent."""
        if self.is_gone or not (self._queue.count or self._is_sending):
            tell()
        else:
            self._marks.append((self._left + self._queue.count, tell))

    @property
    def _left(self) -> int:
        """How many messages have left the queue."""
        drops = self._queue.drops
        return self._subscriber.delivered + drops.lagged + drops.evicted + drops.expired

    def _look_sent(self) -> None:
        while self._marks and self._marks[0][0] <= self._left:
            self._marks.popleft()[1]()

    async def give_all(self) -> None:
        """Lets the other have what waits for groups that have members there, whatever they would take; returns when
        all is sent, or the other is gone."""
        for place in self._places.values():
            place.allow(None)
        await self._emptied.wait()

    def put(self, item: items.Item, size: int = 0) -> None:
        """Sends an item behind those before it; `size`: about its bytes."""
        self._waiting.append((item, size))
        self._emptied.clear()
        self._more.set()

    def _wake(self, subscriber: Subscriber) -> None:
        if subscriber not in self._awake:
            self._awake.add(subscriber)
            self._hungry.append(subscriber)
            self._emptied.clear()
            self._more.set()

    def _next_frame(self) -> bytes | None:
        frame = items.Frame(self._own_id, [])
        taken, size, messages = frame.items, 0, 0
        while self._waiting and size < MAX_FRAME_BYTES:
            item, its_size = self._waiting.popleft()
            taken.append(item)
            size += its_size
        while self._hungry and size < MAX_FRAME_BYTES and messages < MAX_FRAME_MESSAGES:
            subscriber = self._hungry.popleft()
            queue = subscriber.queue
            batch = None if queue is None else queue.take(subscriber, FRAME_MESSAGES, self._home.clock())
            if batch is None:
                self._awake.discard(subscriber)
                continue
            self._hungry.append(subscriber)
            taken.append(self._messages_of(subscriber, batch))
            size += batch.size
            messages += len(batch.messages)
        return items.encode_frame(frame) if taken else None

    def _messages_of(self, subscriber: Subscriber, batch: MessageBatch) -> items.Messages:
        pattern, group = _NO_GROUP
        if isinstance(subscriber, _Place):
            pattern, group = subscriber.key
            subscriber.sent += len(batch.messages)
            queue = subscriber.queue
            if queue is not None and (dropped := queue.tell_dropped()):
                self.put(items.Lagged(pattern, group, dropped))
        requests = [_asked(index, request) for index, request in self._home.hand_out(subscriber, batch)]
        return items.Messages(
            batch.channel, batch.level, batch.messages, batch.expires_at, batch.first_sequence, pattern, group, requests
        )

    def tell_credit(self, key: GroupKey) -> None:
        """Tells how many messages of a group it may send."""
        here = self._home.groups.here(key)
        if here is None:
            return
        credit = here.credit
        allowed = None if credit is None else self._received.get(key, 0) + credit
        if allowed != self._allowed.get(key, 0):
            self._allowed[key] = allowed
            self.put(items.Credit(*key, allowed))

    def forget_credit(self, key: GroupKey) -> None:
        """Begins anew with a group, as the other does when it hears that nobody is in it here."""
        self._allowed.pop(key, None)
        self._received.pop(key, None)

    def _call_off(self, request_id: str, by: str, reason: str) -> None:
        self.put(items.CalledOff(request_id, by, reason))

    def _grant(self, request_id: str, parts: int) -> None:
        self.put(items.PartCredit(request_id, parts))

    def _forget(self, request_id: str) -> None:
        if request_id != self._replying:
            self.put(items.Forgotten(request_id))

    async def cancel(self, call: int, request_id: str, by: str, reason: str) -> bool:
        """Cancels a request that is pending there; returns False where it is not."""
        answered: items.Cancelled | None = await self._ask(call, items.Cancel(call, request_id, by, reason))
        return answered is not None and answered.found

    async def ask(self, call: int, name: str, request: bytes) -> bytes | None:
        """Returns its own part of the answer to a question; None where it has none, or is gone."""
        answered: items.Answer | None = await self._ask(call, items.Question(call, name, request))
        return None if answered is None else answered.encoded

    def when_received(self, call: int, tell: Callable[[], None]) -> None:
        """Calls `tell` when the messages have arrived that wait there for this replica, or the other is gone. What
        comes later is for the newcomers of now, too."""
        newcomers = list(self.newcomers)

        def received(_: object) -> None:
            self.newcomers.difference_update(newcomers)
            tell()

        self._ask(call, items.Flush(call)).add_done_callback(received)

    def when_arrived(self, call: int, tell: Callable[[], None]) -> None:
        """Calls `tell` when the messages have arrived there that wait here for it, or the other is gone."""
        self._when_sent(lambda: self.when_received(call, tell))  # it takes what it gets in order

    def _ask(self, call: int, question: items.Item) -> asyncio.Future[Any]:
        """Asks it; the result is what it answers, None where it is gone."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self.is_gone:
            answer.set_result(None)
            return answer
        self._calls[call] = answer
        answer.add_done_callback(lambda _: self._calls.pop(call, None))
        self.put(question)
        return answer

    def close(self) -> None:
        """The other is gone: nobody there wants anything any more, and what it held is lost."""
        self.is_gone = True
        for entry in list(self._interest.values()):
            self._apply(items.Entry(entry.pattern, entry.group, 0, answers=False))
        self._home.close_route(self._queue, self._subscriber)
        for request in list(self._forwarded.values()):
            request.leave()
        self._forwarded.clear()
        for answer in list(self._calls.values()):
            if not answer.done():
                answer.set_result(None)
        for task in self._answering:
            task.cancel()
        while self._marks:
            self._marks.popleft()[1]()
        self._emptied.set()

    # What it says.

    def take(self, item: items.Item) -> None:
        """Does what an item says."""
        _TAKE[type(item)](self, item)

    def _hear(self, item: items.Hello) -> None:
        self.is_welcome = True
        self._learn(item.version, item.interest)

    def _learn(self, version: int, entries: Sequence[items.Entry]) -> None:
        for entry in entries:
            self._apply(entry)
        self.put(items.Known(version))

    def _note_known(self, item: items.Known) -> None:
        self.known = item.version
        self._on_known()

    def _note_alive(self, item: items.Alive) -> None:
        pass

    def _allow(self, item: items.Credit) -> None:
        place = self._places.get((item.pattern, item.group))
        if place is not None:
            place.allow(item.allowed)

    def _tell_lagged(self, item: items.Lagged) -> None:
        here = self._home.groups.here((item.pattern, item.group))
        if here is not None:
            here.untold += item.count

    def _end(self, item: items.CalledOff) -> None:
        request = self._forwarded.get(item.request_id)
        if request is not None:
            request.end(item.by, item.reason)

    def _end_quietly(self, item: items.Forgotten) -> None:
        request = self._forwarded.get(item.request_id)
        if request is not None:
            request.forget()

    def _allow_parts(self, item: items.PartCredit) -> None:
        request = self._forwarded.get(item.request_id)
        if request is not None:
            request.grant(item.parts)

    def _look_for_request(self, item: items.Candidates) -> None:
        found = [Correlated(each.correlation_id, each.message_id, each.message) for each in item.messages]
        self._home.resolve(item.channel, found)

    def _note_answer(self, item: items.Cancelled | items.Answer | items.Flushed) -> None:
        answer = self._calls.get(item.call)
        if answer is not None and not answer.done():
            answer.set_result(item)

    def _look_up(self, item: items.Question) -> None:
        task = self._loop.create_task(self._tell(item))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _tell(self, item: items.Question) -> None:
        try:
            encoded = await self._home.answer(item.name, item.request)
        except Exception:  # whoever asked does without this part
            log.exception("a question of another replica was not answered", question=item.name)
            encoded = None
        self.put(items.Answer(item.call, encoded), len(encoded or b""))

    def _flush(self, item: items.Flush) -> None:
        self._when_sent(lambda: self.put(items.Flushed(item.call)))

    def _apply(self, entry: items.Entry) -> None:
        """Takes note of how many want a pattern in a group."""
        key = entry.pattern, entry.group
        before = self._interest.pop(key, None)
        if entry.members:
            self._interest[key] = entry
        elif before is None:
            return
        if entry.group:
            self._apply_to_group(key, entry)
        else:
            self._apply_to_route(entry, before)
        if entry.answers and not (before is not None and before.answers):
            self._home.serve_waiting(entry.pattern)

    def _apply_to_route(self, entry: items.Entry, before: items.Entry | None) -> None:
        pattern, queue = entry.pattern, self._queue
        answered = before is not None and before.answers
        if entry.answers and not answered:
            queue.answering.add(pattern, pattern, bounded=False)
        elif answered and not entry.answers:
            queue.answering.remove(pattern, pattern)
        if before is None:
            self._home.route(pattern, queue)
        elif not entry.members:
            self._home.unroute(pattern, queue)

    def _apply_to_group(self, key: GroupKey, entry: items.Entry) -> None:
        place = self._places.get(key)
        if not entry.members:
            self._home.groups.leave(key, self._places.pop(key))
            return
        is_new = place is None
        if place is None:
            place = self._places[key] = _Place(key, self.name, self._wake, self._responder)
        place.share, place.observer = entry.members, not entry.answers
        if is_new:
            self._home.groups.join(key, place)

    def _arrive(self, item: items.Messages) -> None:
        messages = item.messages
        size = sum(map(len, messages))
        batch = MessageBatch(item.channel, item.level, messages, size, item.expires_at, item.first_sequence)
        key = (item.pattern, item.group) if item.group else None
        if key is not None:
            self._received[key] = self._received.get(key, 0) + len(messages)
        self._home.arrive(batch, key, [self._forward(item.channel, asked) for asked in item.requests], self.newcomers)

    def _forward(self, channel: str, asked: items.Asked) -> tuple[int, ForwardedRequest]:
        request = self._forwarded.get(asked.request_id)
        if request is None:
            terms = RequestTerms(
                asked.idle_timeout,
                repeatable=asked.repeatable,
                outlives_asker=asked.outlives_asker,
                traceback=asked.traceback,
            )
            ids = asked.message_id, asked.request_id
            timeout = asked.timeout + FORGET_AFTER
            request = ForwardedRequest(self, channel, *ids, timeout, terms, asked.attempts, asked.credit)
            self._forwarded[asked.request_id] = request
        return asked.index, request

    def _answer(self, item: items.Answered) -> None:
        said = [Said(each.kind, each.encoded, each.responder, each.fraction) for each in item.events]
        try:
            request = self._home.pending_request(item.request_id)
            if request is None:
                raise not_found(item.request_id, "not pending")
            request.answer(self._responder, said)
        except TrunklineError as error:
            self.put(items.CalledOff(item.request_id, "the bus", error.message))

    def _reply(self, item: items.Replied) -> None:
        request = self._home.pending_request(item.request_id)
        if request is not None:
            self._replying = item.request_id
            request.reply(item.channel, item.message)
            self._replying = ""

    def _take_back(self, item: items.GivenBack) -> None:
        request = self._home.pending_request(item.request_id)
        if request is not None and self._responder in request.holders:
            request.responder_name = item.responder
            self._home.give_back(request, self._responder, begun=item.begun)

    def _refuse(self, item: items.Refused) -> None:
        request = self._home.pending_request(item.request_id)
        if request is not None and self._responder in request.holders:
            kind = OverloadedError if item.error_code == OverloadedError.error_code else InvalidMessageError
            request.fail(kind(item.text, details=item.details))

    def _cancel(self, item: items.Cancel) -> None:
        request = self._home.pending_request(item.request_id)
        found = request is not None and not isinstance(request, ForwardedRequest)
        if request is not None and found:
            request.cancel(item.by, item.reason)
        if item.call:
            self.put(items.Cancelled(item.call, found))

    # What becomes here of what was asked there.

    def answered(self, request_id: str, said: Sequence[Said]) -> None:
        events = [items.Event(each.kind, each.encoded, each.responder, each.fraction) for each in said]
        self.put(items.Answered(request_id, events), sum(len(each.encoded) for each in said))

    def replied(self, request_id: str, channel: str, message: bytes) -> None:
        self.put(items.Replied(request_id, channel, message), len(message))

    def given_back(self, request_id: str, *, begun: bool, responder: str) -> None:
        self._forwarded.pop(request_id, None)
        self.put(items.GivenBack(request_id, begun, responder))

    def refused(self, request_id: str, error: TrunklineError) -> None:
        self._forwarded.pop(request_id, None)
        self.put(items.Refused(request_id, error.error_code, error.message, error.details))

    def cancelled(self, request_id: str, by: str, reason: str) -> None:
        self.put(items.Cancel(0, request_id, by, reason))

    def done_with(self, request: ForwardedRequest) -> None:
        self._forwarded.pop(request.correlation_id, None)


def _asked(index: int, request: PendingRequest) -> items.Asked:
    terms = request.terms
    return items.Asked(
        index,
        request.correlation_id,
        request.message_id,
        request.time_left,
        terms.idle_timeout,
        terms.repeatable,
        terms.outlives_asker,
        terms.traceback,
        request.attempts,
        None if request.on_events is None else request.credit,
    )


_TAKE: Final[dict[type[items.Item], Callable[[Peer, Any], None]]] = {
    items.Hello: Peer._hear,
    items.Interest: lambda peer, item: peer._learn(item.version, item.changes),
    items.Known: Peer._note_known,
    items.Credit: Peer._allow,
    items.Messages: Peer._arrive,
    items.Answered: Peer._answer,
    items.Replied: Peer._reply,
    items.GivenBack: Peer._take_back,
    items.Refused: Peer._refuse,
    items.CalledOff: Peer._end,
    items.Forgotten: Peer._end_quietly,
    items.PartCredit: Peer._allow_parts,
    items.Alive: Peer._note_alive,
    items.Candidates: Peer._look_for_request,
    items.Cancel: Peer._cancel,
    items.Cancelled: Peer._note_answer,
    items.Question: Peer._look_up,
    items.Answer: Peer._note_answer,
    items.Flush: Peer._flush,
    items.Flushed: Peer._note_answer,
    items.Lagged: Peer._tell_lagged,
}
