"""PendingRequests: who waits for an answer, by correlation id; and who holds the request meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from trunkline.delivery import RequestTerms
from trunkline.errors import (
    InvalidMessageError,
    OverloadedError,
    RequestCancelledError,
    RequestNotFoundError,
    RequestTimeoutError,
    ResponderLostError,
    TrunklineError,
)
from trunkline.limits import MAX_PART_CREDIT
from trunklined.bus.description import LifeFormat
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.recent import EventKind, RecentEvents
from trunklined.rpc.histogram import Histogram

LATENCY_BOUNDS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""Upper bounds of the buckets of the time from a request to its reply, in seconds."""


@dataclass(frozen=True, slots=True)
class Correlated:
    """A published message that carries a correlation id, and may therefore be a reply."""

    correlation_id: str
    message_id: str
    message: bytes


PLAIN: Final = RequestTerms()
"""Nothing special."""


class Said(NamedTuple):
    """An event that a responder says of a request.

    Attributes:
        kind: "accepted", "progress", "part", "result", "failure" or "cancelled".
        encoded: it, without number and time.
        responder: of "accepted": the name that it gives itself.
        fraction: of "progress". None: unknown.
    """

    kind: str
    encoded: bytes
    responder: str = ""
    fraction: float | None = None


ENDS: Final = frozenset({"result", "failure", "cancelled"})
"""The events behind which none comes."""


class Responder:
    """Somebody who answers requests: a subscription, or whoever answers without one.

    Args:
        name: what it is called where it gives itself no name.
        on_called_off: told the id of a request that it need not answer any more, who did that and why.
        on_credit: told the id of a request, and how many more parts of it may be sent.
    """

    __slots__ = ("held", "name", "on_called_off", "on_credit")

    def __init__(
        self, name: str, on_called_off: Callable[[str, str, str], None], on_credit: Callable[[str, int], None]
    ) -> None:
        self.name = name
        self.on_called_off = on_called_off
        self.on_credit = on_credit
        self.held: dict[str, PendingRequest] = {}
        """What it was handed and did not end."""

    def forget(self, request_id: str) -> None:
        """Is told of a request that it was handed, and that a published reply has answered."""


_ANYBODY: Final = Responder("", lambda *_: None, lambda *_: None)
"""Whoever answers without a subscription."""


