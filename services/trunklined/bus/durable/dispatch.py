"""Dispatch: which subscriber of a durable subscription gets what, for how long, and when the next thing happens.

What is handed out is made durable before it is sent: so a message that comes a second time says so, whatever was
killed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

from trunkline.errors import TrunklineError
from trunkline.limits import UNSET_CREDIT_LEASES
from trunklined.bus.durable.backlog import Backlog
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.hand_out_limits import HandOutLimits
from trunklined.bus.durable.pending import Pending
from trunklined.bus.durable.send_buffer import SEND_BUFFER_BYTES, SendBuffer
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.queue import Subscriber
from trunklined.bus.wall_timer import WallTimer

Leased = list[tuple[Subscriber, MessageBatch, Pending]]
"""What one turn leased to whom."""


class Dispatch:
    """Runs in the event loop; nothing in it waits.

    Args:
        backlog: what there is to deliver.
        context: what it works with.
        request_turn: asks for a call of `pump` before the next commit.
    """

    def __init__(self, backlog: Backlog, context: JournalContext, request_turn: Callable[[], None]) -> None:
        self.subscribers: list[Subscriber] = []
        self.is_paused = False
        """Whether what is on disk is void until the next commit: nothing is handed out."""
        self._backlog = backlog
        self._context = context
        self._request_turn = request_turn
        self._buffers: dict[Subscriber, SendBuffer] = {}
        self._limits = HandOutLimits(backlog.settings)
        self._is_spent = False
        """Whether the last turn ended for lack of room. There may be room again before the timer is set: a look at the
        limits alone would set none, and what waits would wait for ever."""
        self._timer = WallTimer(context.clock, self._on_time)

    @property
    def size(self) -> int:
        """Bytes that are handed out and wait for a stream."""
        return sum(buffer.size for buffer in self._buffers.values())

    # Subscribers.

    def join(self, subscriber: Subscriber) -> None:
        """Lets a subscriber take."""
        self.subscribers.append(subscriber)
        subscriber.client.subscribers[subscriber] = None
        self._buffers[subscriber] = SendBuffer()
        self.want()

    def leave(self, subscriber: Subscriber) -> bool:
        """Removes a subscriber; False if it is none. What it holds stays leased; what was not sent goes to others."""
        buffer = self._buffers.pop(subscriber, None)
        if buffer is None:
            return False
        self.subscribers.remove(subscriber)
        subscriber.client.subscribers.pop(subscriber, None)
        if self._backlog.is_over:
            return True
        for batch in buffer:
            self._unsend(batch)
        if self.subscribers:
            self.want()
        else:
            self._backlog.forget_read_ahead()
        return True

    def take(self, subscriber: Subscriber, max_messages: int, now: float) -> MessageBatch | None:
        """Returns the next batch for a subscriber, of what is handed out to it."""
        buffer = self._buffers.get(subscriber)
        # A program that stood still may wake up with what it handed out before, and the journal be another's by now.
        if buffer is None or not self._context.engine.is_owned():
            return None
        was_full = buffer.is_full
        while (
            (batch := buffer.take(max_messages)) is not None and batch.expires_at is not None and batch.expires_at < now
        ):
            self._backlog.expire(batch)
            subscriber.give_back(len(batch.messages))
            self.want()
        if batch is not None:
            subscriber.delivered += len(batch.messages)
        if was_full:
            self.want()
        return batch

    def clear(self) -> None:
        """Takes everything back that subscribers hold or wait for."""
        for subscriber, buffer in self._buffers.items():
            subscriber.leased = subscriber.suspects = 0
            subscriber.give_back(sum(len(batch.messages) for batch in buffer))
            buffer.clear()

    def settings_changed(self) -> None:
        """Hands out by other settings from now on."""
        self._limits.change(self._backlog.settings)
        self.want()

    def end(self) -> None:
        """Hands out nothing more."""
        self._timer.stop()

    def turn_away(self, error: TrunklineError) -> None:
        """Ends the subscribers' streams."""
        for subscriber in list(self.subscribers):
            if subscriber.end is not None:
                subscriber.end(subscriber, error)

    def want(self) -> None:
        """Asks for a turn, since there may be something to hand out."""
        if self.subscribers and not self._backlog.is_over:
            self._request_turn()

    # One turn.

    def hand_out(self, now: float) -> None:
        """Hands out what there is to the subscribers that have room: its turn before a commit."""
        backlog = self._backlog
        if self.is_paused or backlog.is_over:
            return
        left = self._limits.room(len(backlog.pending_messages.leases))
        self._is_spent = not left
        if self._is_spent:
            self.arm()
            return
        hungry = [each for each in self.subscribers if self._room(each) > 0]
        if not hungry:
            return
        hungry = [each for each in hungry if each.client.rests_until is None] or hungry
        backlog.begin_turn(now)
        leased: Leased = []
        for subscriber, share in self._shares(hungry, min(left, backlog.count)):
            taken = self._serve(subscriber, min(share, left), now, leased)
            left -= taken
            self._limits.take(taken)
        if backlog.is_turn_over:
            self.want()
        if leased or backlog.looked:
            backlog.stage()
        if leased:
            # Among equals, who was served first comes last the next time.
            first = leased[0][0]
            self.subscribers.remove(first)
            self.subscribers.append(first)
            self._context.staging.after.append(lambda: self._send(leased))
        self._is_spent = not left
        self.arm()

    def _shares(self, hungry: list[Subscriber], count: int) -> list[tuple[Subscriber, int]]:
        """Returns how many of so many messages each may take, so that all find something; first who has most room:
        where there are fewer messages than subscribers, they go to those that are free."""
        shares = []
        hungry.sort(key=self._room)
        for index, subscriber in enumerate(hungry):  # what who can take least leaves is in the others' shares
            share = min(max(1, -(-count // (len(hungry) - index))), self._room(subscriber))
            shares.append((subscriber, share))
            count -= share
        shares.sort(key=lambda each: self._room(each[0]), reverse=True)
        return shares

    def _serve(self, subscriber: Subscriber, most: int, now: float, leased: Leased) -> int:
        """Leases at most so many messages to one subscriber; returns how many."""
        count = size = 0
        while count < most and size < SEND_BUFFER_BYTES:
            client = subscriber.client
            takes_suspects = not client.suspects and (client.rests_until or 0) <= now
            found = self._backlog.next(most - count, now, suspect=takes_suspects)
            if found is None:
                break
            pending, batches = found
            self._backlog.lease(pending, subscriber, now)
            for batch in batches:
                leased.append((subscriber, replace(batch, attempt=pending.attempts), pending))
                size += batch.size
            count += pending.left
        if subscriber.credit is not None:
            subscriber.credit -= count
        return count

    def _send(self, leased: Leased) -> None:
        """What was leased is durable: it goes to the streams."""
        woken = dict[Subscriber, None]()
        for subscriber, batch, pending in leased:
            if (
                not self._backlog.pending_messages.is_here(pending)
                or pending.due is not None
                or pending.attempts != batch.attempt
            ):
                subscriber.give_back(len(batch.messages))  # it was moved meanwhile, or its lease was over
                self.want()
                continue
            buffer = self._buffers.get(subscriber)
            if buffer is None:
                self._unsend(batch)
                continue
            buffer.put(batch)
            woken[subscriber] = None
        for subscriber in woken:
            subscriber.wake(subscriber)

    def _unsend(self, batch: MessageBatch) -> None:
        """Takes back a batch that was leased and is not sent after all."""
        of = self._backlog.pending_messages.leases.of
        held = ((sequence, of(sequence)) for sequence in range(batch.first_sequence, batch.end))
        self._backlog.release([sequence for sequence, pending in held if pending and pending.attempts == batch.attempt])
        self.want()

    def _room(self, subscriber: Subscriber) -> int:
        """How many messages a subscriber may be leased now, as far as that is up to it."""
        if self._buffers[subscriber].is_full or not self._context.hands_out or self._backlog.paused:
            return 0
        return UNSET_CREDIT_LEASES - subscriber.leased if subscriber.credit is None else subscriber.credit

    # Time.

    def arm(self) -> None:
        """Sets the timer to what happens next: a lease that ends, a pending batch that is due, or room by the rate."""
        leases = self._backlog.pending_messages.leases
        times = [leases.next_deadline()]
        has_room = not self._is_spent and self._limits.room(len(leases)) > 0
        wait = None if has_room else self._limits.wait(len(leases))
        for each in self.subscribers:
            if self._room(each) <= 0:
                continue
            if wait is not None and self._backlog.count:
                times.append(self._context.clock() + wait)
            if has_room:
                times.append(self._backlog.pending_messages.due_at)
                rests_until = each.client.rests_until
                if rests_until is not None and rests_until > self._context.clock():
                    times.append(rests_until)
        at = min((time for time in times if time is not None), default=None)
        self._timer.set(None if self._backlog.is_over else at)

    def _on_time(self) -> None:
        now = self._context.clock()
        if late := set(chain.from_iterable(self._backlog.pending_messages.leases.late(now))):
            self._lapse(late, now)
        self.want()
        self.arm()

    def _lapse(self, late: set[int], now: float) -> None:
        """Ends leases that are over. What a stream did not even take is released: nobody has begun it."""
        for subscriber, buffer in self._buffers.items():
            unsent = buffer.withdraw(late)
            subscriber.give_back(len(unsent))
            if unsent:
                late.difference_update(unsent)
                self._backlog.release(unsent)
        for pending in {self._backlog.pending_messages.leases.of(sequence) for sequence in late}:
            if pending is not None and pending.holder is not None:
                pending.holder.client.rests_until = now + self._backlog.settings.ack_wait
        self._backlog.lapse(sorted(late), now)
