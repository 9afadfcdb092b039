"""Terms: which records end by themselves, when, and with which lease."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from trunklined.state.records import FOR_EVER, Change, Head, RecordKey, Term

_NONE: Final[Mapping[RecordKey, None]] = {}


class Terms:
    """The committed records that end by themselves, in memory: their deadlines by the monotonic clock, so that setting
    a clock ends nothing early, and which of them are bound to which lease.

    Args:
        clock: seconds, monotonic.
        wall_clock: UNIX time in seconds.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._revisions: dict[RecordKey, int] = {}
        self._terms: dict[RecordKey, Term] = {}
        self._deadlines: dict[RecordKey, float] = {}
        self._queue: list[tuple[float, RecordKey]] = []
        self._queued: dict[RecordKey, float] = {}
        """The time of each key's one valid entry in the queue, which is not later than its deadline."""
        self._bound: dict[int, dict[RecordKey, None]] = {}

    def load(self, stored: Iterable[tuple[RecordKey, Head]]) -> None:
        """Takes what an engine stored before. What is stored without the time of its end has its whole TTL again."""
        now_ms = self._wall_clock() * 1000
        for key, head in stored:
            if key in self._terms:
                if self._revisions[key] >= head.revision:
                    continue  # it was heard of meanwhile
                self._forget(key)
            ttl_ms, expires_at_ms = head.term.ttl_ms, head.term.expires_at_ms
            left_ms = ttl_ms if not expires_at_ms else min(ttl_ms, max(0, expires_at_ms - now_ms))
            self._set(key, head.revision, head.term, left_ms / 1000)

    def clear(self) -> None:
        """Forgets all."""
        for key in [*self._terms]:
            self._forget(key)

    def correct(self, not_ended: Mapping[RecordKey, tuple[int, float | None]]) -> None:
        """Takes what is known better of records that did not end: see `Commit`."""
        for key, (revision, seconds) in not_ended.items():
            if self._revisions.get(key) != revision:
                continue
            if seconds is None:
                self._forget(key)
            else:
                self._deadlines[key] = self._clock() + seconds

    def follow(self, changes: Sequence[Change], touched: Mapping[RecordKey, Head]) -> bool:
        """Takes a commit; returns whether something may end sooner by it."""
        known, has_more = self._terms, bool(touched)
        for change in changes:
            key = change.kind, change.id
            if key in known:
                self._forget(key)
            if change.body is not None and change.term != FOR_EVER:
                self._set(key, change.revision, change.term, change.term.ttl_ms / 1000)
                has_more = True
        for key, head in touched.items():
            if key in known:
                self._forget(key)
            self._set(key, head.revision, head.term, head.term.ttl_ms / 1000)
        return has_more

    def bound(self, number: int) -> Collection[RecordKey]:
        """Returns the records that are bound to the lease with a number."""
        return self._bound.get(number, _NONE).keys()

    def extend(self, key: RecordKey, revision: int) -> float | None:
        """Begins a TTL anew, without a write; returns its seconds. None: there is no such record with a TTL."""
        if self._revisions.get(key) != revision or key not in self._deadlines:
            return None
        seconds = self._terms[key].ttl_ms / 1000
        self._deadlines[key] = self._clock() + seconds
        return seconds

    def remaining(self, key: RecordKey) -> float | None:
        """Returns the seconds until a record ends, at least 0; None for one without a TTL."""
        deadline = self._deadlines.get(key)
        return None if deadline is None else max(0.0, deadline - self._clock())

    def is_due(self, key: RecordKey, revision: int) -> bool:
        """Returns whether the TTL of a record has passed."""
        return self._revisions.get(key) == revision and self._deadlines.get(key, self._clock()) <= self._clock()

    def due(self, limit: int) -> list[tuple[RecordKey, int]]:
        """Takes up to `limit` records whose TTL has passed, with their revisions. Each is to be ended, or `retry`."""
        found: list[tuple[RecordKey, int]] = []
        now = self._clock()
        while self._queue and len(found) < limit and self._queue[0][0] <= now:
            at, key = heapq.heappop(self._queue)
            if self._queued.get(key) != at:
                continue
            del self._queued[key]
            deadline = self._deadlines[key]
            if deadline > now:
                self._enqueue(key, deadline)
            else:
                found.append((key, self._revisions[key]))
        return found

    def retry(self, key: RecordKey, seconds: float) -> None:
        """Lets `due` return a record again after some seconds, if it is still there."""
        if key in self._deadlines and key not in self._queued:
            self._enqueue(key, self._clock() + seconds)

    def seconds_to_next(self) -> float | None:
        """Returns the seconds until `due` may have something; None: never, as it is."""
        while self._queue and self._queued.get(self._queue[0][1]) != self._queue[0][0]:
            heapq.heappop(self._queue)
        return max(0.0, self._queue[0][0] - self._clock()) if self._queue else None

    def _set(self, key: RecordKey, revision: int, term: Term, seconds: float) -> None:
        self._revisions[key] = revision
        self._terms[key] = term
        if term.lease:
            self._bound.setdefault(term.lease, {})[key] = None
        if term.ttl_ms:
            self._deadlines[key] = deadline = self._clock() + seconds
            self._enqueue(key, deadline)

    def _enqueue(self, key: RecordKey, at: float) -> None:
        self._queued[key] = at
        heapq.heappush(self._queue, (at, key))

    def _forget(self, key: RecordKey) -> None:
        del self._revisions[key]
        term = self._terms.pop(key)
        self._deadlines.pop(key, None)
        self._queued.pop(key, None)
        if term.lease:
            bound = self._bound[term.lease]
            del bound[key]
            if not bound:
                del self._bound[term.lease]