class PendingRequest:
    """One request that waits for its end; it is settled once, by reply, error, end or `leave()`.

    Args:
        id: what its caller knows it by.
        on_reply: called with the request, the reply's channel and the encoded reply.
        on_error: called with the request and what went wrong.
        terms: what is wished of it.
        credit: how many parts may be sent before more is granted.
        on_events: called with the request, encoded events, and whether the last of them is the end; then `on_reply` is
            not called. None: only the end is of interest.
    """

    __slots__ = (
        *("_fraction", "_idle_timer", "_last_sign", "_pending", "_since", "_timer", "accepted_by", "attempts", "batch"),
        *("begun", "channel", "correlation_id", "credit", "holders", "id", "message_id", "number", "on_error"),
        *(
            "on_events",
            "on_reply",
            "on_settled",
            "others",
            "responder_name",
            "sequence",
            "terms",
            "timeout",
            "waiting_in",
        ),
    )

    def __init__(
        self,
        id: int,
        channel: str,
        message_id: str,
        correlation_id: str,
        timeout: float,
        on_reply: Callable[[PendingRequest, str, bytes], None],
        on_error: Callable[[PendingRequest, TrunklineError], None],
        terms: RequestTerms = PLAIN,
        credit: int = 0,
        on_events: Callable[[PendingRequest, list[bytes], bool], None] | None = None,
    ) -> None:
        self.on_settled: Callable[[], None] | None = None
        """Called once, when it waits no more, however that came."""
        self.id = id
        self.channel = channel
        self.message_id = message_id
        self.correlation_id = correlation_id
        self.timeout = timeout
        self.on_reply = on_reply
        self.on_error = on_error
        self.terms = terms
        self.on_events = on_events
        self.number = 0
        """Of its last event."""
        self.credit = credit
        self.attempts = 0
        self.accepted_by: Responder | None = None
        self.responder_name = ""
        """Of who accepted it, as it calls itself."""
        self.begun = False
        """Whether somebody may have begun with it."""
        self.holders: set[Responder] = set()
        """The responders that it was handed to."""
        self.waiting_in: set[object] = set()
        """The queues of responders in which it waits."""
        self.others = False
        """Whether it went to subscribers that may answer, and are no responders: they are not known to hold it."""
        self.batch: MessageBatch | None = None
        """Its message, while it may have to be handed out again."""
        self.sequence = 0
        self._fraction = 0.0
        self._pending: PendingRequests | None = None
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._last_sign = 0.0

    @property
    def is_pending(self) -> bool:
        """Whether it has no end yet."""
        return self._pending is not None

    @property
    def has_begun(self) -> bool:
        """Whether it waits for its end, or has had it."""
        return self._timer is not None

    @property
    def time_left(self) -> float:
        """Seconds until its deadline, at least 0."""
        return max(0.0, self.timeout - self.age)

    @property
    def age(self) -> float:
        """Seconds since it began to wait."""
        return time.perf_counter() - self._since

    @property
    def responders(self) -> list[str]:
        """Names of those that it was handed to, or of the one that accepted it."""
        names = [self.responder_name] if self.accepted_by is not None else [each.name for each in self.holders]
        return sorted(filter(None, names))

    def start(self, pending: PendingRequests, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to wait; the deadline counts from here."""
        self._since = time.perf_counter()
        self._pending = pending
        self._timer = loop.call_later(self.timeout, self._expire)

    def offered(self) -> None:
        """Is called when it waits for responders' answers, and not for responders: a sign of life is expected."""
        if self.terms.idle_timeout is not None:
            loop = asyncio.get_running_loop()
            self._last_sign = loop.time()
            self._watch(loop, self.terms.idle_timeout)

    def leave(self) -> None:
        """Nobody waits for the answer any more. Unless it outlives that, it is forgotten; who works on it is told."""
        if self.terms.outlives_asker:
            self.on_events = None
            self.on_reply = self.on_error = _tell_nobody
        elif self._settle(why := "nobody waits for the answer any more"):
            self.call_off("the asker", why)

    def reply(self, channel: str, message: bytes) -> None:
        """Settles it with a reply that was published. Who works on it is not called off: it may have published that."""
        pending = self._pending
        if pending is not None and self._settle():
            pending.latency.observe(time.perf_counter() - self._since)
            for holder in self.holders:
                holder.forget(self.correlation_id)
            if self.on_events is None:
                self.on_reply(self, channel, message)
            else:
                self.on_events(self, [self._stamped(pending, pending.format.result(channel, message))], True)

    def fail(self, error: TrunklineError) -> None:
        """Settles it with an error."""
        if self._settle(f"{error.error_code}: {error.message}"):
            self.on_error(self, error)
            self.call_off("the bus", error.message)

    def cancel(self, by: str, reason: str) -> None:
        """Ends it since somebody calls it off: who works on it is told, and who asked."""
        pending = self._pending
        if pending is None or not self._settle(f"cancelled by {by or 'somebody'}: {reason}"):
            return
        if self.on_events is not None:
            self.on_events(self, [self._stamped(pending, pending.format.cancelled(by, reason))], True)
        else:
            self.on_error(self, pending.format.error(pending.format.cancelled(by, reason), self.correlation_id))
        self.call_off(by, reason)

    def grant(self, parts: int) -> None:
        """Allows that many more parts."""
        parts = min(parts, MAX_PART_CREDIT - self.credit)
        self.credit += parts
        for holder in self.holders:
            holder.on_credit(self.correlation_id, parts)

    def call_off(self, by: str, reason: str, but: Responder | None = None) -> None:
        """Tells who was handed it that it need not be answered any more."""
        for holder in [each for each in self.holders if each is not but]:
            self.holders.discard(holder)
            holder.held.pop(self.correlation_id, None)
            holder.on_called_off(self.correlation_id, by, reason)

    def give_to(self, responder: Responder) -> bool:
        """Hands it to a responder; False if it is over, or somebody accepted it already."""
        if self._pending is None or self.accepted_by is not None:
            return False
        self.holders.add(responder)
        responder.held[self.correlation_id] = self
        return True

    def take_from(self, responder: Responder) -> None:
        """The responder is gone: nobody has accepted it, if it had."""
        responder.held.pop(self.correlation_id, None)
        self.holders.discard(responder)
        if self.accepted_by is responder:
            self.accepted_by = None
            self.others = False  # whoever else got it was out of it by then

    def lost(self, responder: Responder | None) -> None:
        """Nobody has it any more; `responder` was the last who had."""
        if self._pending is not None:
            self._pending.lost(self, responder)

    @property
    def has_nobody(self) -> bool:
        """Whether nobody who could answer has it, or may be given it."""
        return not (self.accepted_by or self.holders or self.waiting_in or self.others)

    def answer(self, responder: Responder | None, said: Sequence[Said]) -> None:
        """Takes what somebody says of it, up to the first that is refused.

        Args:
            responder: who; None: whoever.

        Raises:
            RequestNotFoundError: it is over, or not that responder's.
            InvalidMessageError: progress that goes back.
            OverloadedError: a part beyond the credit.
        """
        pending = self._pending
        assert pending is not None
        if responder is not None and responder not in self.holders:
            raise not_found(self.correlation_id, "accepted by another" if self.accepted_by else "not pending")
        speaker = responder or _ANYBODY
        if self.accepted_by is not None and self.accepted_by is not speaker:
            raise not_found(self.correlation_id, "accepted by another")
        self._last_sign = pending.loop_time()
        events: list[Said] = []
        end: Said | None = None
        try:
            for each in said:
                if end is not None:
                    raise not_found(self.correlation_id, "not pending")
                if self.accepted_by is None:
                    events.append(self._accept(pending, speaker, each.responder))
                if each.kind == "accepted":
                    continue
                if each.kind == "progress":
                    self._check_progress(each.fraction)
                elif each.kind == "part":
                    if self.on_events is None:
                        continue
                    self._take_credit()
                elif each.kind in ENDS:
                    end = each
                    self._settle("" if each.kind == "result" else each.kind)
                events.append(each)
        finally:
            self._tell(pending, events, end)

    def _tell(self, pending: PendingRequests, events: list[Said], end: Said | None) -> None:
        """Tells who asked what was said of it."""
        if end is not None and end.kind == "result":
            pending.latency.observe(time.perf_counter() - self._since)
        if self.on_events is not None:
            if events:
                now = pending.clock()
                stamped = [self._stamped(pending, each.encoded, now) for each in events]
                self.on_events(self, stamped, end is not None)
        elif end is not None:
            if end.kind == "result":
                self.on_reply(self, "", pending.format.reply(end.encoded, self.correlation_id))
            else:
                self.on_error(self, pending.format.error(end.encoded, self.correlation_id))

    def _accept(self, pending: PendingRequests, responder: Responder, name: str) -> Said:
        self.accepted_by = responder
        self.responder_name = name or responder.name
        self.begun = True
        self.attempts += 1
        self._fraction = 0.0
        self.waiting_in.clear()
        if not self.terms.repeatable:
            self.batch = None
        self.call_off("the bus", "another responder accepted it", but=responder)
        accepted = pending.format.accepted(self.responder_name, self.attempts)
        return Said("accepted", accepted, self.responder_name)

    def _check_progress(self, fraction: float | None) -> None:
        if fraction is None:
            return
        if not self._fraction <= fraction <= 1:
            raise InvalidMessageError(
                f"fraction is {fraction:g}, it must be between {self._fraction:g}, which was said before, and 1",
                details={"field": "fraction", "value": f"{fraction:g}"},
            )
        self._fraction = fraction

    def _take_credit(self) -> None:
        if self.credit < 1:
            raise OverloadedError(
                f"request {self.correlation_id!r} has no credit for another part: who asked has not read those before",
                details={"limit": "credit", "maximum": MAX_PART_CREDIT},
            )
        self.credit -= 1

    def _stamped(self, pending: PendingRequests, encoded: bytes, now: float | None = None) -> bytes:
        self.number += 1
        return encoded + pending.format.stamp(self.number, pending.clock() if now is None else now)

    def _settle(self, why: str = "") -> bool:
        """Takes it out of all books; False if that was done already. `why`: it has no answer."""
        pending, self._pending = self._pending, None
        if pending is None:
            return False
        pending.forget(self)
        sequences = (self.sequence,) if self.sequence else ()
        pending.recent.note(EventKind.ENDED, sequences, self.responder_name, error=why, request_id=self.correlation_id)
        if self._timer is not None:
            self._timer.cancel()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self.batch = None
        for holder in self.holders:
            holder.held.pop(self.correlation_id, None)
        if self.on_settled is not None:
            self.on_settled()
        return True

    def _expire(self) -> None:
        self._time_out("timeout_seconds", f"no reply on {self.channel!r} within {self.timeout:g} s", self.timeout)

    def _watch(self, loop: asyncio.AbstractEventLoop, idle_timeout: float) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = loop.call_at(self._last_sign + idle_timeout, self._look, loop, idle_timeout)

    def _look(self, loop: asyncio.AbstractEventLoop, idle_timeout: float) -> None:
        """A sign of life only notes its time, so that it costs no timer."""
        if loop.time() < self._last_sign + idle_timeout:
            self._watch(loop, idle_timeout)
            return
        text = f"no sign of life of who answers on {self.channel!r} within {idle_timeout:g} s"
        self._time_out("idle_timeout_seconds", text, idle_timeout)

    def _time_out(self, figure: str, text: str, seconds: float) -> None:
        if self._pending is None:
            return
        self._pending.timeouts += 1
        details = {"channel": self.channel, "correlation_id": self.correlation_id, figure: seconds}
        self.fail(RequestTimeoutError(text, details=details))


def _tell_nobody(*_: object) -> None:
    """Takes what nobody waits for."""


def not_found(request_id: str, why: str) -> RequestNotFoundError:
    """Makes the error of an id for which there is nothing to answer or to cancel."""
    return RequestNotFoundError(f"request {request_id!r}: {why}", details={"request_id": request_id, "why": why})


class PendingRequests:
    """Bounded; beyond it new requests are refused with OVERLOADED.

    Args:
        maximum: how many.
        format: how events are written.
        clock: UNIX time in seconds.
        lost: called with a request that nobody has any more, and is not settled.
        recent: told when a request has its end.
    """

    def __init__(
        self,
        maximum: int,
        format: LifeFormat,
        clock: Callable[[], float],
        lost: Callable[[PendingRequest, Responder | None], None],
        recent: RecentEvents,
    ) -> None:
        self._maximum = maximum
        self.format = format
        self.clock = clock
        self.lost = lost
        self.recent = recent
        self._by_correlation: dict[str, PendingRequest] = {}
        self._by_sequence: dict[int, PendingRequest] = {}
        """Those that went to responders, by the sequence of their message."""
        self.waiting: dict[str, PendingRequest] = {}
        """Those that wait for a responder, by correlation id."""
        self._settled: asyncio.Future[None] | None = None
        """Where somebody waits until none is pending."""
        self.timeouts = 0
        self.latency = Histogram(LATENCY_BOUNDS)

    def __contains__(self, correlation_id: str) -> bool:
        return correlation_id in self._by_correlation

    def __len__(self) -> int:
        return len(self._by_correlation)

    @staticmethod
    def loop_time() -> float:
        """The time by which signs of life are counted."""
        return asyncio.get_running_loop().time()

    def add(self, request: PendingRequest) -> None:
        """Starts to wait for a request's reply.

        Raises:
            InvalidMessageError: another pending request has the same correlation id.
            OverloadedError: too many requests are pending.
        """
        if request.correlation_id in self._by_correlation:
            raise InvalidMessageError(
                f"correlation_id {request.correlation_id!r} is in use by another pending request",
                details={"field": "correlation_id", "value": request.correlation_id},
            )
        if len(self._by_correlation) >= self._maximum:
            raise OverloadedError(
                f"{self._maximum} requests are pending already",
                details={"limit": "max_pending_requests", "maximum": self._maximum},
            )
        self._by_correlation[request.correlation_id] = request
        request.start(self, asyncio.get_running_loop())

    def forget(self, request: PendingRequest) -> None:
        """Takes a request out."""
        del self._by_correlation[request.correlation_id]
        if request.sequence:
            self._by_sequence.pop(request.sequence, None)
        if request.terms.wait_for_responder:
            self.waiting.pop(request.correlation_id, None)
        if self._settled is not None and not self._by_correlation and not self._settled.done():
            self._settled.set_result(None)

    def all(self) -> list[PendingRequest]:
        """Returns the pending requests, the oldest first."""
        return list(self._by_correlation.values())

    def get(self, request_id: str) -> PendingRequest | None:
        """Returns a pending request by its correlation id; None: none is."""
        return self._by_correlation.get(request_id)

    def find(self, request_id: str) -> PendingRequest:
        """Returns a pending request by its correlation id, or raises RequestNotFoundError."""
        request = self._by_correlation.get(request_id)
        if request is None:
            raise not_found(request_id, "not pending")
        return request

    async def settled(self) -> None:
        """Waits until none is pending; for one who lets no new ones in."""
        if self._by_correlation:
            self._settled = asyncio.get_running_loop().create_future()
            await self._settled

    def resolve(self, channel: str, correlated: list[Correlated]) -> list[Correlated]:
        """Gives each message that answers a pending request to it; returns those of which none is pending. A request
        does not answer itself."""
        unknown = []
        for message in correlated:
            request = self._by_correlation.get(message.correlation_id)
            if request is None:
                unknown.append(message)
            elif request.message_id != message.message_id:
                request.reply(channel, message.message)
        return unknown

    def put_into(self, queues: Sequence[object], others: bool, request: PendingRequest, sequence: int) -> None:
        """Notes that a request's message goes to queues of responders.

        Args:
            others: whether it also goes to subscribers that may answer, and are no responders.
            sequence: the message's.
        """
        if request.sequence:
            self._by_sequence.pop(request.sequence, None)
        request.sequence = sequence
        request.waiting_in.update(queues)
        request.others = others
        self._by_sequence[sequence] = request

    def move(self, batch: MessageBatch, source: object, target: object) -> None:
        """Notes that messages of one queue wait in another now. None: for those who are not known to hold them."""
        for sequence in range(batch.first_sequence, batch.end) if self._by_sequence else ():
            request = self._by_sequence.get(sequence)
            if request is not None and source in request.waiting_in:
                request.waiting_in.discard(source)
                if target is not None:
                    request.waiting_in.add(target)

    def hand_out(self, queue: object, responder: Responder, batch: MessageBatch) -> list[tuple[int, PendingRequest]]:
        """Notes that a responder was given messages from a queue; returns those that are requests which wait for its
        answer, each with its index."""
        handed = []
        for index in range(len(batch.messages)):
            request = self._by_sequence.get(batch.first_sequence + index)
            if request is not None and queue in request.waiting_in:
                request.waiting_in.discard(queue)
                if request.give_to(responder):
                    handed.append((index, request))
        return handed

    def responder_left(self, responder: Responder, *, nothing_begun: bool, but_accepted: bool = False) -> None:
        """A responder is gone: what it held goes to others, or is lost.

        Args:
            nothing_begun: it says that it has begun with nothing that it did not accept.
            but_accepted: it goes on with what it accepted.
        """
        for request in list(responder.held.values()):
            if but_accepted and request.accepted_by is responder:
                continue
            if request.accepted_by is not responder and not nothing_begun:
                request.begun = True
            request.take_from(responder)
            if request.has_nobody:
                request.lost(responder)

    def given_back(self, request: PendingRequest, responder: Responder, *, begun: bool) -> None:
        """A responder has a request no more: it goes to others, or is lost.

        Args:
            begun: whether it may have begun with it.
        """
        request.begun = request.begun or begun
        request.take_from(responder)
        if request.has_nobody:
            request.lost(responder)

    def queue_left(self, queue: object) -> None:
        """A queue with messages in it is gone. Costs a walk over what went to responders."""
        for request in [each for each in self._by_sequence.values() if queue in each.waiting_in]:
            request.waiting_in.discard(queue)
            if request.has_nobody:
                request.lost(None)

    def fail_all(self, error: TrunklineError) -> None:
        """Settles everything that waits with one error."""
        for request in list(self._by_correlation.values()):
            request.fail(error)


def lost_error(request: PendingRequest, responder: Responder | None) -> ResponderLostError:
    """Makes the error of a request whose responder is gone."""
    name = request.responder_name or ("" if responder is None else responder.name)
    return ResponderLostError(
        f"who held the request on {request.channel!r} is gone; whether it was done is not known",
        details={"channel": request.channel, "request_id": request.correlation_id, "responder": name},
    )


def cancelled_error(request_id: str, by: str, reason: str) -> RequestCancelledError:
    """Makes the error of a request that somebody cancelled."""
    return RequestCancelledError(
        f"request {request_id!r} was cancelled by {by or 'somebody'}: {reason or 'no reason was given'}",
        details={"request_id": request_id, "by": by, "reason": reason},
    )
