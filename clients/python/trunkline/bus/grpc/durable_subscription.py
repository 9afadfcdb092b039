"""DurableSubscription: the client's end of a durable subscription. What it holds, it extends; what is done, it acks."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from trunkline.bus.codec import NO_MESSAGE, decode_durable, parse_message
from trunkline.bus.durable import DurableMessage
from trunkline.bus.durable_codec import position_to_wire, settings_to_wire
from trunkline.bus.grpc.holdings import Attempts, Holdings
from trunkline.bus.grpc.subscription import OnError, Subscription
from trunkline.bus.handling import DurableCallback, handle
from trunkline.callbacks import notify
from trunkline.delivery import DurableSettings, Start
from trunkline.errors import InvalidMessageError, StorageError, TrunklineError
from trunkline.limits import MAX_SETTLED_MESSAGES
from trunkline.v1 import bus_pb2
from trunkline.wire.status import error_from_item

log = logging.getLogger(__name__)

ACKED_SECONDS: Final = 5.0
"""Acks are sent again after a reconnect if they were sent so lately: the service may not have seen them."""


class DurableSubscription(Subscription[DurableMessage]):
    """Settles what it was given.

    Acks and credit gather, and go out with the stream's next frame. A message whose lease was lost (this process stood
    still, or the stream was down for too long) is passed over if it waits here; if a callback has it, its ack is
    refused, which is logged.

    Args:
        durable: its name.
        position: where it starts, if the service has none of this name.
        settings: how it delivers, if the service has none of this name.
        window: messages that may be with this client at once, from 1.
        on_paused: told when it is paused, and when it goes on.
        touched: called when something is to be gathered.
        flush: sends what was said at once.
    """

    def __init__(
        self,
        id: int,
        pattern: str,
        durable: str,
        position: Start,
        settings: DurableSettings | None,
        window: int,
        item: Callable[..., Any],
        left: Callable[[Subscription[DurableMessage]], None],
        on_error: OnError | None,
        on_paused: Callable[[bool], None] | None,
        touched: Callable[[DurableSubscription], None],
        flush: Callable[[], None],
    ) -> None:
        super().__init__(id, pattern, item, left, on_error)
        self.durable = durable
        self._on_paused = on_paused
        self._paused = False
        self._lost_commits: int | None = None
        """Of the journal, as far as the service said; None: it said nothing yet."""
        self._position = position
        self._settings = settings
        self._window = window
        self._touched = touched
        self._flush = flush
        self._holdings = Holdings(self._extend, self._free)
        self._acks: Attempts = {}
        """What is to be acked."""
        self._sent_acks: deque[tuple[float, int, list[int]]] = deque()
        """Acks that were sent lately: when, the attempt, and the sequences."""
        self._repeated_acks: set[int] = set()
        """Of these, the ones that were sent again when the stream came back: the service may know them."""
        self._freed = 0
        """Messages settled since credit was last granted."""
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """What is held from an earlier life of the stream still is: it is extended, and late acks are sent again."""
        self._freed = 0
        self._holdings.stream_is_up = True
        start = self._item(self.id).subscribe.start
        start.pattern = self.pattern
        start.durable = self.durable
        start.credit = max(1, self._window - len(self._holdings))
        start.position.MergeFromString(position_to_wire(self._position).SerializeToString())
        if self._settings is not None:
            start.settings.MergeFromString(settings_to_wire(self._settings).SerializeToString())
        self._repeated_acks = {each for _, _, sequences in self._sent_acks for each in sequences}
        for _, attempt, sequences in self._sent_acks:
            self._acks.setdefault(attempt, [])[:0] = sequences
        self._sent_acks.clear()
        self._holdings.extend()
        if self._acks:
            self._touched(self)

    def move_durable(self, touched: Callable[[DurableSubscription], None], flush: Callable[[], None]) -> None:
        """Says what it has to say on another stream, from now on. What is held from the one before still is."""
        self._touched = touched
        self._flush = flush

    def take_last(self, frame: bus_pb2.SubscribeResponse) -> None:
        self._freed -= len(frame.deliveries.messages)  # those had the other stream's credit
        self._take(frame)  # closed too: it gives them back

    def gather(self) -> None:
        """Sends what was settled since the last time, and asks for as many more."""
        acks, self._acks = self._acks, {}
        now = self._loop.time()
        while self._sent_acks and self._sent_acks[0][0] < now - ACKED_SECONDS:
            self._sent_acks.popleft()
        for attempt, sequences in acks.items():
            self._name_all("ack", sequences, attempt)
            self._sent_acks.append((now, attempt, sequences))
        if self._freed > 0 and not self._closed and self._ended is None:
            self._item(self.id).subscribe.credit.messages = self._freed
            self._freed = 0

    def end(self, error: TrunklineError) -> None:
        """See `Subscription.end`. Leases are extended no more."""
        self._holdings.is_over = True
        super().end(error)

    def close(self) -> None:
        """Takes no more: what waits goes back to the service, unstarted; a callback that runs goes on to its end."""
        if self._closed:
            return
        super().close()
        for attempt, sequences in self._holdings.take_unstarted().items():
            self._name_all("release", sequences, attempt)

    def fail_given(self) -> None:
        """Naks what an iterator has: it will not be settled."""
        for message in self._holdings.given():
            self.nakked(message, "the client closed before the message was settled", 0.0)

    async def finished(self) -> None:
        """Waits until nothing is held any more."""
        await self._holdings.wait_empty()

    def forget(self) -> None:
        """Forgets everything: the stream is closed for good."""
        self._holdings.clear()
        self._acks.clear()

    def stream_lost(self) -> None:
        """What is said now does not arrive, until `start`."""
        self._holdings.stream_is_up = False

    async def ack(self, message: DurableMessage) -> None:
        """See `DurableMessage.ack`."""
        self.acked(message)

    def acked(self, message: DurableMessage) -> None:
        """Acks a message with the stream's next frame."""
        if self._let_go(message):
            private: Any = message.__pydantic_private__  # its attributes by name cost more than all else here
            acks = self._acks.get(private["_attempt"])
            if acks is None:
                self._acks[private["_attempt"]] = [private["_sequence"]]
                self._touched(self)
            else:
                acks.append(private["_sequence"])
            if private["_attempt"] > 1:
                self._flush()  # see `_say_at_once`

    async def nak(self, message: DurableMessage, error: str, delay: float | None) -> None:
        """See `DurableMessage.nak`."""
        self.nakked(message, error, delay)

    def nakked(self, message: DurableMessage, error: str, delay: float | None = None) -> None:
        """Naks a message."""
        if self._let_go(message):
            nak = self._settling(message, "nak")
            nak.error = error
            if delay is not None:
                nak.delay.FromNanoseconds(round(delay * 1e9))
            self._say_at_once(message)

    async def terminate(self, message: DurableMessage, reason: str) -> None:
        """See `DurableMessage.terminate`."""
        if self._let_go(message):
            self._settling(message, "terminate").reason = reason
            self._say_at_once(message)

    async def release(self, message: DurableMessage) -> None:
        """See `DurableMessage.release`."""
        if self._let_go(message):
            self._settling(message, "release")
            self._say_at_once(message)

    async def extend(self, message: DurableMessage, seconds: float | None) -> None:
        """See `DurableMessage.extend`."""
        if not message.settled:
            extend = self._settling(message, "extend")
            if seconds is not None:
                extend.lease.FromNanoseconds(round(seconds * 1e9))

    def _say_at_once(self, message: DurableMessage) -> None:
        """Sends what was said of a message that was tried before. The next callback may end this process, or stand
        still for longer than a lease, again and again: it must not use up the attempts of one that is settled."""
        if message._attempt > 1:
            self._flush()

    def _settling(self, message: DurableMessage, kind: str) -> Any:
        return self._name(kind, [message.sequence], message.attempt)

    def _name(self, kind: str, sequences: list[int], attempt: int) -> Any:
        """A frame that says something of messages."""
        frame = getattr(self._item(self.id).subscribe, kind)
        frame.sequences.extend(sequences)
        frame.attempt = attempt
        return frame

    def _name_all(self, kind: str, sequences: list[int], attempt: int) -> None:
        """As `_name`, in as many frames as it takes."""
        for start in range(0, len(sequences), MAX_SETTLED_MESSAGES):
            self._name(kind, sequences[start : start + MAX_SETTLED_MESSAGES], attempt)

    def _let_go(self, message: DurableMessage) -> bool:
        """Whether a message may be settled: it is held, and was not settled before."""
        private: Any = message.__pydantic_private__
        if private["_settled"]:
            return False
        private["_settled"] = True
        if not self._holdings.settle(private["_sequence"], private["_attempt"]):
            log.warning(
                "message %s (%d of %r, attempt %d) was handed on before it was settled here",
                message.message_id,
                private["_sequence"],
                self.durable,
                private["_attempt"],
            )
            return False
        if not self._freed:
            self._touched(self)
        self._freed += 1
        return True

    def _free(self) -> None:
        """Has room for one message more."""
        if not self._freed:
            self._touched(self)
        self._freed += 1

    def _take_started(self, started: bus_pb2.SubscribeResponse.Started) -> None:
        self._take_state(started)

    def _take_state(self, now_is: bus_pb2.SubscribeResponse.Started | bus_pb2.SubscribeResponse.Changed) -> None:
        """The service said how the durable subscription is now."""
        self._holdings.lease_for(now_is.ack_wait.ToNanoseconds() / 1e9)
        if now_is.paused != self._paused:
            self._paused = now_is.paused
            log.info("the durable subscription %r %s", self.durable, "is paused" if self._paused else "goes on")
            notify(self._on_paused, self._paused)
        known, self._lost_commits = self._lost_commits, now_is.lost_commits
        if known is not None and now_is.lost_commits > known:
            self._tell_lost(now_is.lost_commits - known)

    def _tell_lost(self, commits: int) -> None:
        error = StorageError(
            f"the journal has lost {commits} commits that it had answered: messages of {self.durable!r} may be gone,"
            " and some that were acked come again",
            details={"why": "lost commits", "commits": commits, "durable": self.durable},
        )
        log.error("%s", error.message)
        notify(self._on_error, error)

    def _run(self, deliveries: bus_pb2.SubscribeResponse.Deliveries) -> deque[Any]:
        first, attempt, channel = deliveries.first_sequence, deliveries.attempt, deliveries.channel
        messages = deliveries.messages
        self._holdings.take(first, len(messages), attempt)
        if self._closed:  # they were on their way when it was closed
            self._closed = False
            self.close()
            return deque()
        now = self._loop.time()
        return deque((raw, first + index, attempt, channel, now) for index, raw in enumerate(messages))

    def _take_other(self, frame: bus_pb2.SubscribeResponse) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "changed":
            self._take_state(frame.changed)
        if kind != "refused":
            return
        refused = frame.refused
        lost = [each for each in refused.sequences if self._holdings.holds(each, refused.attempt)]
        for sequence in lost:
            self._holdings.lose(sequence)
        if not lost and self._repeated_acks.issuperset(refused.sequences):
            return  # they were acked before the stream was lost, and again when it came back
        if self._on_error is not None:
            error = error_from_item(refused.error)
            error.details["sequences"] = [*refused.sequences]
            notify(self._on_error, error)
        elif lost:
            log.warning("%d messages of %r are lost to others: %s", len(lost), self.durable, refused.error.message)
        else:  # they come again with another attempt, or were settled
            log.warning("what was said of messages of %r came too late: %s", self.durable, refused.error.message)

    def _open(self, waiting: Any) -> DurableMessage | None:
        raw, sequence, attempt, channel, came_at = waiting
        if not self._holdings.holds(sequence, attempt):
            return None  # its lease was lost while it waited here
        if self._holdings.lapsed(came_at):
            self._holdings.lose(sequence)  # another subscriber may be at it by now
            return None
        try:
            wire = parse_message(raw)
            wrong = ""
        except InvalidMessageError as error:
            log.exception("a message on %r cannot be read", self.pattern)
            wire = NO_MESSAGE
            wrong = f"it cannot be read: {error}"
        message: DurableMessage = decode_durable(wire, sequence, attempt, channel, self)
        self._holdings.give(message)
        if wire.ttl_seconds and message.is_expired():
            wrong = "its TTL was over while it waited for a callback"
        if wrong:
            if self._let_go(message):
                self._settling(message, "terminate").reason = wrong
            return None
        return message

    def _call(self, callback: DurableCallback, message: DurableMessage) -> Awaitable[None]:
        return handle(self, callback, message)

    def _extend(self, held: Attempts) -> None:
        for attempt, sequences in held.items():
            self._name_all("extend", sequences, attempt)
