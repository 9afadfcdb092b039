"""RecentEvents: what happened to messages lately. Kept as it came, and read only when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from trunklined.bus.description import Description
from trunklined.bus.message_batch import MessageBatch

_EVENT_BYTES: Final = 256
"""About what an event takes beside the messages that it keeps."""


class EventKind(IntEnum):
    """What happened; the numbers are those of the wire. ARRIVED: another replica handed it on, which says so itself."""

    ARRIVED = 0
    PUBLISHED = 1
    STORED = 2
    DELIVERED = 3
    HANDED_OUT = 4
    ACKED = 5
    NAKKED = 6
    EXTENDED = 7
    RELEASED = 8
    LEASE_ENDED = 9
    DEAD = 10
    REDRIVEN = 11
    CANCELLED = 12
    ENDED = 13


class Happening(NamedTuple):
    """Something that happened to messages of one batch, at a time."""

    time: float
    kind: EventKind
    sequences: Sequence[int]
    batch: MessageBatch | None = None
    """The messages, where they came with it."""
    by: str = ""
    durable: str = ""
    attempt: int = 0
    error: str = ""
    due_at: float | None = None
    request_id: str = ""
    """Of a request that has its end: it may have had no sequence."""


class RecentEvents:
    """The newest, up to a size. To note one costs less than a microsecond, whatever it is about.

    Args:
        max_bytes: what they may take, with the messages that they keep. 0: nothing is kept.
        clock: UNIX time in seconds.
        describe: what an encoded message says of itself.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float], describe: Callable[[bytes], Description]) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._describe = describe
        self._events: deque[Happening] = deque()
        self._bytes = 0
        self._since = clock()

    @property
    def since(self) -> float:
        """The time from which on all is remembered, in UNIX time."""
        return self._since if self._max_bytes else self._clock()

    def carry(self, batch: MessageBatch, kind: EventKind) -> None:
        """Notes that messages came, which are kept with it."""
        if self._max_bytes:
            self._bytes += batch.size
            self._add(Happening(self._clock(), kind, range(batch.first_sequence, batch.end), batch))

    def note(
        self,
        kind: EventKind,
        sequences: Sequence[int],
        by: str = "",
        durable: str = "",
        attempt: int = 0,
        error: str = "",
        due_at: float | None = None,
        request_id: str = "",
    ) -> None:
        """Notes that something happened to messages, by their sequences."""
        if self._max_bytes:
            now = self._clock()
            self._add(Happening(now, kind, sequences, None, by, durable, attempt, error, due_at, request_id))

    def _add(self, event: Happening) -> None:
        self._events.append(event)
        self._bytes += _EVENT_BYTES
        while self._bytes > self._max_bytes and self._events:
            gone = self._events.popleft()
            self._bytes -= _EVENT_BYTES + (0 if gone.batch is None else gone.batch.size)
            self._since = gone.time

    def messages_with(self, message_id: str, correlation_id: str) -> Iterator[tuple[int, str, Description] | None]:
        """Yields the sequence and the channel of each message that has an id, and what it says of itself; None in
        between, where others may have their turn. What is empty does not matter."""
        needle = (message_id or correlation_id).encode()
        for event in list(self._events):
            batch = event.batch
            if batch is None:
                continue
            for offset, message in enumerate(batch.messages):
                if needle in message:
                    about = self._describe(message)
                    if about.message_id == message_id or (correlation_id and about.correlation_id == correlation_id):
                        yield batch.first_sequence + offset, batch.channel, about
            yield None

    def about(
        self, sequences: Iterable[int], request_ids: Iterable[str]
    ) -> Iterator[tuple[Happening, list[int]] | None]:
        """Yields what happened to messages, each with those of their sequences that it is about; None in between."""
        wanted, requests = sorted(sequences), frozenset(request_ids)
        known = frozenset(wanted)
        for event in list(self._events):
            of = event.sequences
            if isinstance(of, range):
                found = wanted[bisect_left(wanted, of.start) : bisect_left(wanted, of.stop)]
            else:
                found = [each for each in of if each in known]
            if found or event.request_id in requests:
                yield event, found
            else:
                yield None
