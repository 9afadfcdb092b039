"""Holdings: the messages that a service leased to this client, and the leases that must be kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trunkline.bus.durable import DurableMessage
from trunkline.limits import DEFAULT_ACK_WAIT

Attempts = dict[int, list[int]]
"""Sequences by attempt."""


class Holdings:
    """What is leased and not settled, waiting here or given to a callback. All leases are extended at a third of their
    time; what was not begun is given up where this process stood still for longer.

    Args:
        extend: says to the service that leases begin anew.
        lost: called when a message is held no more without having been settled.
    """

    def __init__(self, extend: Callable[[Attempts], None], lost: Callable[[], None]) -> None:
        self._extend = extend
        self._lost = lost
        self._held: dict[int, int] = {}
        """The attempt by sequence."""
        self._given: dict[int, DurableMessage] = {}
        """Of that, what a callback or an iterator has."""
        self.ack_wait = DEFAULT_ACK_WAIT
        """Seconds of a lease."""
        self.stream_is_up = True
        """Whether what is said of leases reaches the service."""
        self.is_over = False
        """Whether the service has ended the subscription: nothing is extended any more."""
        self._extended_at = 0.0
        """When all leases began anew for the last time, by the loop's clock."""
        self._due = 0.0
        """When the timer is to go off."""
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, sequence: int, attempt: int) -> bool:
        """Whether a message is held by this attempt."""
        return self._held.get(sequence) == attempt

    def take(self, first: int, count: int, attempt: int) -> None:
        """Takes messages that follow each other, as they were handed out."""
        self._held.update(dict.fromkeys(range(first, first + count), attempt))
        self._empty.clear()
        if self._timer is None:
            self._arm()

    def give(self, message: DurableMessage) -> None:
        """Notes that a callback or an iterator has a message."""
        self._given[message.sequence] = message

    def settle(self, sequence: int, attempt: int) -> bool:
        """Forgets a message that was given: it is settled. False if this attempt does not hold it."""
        if self._held.get(sequence) != attempt:
            return False
        del self._held[sequence], self._given[sequence]
        if not self._held:
            self._rest()
        return True

    def lose(self, sequence: int) -> None:
        """Gives up a message: it is another subscriber's now, or waits for one."""
        del self._held[sequence]
        message = self._given.pop(sequence, None)
        if message is not None:
            message._settled = True
        self._lost()
        self._rest()

    def lapsed(self, came_at: float) -> bool:
        """Whether the lease of a message that came at a time, by the loop's clock, may be over: this process stood
        still, or the stream is down."""
        return self._loop.time() > max(came_at, self._extended_at) + self.ack_wait

    def take_unstarted(self) -> Attempts:
        """What no callback and no iterator has; it is held no more."""
        unstarted: Attempts = {}
        for sequence, attempt in [*self._held.items()]:
            if sequence not in self._given:
                unstarted.setdefault(attempt, []).append(sequence)
                del self._held[sequence]
        self._rest()
        return unstarted

    def given(self) -> list[DurableMessage]:
        """What callbacks and iterators have."""
        return list(self._given.values())

    def clear(self) -> None:
        """Forgets everything: nothing can be settled any more."""
        for message in self._given.values():
            message._settled = True
        self._held.clear()
        self._given.clear()
        self._rest()

    async def wait_empty(self) -> None:
        """Waits until nothing is held."""
        await self._empty.wait()

    def lease_for(self, seconds: float) -> None:
        """Leases last so long from now on: what is held is extended at once, and as often as that needs."""
        if seconds == self.ack_wait:
            return
        self.ack_wait = seconds
        if self._timer is not None:
            self._timer.cancel()
            self.extend()
            self._arm()

    def extend(self) -> None:
        """Lets all leases begin anew."""
        if not self.stream_is_up or not self._held:
            return
        self._extended_at = self._loop.time()
        by_attempt: Attempts = {}
        for sequence, attempt in self._held.items():
            by_attempt.setdefault(attempt, []).append(sequence)
        self._extend(by_attempt)

    def _rest(self) -> None:
        if not self._held:
            self._empty.set()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _arm(self) -> None:
        self._due = self._loop.time() + self.ack_wait / 3
        self._timer = self._loop.call_at(self._due, self._on_time)

    def _on_time(self) -> None:
        late = self._loop.time() - self._due
        self._timer = None
        if late > self.ack_wait / 3:  # this process stood still: what was not begun may be with another by now
            for sequence in [each for each in self._held if each not in self._given]:
                self.lose(sequence)
        if self._held and not self.is_over:
            self.extend()
            self._arm()
