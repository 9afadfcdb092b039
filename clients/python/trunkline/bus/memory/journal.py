"""MemoryJournal: what a bus in memory keeps between `connect()` and `disconnect()` of stored messages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime

from trunkline.bus.durable import DEFAULT_SETTINGS, Durability, DurableSettings, Receipt, Start
from trunkline.bus.memory.dead_letters import MemoryDeadLetters
from trunkline.bus.memory.durable import MemoryDurable, Stored, Work
from trunkline.channels import matches
from trunkline.errors import (
    BusNotConnectedError,
    CompactedError,
    InvalidMessageError,
    OverloadedError,
    SubscriptionExistsError,
    SubscriptionNotFoundError,
)
from trunkline.limits import DEDUP_MESSAGES, DEDUP_SECONDS, MAX_DURABLE_SUBSCRIPTIONS, MEMORY_JOURNAL_MESSAGES
from trunkline.priority import MEDIUM_LANE
from trunkline.v1 import message_pb2


class MemoryJournal:
    """Stores messages, and offers them to durable subscriptions.

    Args:
        spread: gives a message that is due to those who listen now.
        clock: UNIX time in seconds.
    """

    def __init__(self, spread: Callable[[str, message_pb2.Message], None], clock: Callable[[], float]) -> None:
        self._spread = spread
        self._clock = clock
        self._last_sequence = 0
        self._kept: deque[Stored] = deque()
        self._compacted = 0
        """Up to this sequence, stored messages are not kept any more."""
        self._known: dict[str, tuple[int, float]] = {}
        """Sequence and time of what was stored lately, by message id; the oldest first."""
        self._durables: dict[str, MemoryDurable] = {}
        self._held_back: set[asyncio.TimerHandle] = set()
        self.dead_letters = MemoryDeadLetters(self, spread, clock)

    def allot(self) -> int:
        """The next sequence."""
        self._last_sequence += 1
        return self._last_sequence

    def store(
        self,
        channel: str,
        message: message_pb2.Message,
        ordering_key: str | None,
        deliver_at: datetime | None,
        deliver_after: float | None,
    ) -> tuple[Receipt, bool]:
        """Stores a message, once for its message id; returns the receipt, and whether it is due now.

        Raises:
            InvalidMessageError: it would expire before it is delivered.
            OverloadedError: too many wait for one durable subscription.
        """
        now = self._clock()
        wait = deliver_after or 0.0
        if deliver_at is not None:
            wait = max(0.0, deliver_at.timestamp() - now)
        expires_at = None
        if message.HasField("ttl_seconds"):
            expires_at = message.timestamp.seconds + message.timestamp.nanos / 1e9 + message.ttl_seconds
            if wait and expires_at <= now + wait:
                name = "deliver_after" if deliver_at is None else "deliver_at"
                raise InvalidMessageError(
                    f"{name} is {wait:g} s ahead, but the message's TTL is over before",
                    details={"field": name, "value": f"{wait:g}"},
                )
        known = self._known.get(message.message_id)
        if known is not None and known[1] >= now - DEDUP_SECONDS:
            return _receipt(*known, duplicate=True), False
        self._check_room(channel)
        lane = message.priority - 1 if message.priority and ordering_key is None else MEDIUM_LANE
        stored = Stored(self.allot(), now, channel, message, lane, ordering_key, expires_at)
        self._learn(message.message_id, stored)
        if wait:
            self._hold_back(stored, wait)
        else:
            self._keep(stored)
        return _receipt(stored.sequence, now), not wait

    def create(self, name: str, pattern: str, start: Start, settings: DurableSettings | None) -> bool:
        """Makes a durable subscription; False where it is there already, with the same pattern and settings.

        Raises:
            SubscriptionExistsError, CompactedError, InvalidMessageError, OverloadedError: see `MessageBus.subscribe`.
        """
        found = self._durables.get(name)
        if found is not None:
            _check_same(found, pattern, settings)
            return False
        if len(self._durables) >= MAX_DURABLE_SUBSCRIPTIONS:
            raise OverloadedError(
                f"{len(self._durables)} durable subscriptions exist already",
                details={"limit": "max_durable_subscriptions", "maximum": MAX_DURABLE_SUBSCRIPTIONS},
            )
        waiting = self._from(start, pattern)
        made = MemoryDurable(name, pattern, settings or DEFAULT_SETTINGS, self._clock, self.dead_letters.bury)
        self._durables[name] = made
        for stored in waiting:
            made.offer(Work(stored))
        return True

    def find(self, name: str) -> MemoryDurable:
        """One by its name. Raises SubscriptionNotFoundError."""
        durable = self._durables.get(name)
        if durable is None:
            raise SubscriptionNotFoundError(f"there is no durable subscription {name!r}", details={"durable": name})
        return durable

    def has(self, name: str) -> bool:
        """Whether there is one of this name."""
        return name in self._durables

    def delete(self, name: str) -> None:
        """Deletes one. Raises SubscriptionNotFoundError."""
        durable = self.find(name)
        del self._durables[name]
        durable.end(SubscriptionNotFoundError(f"durable subscription {name!r} was deleted", details={"durable": name}))

    def seek(self, name: str, start: Start) -> None:
        """Moves one. Raises SubscriptionNotFoundError, CompactedError, InvalidMessageError."""
        durable = self.find(name)
        waiting = list(self._from(start, durable.pattern))
        durable.clear()
        for stored in waiting:
            durable.offer(Work(stored))

    def close(self) -> None:
        """Forgets everything."""
        for timer in self._held_back:
            timer.cancel()
        for durable in self._durables.values():
            durable.end(BusNotConnectedError("the bus was disconnected"))

    def _keep(self, stored: Stored) -> None:
        self._kept.append(stored)
        if len(self._kept) > MEMORY_JOURNAL_MESSAGES:
            self._compacted = self._kept.popleft().sequence
        for durable in self._durables.values():
            if matches(durable.pattern, stored.channel):
                durable.offer(Work(stored))

    def _hold_back(self, stored: Stored, wait: float) -> None:
        def due() -> None:
            self._held_back.discard(timer)
            now_due = stored._replace(sequence=self.allot(), time=self._clock())
            self._keep(now_due)
            self._spread(stored.channel, stored.message)

        timer = asyncio.get_running_loop().call_later(wait, due)
        self._held_back.add(timer)

    def _learn(self, message_id: str, stored: Stored) -> None:
        self._known.pop(message_id, None)  # so that it is the youngest
        self._known[message_id] = (stored.sequence, stored.time)
        while self._known:
            oldest, (_, time) = next(iter(self._known.items()))
            if len(self._known) <= DEDUP_MESSAGES and time >= stored.time - DEDUP_SECONDS:
                break
            del self._known[oldest]

    def _check_room(self, channel: str) -> None:
        for durable in self._durables.values():
            if len(durable) >= MEMORY_JOURNAL_MESSAGES and matches(durable.pattern, channel):
                raise OverloadedError(
                    f"{len(durable)} messages wait for the durable subscription {durable.name!r}",
                    details={"limit": "memory_journal_messages", "maximum": MEMORY_JOURNAL_MESSAGES},
                )
        if len(self._held_back) >= MEMORY_JOURNAL_MESSAGES:
            raise OverloadedError(
                f"{len(self._held_back)} messages are held back",
                details={"limit": "memory_journal_messages", "maximum": MEMORY_JOURNAL_MESSAGES},
            )

    def _from(self, start: Start, pattern: str) -> Iterator[Stored]:
        """What a durable subscription of a pattern has to begin with."""
        if start == "new":
            return iter(())
        found = (stored for stored in list(self._kept) if matches(pattern, stored.channel))
        if start == "all":
            return found
        if isinstance(start, datetime):
            return (
                stored for stored in found if datetime.fromtimestamp(stored.time, UTC) >= start
            )  # as receipts say it
        sequence = start
        if sequence <= self._compacted:
            raise CompactedError(
                f"sequence {sequence} is not kept any more, the oldest is {self._compacted + 1}",
                details={"requested": sequence, "oldest": self._compacted + 1},
            )
        if sequence > self._last_sequence + 1:
            raise InvalidMessageError(
                f"start is {sequence}, it must be at most {self._last_sequence + 1}, the next sequence",
                details={"field": "start", "value": str(sequence)},
            )
        return (stored for stored in found if stored.sequence >= sequence)


def _check_same(found: MemoryDurable, pattern: str, settings: DurableSettings | None) -> None:
    details = {"durable": found.name, "pattern": pattern, "existing_pattern": found.pattern}
    if found.pattern != pattern:
        raise SubscriptionExistsError(
            f"durable subscription {found.name!r} has the pattern {found.pattern!r}, not {pattern!r}", details=details
        )
    if settings is None:
        return
    wanted, existing = _flat(settings), _flat(found.settings)
    for name, value in wanted.items():
        if value != existing[name]:
            raise SubscriptionExistsError(
                f"durable subscription {found.name!r} has {name} {existing[name]:g}, not {value:g}",
                details={
                    **details,
                    "field": name,
                    "value": f"{value:g}",
                    "existing_value": f"{existing[name]:g}",
                },
            )


def _flat(settings: DurableSettings) -> dict[str, float]:
    backoff = {f"backoff_{each.name}": getattr(settings.backoff, each.name) for each in fields(settings.backoff)}
    return {"ack_wait": settings.ack_wait, "max_deliveries": settings.max_deliveries, **backoff}


def _receipt(sequence: int, time: float, *, duplicate: bool = False) -> Receipt:
    return Receipt(sequence, datetime.fromtimestamp(time, UTC), Durability.MEMORY, duplicate)
