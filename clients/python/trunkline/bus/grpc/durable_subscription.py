"""DurableSubscription: the client's end of a durable subscription. What it holds, it extends; what is done, it acks."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from trunkline.bus.codec import decode_durable
from trunkline.bus.durable import DurableMessage
from trunkline.bus.durable_codec import position_to_wire, settings_to_wire
from trunkline.bus.grpc.subscription import Subscription
from trunkline.bus.handling import DurableCallback, handle
from trunkline.delivery import DurableSettings, Start
from trunkline.errors import InvalidMessageError
from trunkline.limits import DEFAULT_ACK_WAIT
from trunkline.v1 import bus_pb2

log = logging.getLogger(__name__)

ACKED_SECONDS: Final = 5.0
"""Acks are said again after a reconnect if they were sent so lately: the service may not have seen them."""


class DurableSubscription(Subscription[DurableMessage]):
    """Settles what it was given.

    Acks and credit gather, and go out with the line's next frame. All that is held, waiting here or with a callback, is
    extended at a third of the lease. A message whose lease was lost all the same (this process stood still, or the line
    was down for too long) is passed over if it waits here; if a callback has it, its ack is refused, which is logged.

    Args:
        durable: its name.
        position: where it starts, if the service has none of this name.
        settings: how it delivers, if the service has none of this name.
        window: messages that may be with this client at once, from 1.
        touched: called when something is to be gathered.
        left: called when nobody wants more.
    """

    def __init__(
        self,
        id: int,
        pattern: str,
        durable: str,
        position: Start,
        settings: DurableSettings | None,
        window: int,
        item: Callable[[int], Any],
        touched: Callable[[DurableSubscription], None],
        left: Callable[[DurableSubscription], None],
    ) -> None:
        super().__init__(id, pattern, item)
        self.durable = durable
        self._position = position
        self._settings = settings
        self._window = window
        self._touched = touched
        self._left = left
        self._held: dict[int, int] = {}
        """What the service leased to this client and is not settled: the attempt by sequence."""
        self._given: dict[int, DurableMessage] = {}
        """Of that, what a callback or an iterator has."""
        self._acks: dict[int, list[int]] = {}
        """Sequences to be acked, by attempt."""
        self._said: deque[tuple[float, int, list[int]]] = deque()
        """Acks that were sent lately: when, the attempt, and the sequences."""
        self._said_again: set[int] = set()
        """Of these, the ones that were said again when the line came back: the service may know them."""
        self._freed = 0
        """Messages settled since credit was last granted."""
        self._due = 0.0
        """When the timer is to go off."""
        self._line_is_up = True
        self._extended_at = 0.0
        """When the leases of all that was held began anew for the last time, by the loop's clock."""
        self._ack_wait = DEFAULT_ACK_WAIT
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """What is held from an earlier life of the line still is: it is extended, and what was acked is said again."""
        self._freed = 0
        self._line_is_up = True
        start = self._item(self.id).subscribe.start
        start.pattern = self.pattern
        start.durable = self.durable
        start.credit = max(1, self._window - len(self._held))
        start.position.MergeFromString(position_to_wire(self._position).SerializeToString())
        if self._settings is not None:
            start.settings.MergeFromString(settings_to_wire(self._settings).SerializeToString())
        self._said_again = {each for _, _, sequences in self._said for each in sequences}
        for _, attempt, sequences in self._said:
            self._acks.setdefault(attempt, [])[:0] = sequences
        self._said.clear()
        if self._held:
            self._extend()
        if self._acks:
            self._touched(self)

    def gather(self) -> None:
        """Says what was settled since the last time, and asks for as many more."""
        acks, self._acks = self._acks, {}
        now = self._loop.time()
        while self._said and self._said[0][0] < now - ACKED_SECONDS:
            self._said.popleft()
        for attempt, sequences in acks.items():
            ack = self._item(self.id).subscribe.ack
            ack.sequences.extend(sequences)
            ack.attempt = attempt
            self._said.append((now, attempt, sequences))
        if self._freed and not self._closed and self._ended is None:
            self._item(self.id).subscribe.credit.messages = self._freed
            self._freed = 0

    def close(self) -> None:
        """Nobody wants more: what waits goes back to the service, unstarted; a callback that runs goes on to its
        end."""
        if self._closed:
            return
        unstarted: dict[int, list[int]] = {}
        for sequence, attempt in self._held.items():
            if sequence not in self._given:
                unstarted.setdefault(attempt, []).append(sequence)
        super().close()
        for attempt, sequences in unstarted.items():
            for sequence in sequences:
                del self._held[sequence]
            release = self._item(self.id).subscribe.release
            release.sequences.extend(sequences)
            release.attempt = attempt
        self._rest()

    def leave(self) -> None:
        """Ends it on the line; see `BusSession.end`."""
        self._left(self)

    def fail_given(self) -> None:
        """Nobody will settle what an iterator has: it failed."""
        for message in list(self._given.values()):
            self.nakked(message, "the client closed before the message was settled", 0.0)

    async def finished(self) -> None:
        """Waits until nothing is held any more."""
        await self._idle.wait()

    def forget(self) -> None:
        """The line is closed for good: nothing can be settled any more."""
        for message in self._given.values():
            message._settled = True
        self._held.clear()
        self._given.clear()
        self._acks.clear()
        self._rest()

    async def ack(self, message: DurableMessage) -> None:
        """See `DurableMessage.ack`."""
        self.acked(message)

    def acked(self, message: DurableMessage) -> None:
        """A message is done; it is said with the line's next frame."""
        if self._let_go(message):
            private: Any = message.__pydantic_private__  # its attributes by name cost more than all else here
            acks = self._acks.get(private["_attempt"])
            if acks is None:
                self._acks[private["_attempt"]] = [private["_sequence"]]
                self._touched(self)
            else:
                acks.append(private["_sequence"])

    async def nak(self, message: DurableMessage, error: str, delay: float | None) -> None:
        """See `DurableMessage.nak`."""
        self.nakked(message, error, delay)

    def nakked(self, message: DurableMessage, error: str, delay: float | None = None) -> None:
        """A message failed."""
        if self._let_go(message):
            nak = self._settling(message, "nak")
            nak.error = error
            if delay is not None:
                nak.delay.FromNanoseconds(round(delay * 1e9))

    async def terminate(self, message: DurableMessage, reason: str) -> None:
        """See `DurableMessage.terminate`."""
        if self._let_go(message):
            self._settling(message, "terminate").reason = reason

    async def release(self, message: DurableMessage) -> None:
        """See `DurableMessage.release`."""
        if self._let_go(message):
            self._settling(message, "release")

    async def extend(self, message: DurableMessage, seconds: float | None) -> None:
        """See `DurableMessage.extend`."""
        if not message._settled:
            extend = self._settling(message, "extend")
            if seconds is not None:
                extend.lease.FromNanoseconds(round(seconds * 1e9))

    def _settling(self, message: DurableMessage, kind: str) -> Any:
        said = getattr(self._item(self.id).subscribe, kind)
        said.sequences.append(message._sequence)
        said.attempt = message._attempt
        return said

    def _let_go(self, message: DurableMessage) -> bool:
        """Whether a message may be settled: it is held, and was not settled before."""
        private: Any = message.__pydantic_private__
        if private["_settled"]:
            return False
        private["_settled"] = True
        sequence = private["_sequence"]
        if self._held.get(sequence) != private["_attempt"]:
            log.warning(
                "message %s (%d of %r, attempt %d) was handed on before it was settled here",
                message.message_id,
                sequence,
                self.durable,
                private["_attempt"],
            )
            return False
        del self._held[sequence], self._given[sequence]
        if not self._freed:
            self._touched(self)
        self._freed += 1
        if not self._held:
            self._rest()
        return True

    def _rest(self) -> None:
        if not self._held:
            self._idle.set()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _take_started(self, started: bus_pb2.SubscribeResponse.Started) -> None:
        self._ack_wait = started.ack_wait.ToNanoseconds() / 1e9

    def _run(self, deliveries: bus_pb2.SubscribeResponse.Deliveries) -> deque[Any]:
        first, attempt, channel = deliveries.first_sequence, deliveries.attempt, deliveries.channel
        messages = deliveries.messages
        self._held.update(dict.fromkeys(range(first, first + len(messages)), attempt))
        self._idle.clear()
        if self._timer is None:
            self._arm()
        if self._closed:  # they were on their way when it was closed
            self._closed = False
            self.close()
            return deque()
        now = self._loop.time()
        return deque((wire, first + index, attempt, channel, now) for index, wire in enumerate(messages))

    def _take_other(self, frame: bus_pb2.SubscribeResponse) -> None:
        if frame.WhichOneof("frame") != "refused":
            return
        refused = frame.refused
        lost = [each for each in refused.sequences if self._held.get(each) == refused.attempt]
        if not lost:  # they come again with another attempt, or were settled, which may have been said twice
            if not self._said_again.issuperset(refused.sequences):
                log.warning("what was said of messages of %r came too late: %s", self.durable, refused.error.message)
            return
        log.warning("%d messages of %r are lost to others: %s", len(lost), self.durable, refused.error.message)
        for sequence in lost:
            self._lose(sequence)

    def _lose(self, sequence: int) -> None:
        """A message that was held is somebody else's now, or nobody's."""
        del self._held[sequence]
        message = self._given.pop(sequence, None)
        if message is not None:
            message._settled = True
        self._freed += 1
        self._touched(self)
        self._rest()

    def _open(self, waiting: Any) -> DurableMessage | None:
        wire, sequence, attempt, channel, came_at = waiting
        if self._held.get(sequence) != attempt:
            return None  # its lease was lost while it waited here
        if self._loop.time() > max(came_at, self._extended_at) + self._ack_wait:
            self._lose(sequence)  # this process stood still, or the line is down: somebody else may be at it by now
            return None
        try:
            message: DurableMessage = decode_durable(wire, sequence, attempt, channel, self)
        except InvalidMessageError as error:
            log.exception("a message on %r cannot be read", self.pattern)
            message = DurableMessage(
                message_id=wire.message_id or "?", message_type="", sender_id=wire.sender_id or "?", payload={}
            )
            message._sequence, message._attempt = sequence, attempt
            self._given[sequence] = message
            if self._let_go(message):
                self._settling(message, "terminate").reason = f"it cannot be read: {error}"
            return None
        self._given[sequence] = message
        if message.ttl_seconds is not None and message.is_expired():
            if self._let_go(message):
                self._settling(message, "terminate").reason = "its TTL was over while it waited for a callback"
            return None
        return message

    async def _call(self, callback: DurableCallback, message: DurableMessage) -> None:
        await handle(self, callback, message)

    def _on_time(self) -> None:
        late = self._loop.time() - self._due
        self._timer = None
        if late > self._ack_wait / 3:  # this process stood still: what was not begun may be with somebody else by now
            for sequence in [each for each in self._held if each not in self._given]:
                self._lose(sequence)
        if self._held and self._ended is None:
            self._extend()
            self._arm()

    def _arm(self) -> None:
        self._due = self._loop.time() + self._ack_wait / 3
        self._timer = self._loop.call_at(self._due, self._on_time)

    def line_lost(self) -> None:
        """What is said now reaches nobody, until `start`."""
        self._line_is_up = False

    def _extend(self) -> None:
        """Extends all that is held."""
        if not self._line_is_up:
            return
        self._extended_at = self._loop.time()
        by_attempt: dict[int, list[int]] = {}
        for sequence, attempt in self._held.items():
            by_attempt.setdefault(attempt, []).append(sequence)
        for attempt, sequences in by_attempt.items():
            extend = self._item(self.id).subscribe.extend
            extend.sequences.extend(sequences)
            extend.attempt = attempt
