"""Dispatch: which subscriber of a durable subscription gets what, for how long, and when the next thing happens.

What is handed out is made durable before it is sent: so a message that comes a second time says so, whatever was
killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from trunkline.errors import TrunklineError
from trunkline.limits import MAX_LEASED_MESSAGES, UNSET_CREDIT_LEASES
from trunklined.bus.durable.backlog import Backlog
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.parcel import Parcel
from trunklined.bus.durable.send_buffer import SEND_BUFFER_BYTES, SendBuffer
from trunklined.bus.queue import Subscriber
from trunklined.bus.run import Run

Leased = list[tuple[Subscriber, Run, Parcel]]
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
        self._timer: asyncio.TimerHandle | None = None

    @property
    def size(self) -> int:
        """Bytes that are handed out and wait for a stream."""
        return sum(buffer.size for buffer in self._buffers.values())

    # Subscribers.

    def join(self, subscriber: Subscriber) -> None:
        """Lets a subscriber take."""
        self.subscribers.append(subscriber)
        self._buffers[subscriber] = SendBuffer()
        self.want()

    def leave(self, subscriber: Subscriber) -> bool:
        """Removes a subscriber; False if it is none. What it holds stays leased; what was not sent goes to others."""
        buffer = self._buffers.pop(subscriber, None)
        if buffer is None:
            return False
        self.subscribers.remove(subscriber)
        if self._backlog.is_over:
            return True
        for run in buffer:
            self._unsend(run)
        if self.subscribers:
            self.want()
        else:
            self._backlog.forget_read_ahead()
        return True

    def take(self, subscriber: Subscriber, max_messages: int, now: float) -> Run | None:
        """Returns the next run for a subscriber, of what is handed out to it."""
        buffer = self._buffers.get(subscriber)
        if buffer is None:
            return None
        was_full = buffer.is_full
        while (run := buffer.take(max_messages)) is not None and run.expires_at is not None and run.expires_at < now:
            self._backlog.expire(run)
            subscriber.give_back(len(run.messages))
            self.want()
        if run is not None:
            subscriber.delivered += len(run.messages)
        if was_full:
            self.want()
        return run

    def clear(self) -> None:
        """Takes everything back that subscribers hold or wait for."""
        for subscriber, buffer in self._buffers.items():
            subscriber.leased = 0
            subscriber.give_back(sum(len(run.messages) for run in buffer))
            buffer.clear()

    def end(self) -> None:
        """Hands out nothing more."""
        self._cancel_timer()

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

    def pump(self, now: float) -> None:
        """Hands out what there is to the subscribers that have room: its turn before a commit."""
        backlog = self._backlog
        if self.is_paused or backlog.is_over:
            return
        hungry = [each for each in self.subscribers if self._room(each) > 0]
        if not hungry:
            return
        hungry = [each for each in hungry if not each.silent] or hungry
        backlog.begin_turn(now)
        # Each takes no more than its share, so that all find something. Who can take least comes first: what it leaves
        # is in the others' shares.
        hungry.sort(key=self._room)
        left = backlog.count
        leased: Leased = []
        for index, subscriber in enumerate(hungry):
            share = max(1, -(-left // (len(hungry) - index)))
            left -= self._serve(subscriber, min(share, self._room(subscriber)), now, leased)
        if backlog.is_turn_over:
            self.want()
        if leased or backlog.looked:
            backlog.stage()
        if leased:
            # Among equals, who was served first comes last the next time.
            self.subscribers.remove(hungry[0])
            self.subscribers.append(hungry[0])
            self._context.staging.after.append(lambda: self._send(leased))
        self.arm()

    def _serve(self, subscriber: Subscriber, most: int, now: float, leased: Leased) -> int:
        """Leases at most so many messages to one subscriber; returns how many it was."""
        count = size = 0
        while count < most and size < SEND_BUFFER_BYTES:
            found = self._backlog.next(most - count, now)
            if found is None:
                break
            parcel, runs = found
            self._backlog.lease(parcel, subscriber, now)
            for run in runs:
                leased.append((subscriber, replace(run, attempt=parcel.attempts), parcel))
                size += run.size
            count += parcel.left
        if subscriber.credit is not None:
            subscriber.credit -= count
        return count

    def _send(self, leased: Leased) -> None:
        """What was leased is durable: it goes to the streams."""
        woken = dict[Subscriber, None]()
        for subscriber, run, parcel in leased:
            if not self._backlog.parcels.is_here(parcel) or parcel.due is not None or parcel.attempts != run.attempt:
                subscriber.give_back(len(run.messages))  # it was moved meanwhile, or its lease was over
                self.want()
                continue
            buffer = self._buffers.get(subscriber)
            if buffer is None:
                self._unsend(run)
                continue
            buffer.put(run)
            woken[subscriber] = None
        for subscriber in woken:
            subscriber.wake(subscriber)

    def _unsend(self, run: Run) -> None:
        """Takes back a run that was leased and is not sent after all."""
        of = self._backlog.parcels.leases.of
        held = ((sequence, of(sequence)) for sequence in range(run.first_sequence, run.end))
        self._backlog.release([sequence for sequence, parcel in held if parcel and parcel.attempts == run.attempt])
        self.want()

    def _room(self, subscriber: Subscriber) -> int:
        """How many messages a subscriber may be leased now."""
        if self._buffers[subscriber].is_full:
            return 0
        room = UNSET_CREDIT_LEASES - subscriber.leased if subscriber.credit is None else subscriber.credit
        return min(room, MAX_LEASED_MESSAGES - len(self._backlog.parcels.leases))

    # Time.

    def arm(self) -> None:
        """Sets the timer to what happens next: a lease that ends, or a parcel that is due."""
        self._cancel_timer()
        times = [self._backlog.parcels.leases.next_deadline()]
        if any(self._room(each) > 0 for each in self.subscribers):
            times.append(self._backlog.parcels.due_at)
        at = min((time for time in times if time is not None), default=None)
        if at is not None and not self._backlog.is_over:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, at - self._context.clock()) + 0.001, self._on_time)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        self._timer = None
        now = self._context.clock()
        for late in self._backlog.parcels.leases.late(now):
            if late:
                self._lapse(late, now)
        self.want()
        self.arm()

    def _lapse(self, sequences: list[int], now: float) -> None:
        """Ends leases that are over. What a stream did not even take is released: nobody has begun it."""
        late = set(sequences)
        for subscriber, buffer in self._buffers.items():
            unsent = buffer.withdraw(late)
            subscriber.give_back(len(unsent))
            if unsent:
                late.difference_update(unsent)
                self._backlog.release(unsent)
        for parcel in {self._backlog.parcels.leases.of(sequence) for sequence in late}:
            if parcel is not None and parcel.holder is not None:
                parcel.holder.silent = True
        self._backlog.lapse(sorted(late), now)
