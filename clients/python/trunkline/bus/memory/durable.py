"""MemoryDurable: one durable subscription of a bus in memory."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from trunkline.bus.codec import decode_durable
from trunkline.bus.dead_letters import Attempt, DeadLetterReason
from trunkline.bus.durable import DurableMessage, DurableSettings
from trunkline.errors import TrunklineError
from trunkline.limits import MAX_ERROR_BYTES
from trunkline.v1 import message_pb2

log = logging.getLogger(__name__)


class Stored(NamedTuple):
    """A stored message."""

    sequence: int
    time: float
    """When it was stored, UNIX time."""
    channel: str
    message: message_pb2.Message
    lane: int
    key: str | None
    """Its ordering key."""
    expires_at: float | None


@dataclass(eq=False, slots=True)
class Work:
    """What one durable subscription has of a message that is not done."""

    stored: Stored
    attempts: int = 0
    base: int = 0
    """Attempts before it was redriven: they do not count towards the maximum."""
    past: tuple[Attempt, ...] = ()
    redrives: int = 0
    handed_out_at: float = 0.0
    held: bool = False
    done: bool = False
    expiry: asyncio.TimerHandle | None = None


class MemoryDurable:
    """Keeps what waits in one queue, by lane and sequence; who takes from it waits for the next. A message that is
    handed out stays with its taker until that settles it: there are no leases, since within one program nobody dies
    alone.

    Args:
        clock: UNIX time in seconds.
        bury: takes what became a dead letter, with the reason and what was said.
    """

    def __init__(
        self,
        name: str,
        pattern: str,
        settings: DurableSettings,
        clock: Callable[[], float],
        bury: Callable[[MemoryDurable, Work, DeadLetterReason, str], None],
    ) -> None:
        self.name = name
        self.pattern = pattern
        self.settings = settings
        self._clock = clock
        self._bury_work = bury
        self._ready: list[tuple[int, int, Work]] = []
        """A heap: the higher lane first, then the lower sequence."""
        self._open: dict[int, Work] = {}
        """All that is not done, by sequence."""
        self._keys: dict[str, deque[Work]] = {}
        """Of each ordering key that has a message under way: those behind it."""
        self._arrived = asyncio.Event()
        self._ended: TrunklineError | None = None
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._open)

    def offer(self, work: Work) -> None:
        """Takes up a message."""
        stored = work.stored
        self._open[stored.sequence] = work
        if stored.expires_at is not None:
            work.expiry = self._loop.call_later(max(0.0, stored.expires_at - self._clock()) + 0.001, self._expire, work)
        behind = self._keys.get(stored.key) if stored.key is not None else None
        if behind is not None:
            behind.append(work)
            return
        if stored.key is not None:
            self._keys[stored.key] = deque()
        self._push(work)

    async def next(self, is_closed: Callable[[], bool]) -> DurableMessage | None:
        """The next message; None when its taker has closed. Raises why there is none any more."""
        while not is_closed():
            if self._ended is not None:
                raise self._ended
            while self._ready:
                work = heapq.heappop(self._ready)[2]
                if not work.done and not self._expire(work):
                    return self._hand_out(work)
            self._arrived.clear()
            await self._arrived.wait()
        return None

    def wake(self) -> None:
        """Lets those who wait look again."""
        self._arrived.set()

    def end(self, error: TrunklineError) -> None:
        """It is no more: whoever takes from it is told the error."""
        self._ended = error
        self.clear()
        self.wake()

    def clear(self) -> None:
        """Gives up all that waits or is handed out."""
        for work in self._open.values():
            work.done = True
            if work.expiry is not None:
                work.expiry.cancel()
        self._open.clear()
        self._ready.clear()
        self._keys.clear()

    def acked(self, message: DurableMessage) -> None:
        """It is done."""
        work = self._let_go(message)
        if work is not None:
            self._finish(work)

    def nakked(self, message: DurableMessage, error: str, delay: float | None = None) -> None:
        """It failed: it is handed out again after `delay` seconds, or as the backoff says."""
        work = self._let_go(message)
        if work is None:
            return
        self._note(work, error)
        tried = work.attempts - work.base
        if tried >= self.settings.max_deliveries:
            self._bury(work, DeadLetterReason.MAX_DELIVERIES, error)
            return
        wait = self.settings.backoff.delay(tried) if delay is None else delay
        if wait:
            self._loop.call_later(wait, self._push, work)
        else:
            self._push(work)

    async def ack(self, message: DurableMessage) -> None:
        """See `DurableMessage.ack`."""
        self.acked(message)

    async def nak(self, message: DurableMessage, error: str, delay: float | None) -> None:
        """See `DurableMessage.nak`."""
        self.nakked(message, error, delay)

    async def terminate(self, message: DurableMessage, reason: str) -> None:
        """See `DurableMessage.terminate`."""
        work = self._let_go(message)
        if work is not None:
            self._note(work, reason)
            self._bury(work, DeadLetterReason.TERMINATED, reason)

    async def extend(self, message: DurableMessage, seconds: float | None) -> None:
        """See `DurableMessage.extend`; there is no lease that could end."""

    def _push(self, work: Work) -> None:
        if not work.done:
            heapq.heappush(self._ready, (-work.stored.lane, work.stored.sequence, work))
            self.wake()

    def _hand_out(self, work: Work) -> DurableMessage:
        work.attempts += 1
        work.held = True
        work.handed_out_at = self._clock()
        stored = work.stored
        message: DurableMessage = decode_durable(stored.message, stored.sequence, work.attempts, stored.channel, self)
        return message

    def _let_go(self, message: DurableMessage) -> Work | None:
        """What is behind a message that may be settled; None if it was settled, or given up."""
        if message._settled:
            return None
        message._settled = True
        work = self._open.get(message.sequence)
        if work is None or not work.held or work.attempts != message.attempt:
            log.warning(
                "message %s (%d of %r, attempt %d) was given up before it was settled",
                message.message_id,
                message.sequence,
                self.name,
                message.attempt,
            )
            return None
        work.held = False
        return work

    def _note(self, work: Work, error: str) -> None:
        begun, ended = (datetime.fromtimestamp(time, UTC) for time in (work.handed_out_at, self._clock()))
        work.past = (*work.past, Attempt(work.attempts, begun, ended, "", _cut(error)))

    def _expire(self, work: Work) -> bool:
        """Whether a message's TTL is over, and nobody is at work on it: then it is a dead letter."""
        expires_at = work.stored.expires_at
        if work.done or work.held or expires_at is None or expires_at >= self._clock():
            return False
        when = "before the next attempt" if work.attempts else "before it was handed out"
        self._bury(work, DeadLetterReason.EXPIRED, f"its TTL was over {when}")
        return True

    def _bury(self, work: Work, reason: DeadLetterReason, error: str) -> None:
        self._finish(work)
        self._bury_work(self, work, reason, _cut(error))

    def _finish(self, work: Work) -> None:
        """A message is done: the next of its key, if any, is ready."""
        work.done = True
        if work.expiry is not None:
            work.expiry.cancel()
        stored = work.stored
        self._open.pop(stored.sequence, None)
        if stored.key is None:
            return
        behind = self._keys[stored.key]
        if work in behind:  # it expired behind another
            behind.remove(work)
        elif behind:
            self._push(behind.popleft())
        else:
            del self._keys[stored.key]


def _cut(text: str) -> str:
    encoded = text.encode()
    return text if len(encoded) <= MAX_ERROR_BYTES else encoded[:MAX_ERROR_BYTES].decode(errors="ignore")
