"""Watches: what was there, then each change in order, for each watcher as far as it matches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from trunkline.errors import OverloadedError, TrunklineError
from trunkline.records import RecordKind
from trunklined.state.engines.engine import Engine, compacted
from trunklined.state.records import ANY, Change, Entry, Facets, matches

PAGE: Final = 256
"""Records or changes that are read at a time."""


@dataclass(frozen=True, slots=True)
class Left:
    """A record that is no more (`deleted`), or was saved and matches no more."""

    kind: RecordKind
    id: str
    revision: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class Synced:
    """What was there has been told; changes follow."""

    revision: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Nothing was missed up to this revision."""

    revision: int


Event = Entry | Left | Synced | Progress


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """Which records a watcher gets the changes of. `id` None: every record of the kinds."""

    kinds: Sequence[RecordKind] = tuple(RecordKind)
    id: str | None = None
    facets: Facets = ANY

    def event(self, change: Change) -> Entry | Left | None:
        """Returns what a change is to the watcher; None where it does not concern the filter."""
        revision, kind, id, body, facets, before = change
        if kind not in self.kinds or (self.id is not None and id != self.id):
            return None
        if body is not None and facets is not None and matches(self.facets, facets):
            return Entry(kind, id, revision, body)
        if before is not None and matches(self.facets, before.facets):
            return Left(kind, id, revision, deleted=body is None)
        return None


class Watcher:
    """The changes that wait for one watcher. Beyond either bound it is over, with OVERLOADED."""

    def __init__(self, filter: WatchFilter, max_changes: int, max_bytes: int) -> None:
        self._filter = filter
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._events: deque[Entry | Left] = deque()
        self._bytes = 0
        self._error: TrunklineError | None = None
        self._filled = asyncio.Event()

    def offer(self, change: Change) -> None:
        """Queues what a change means to the watcher."""
        event = self._filter.event(change)
        if event is None or self._error is not None:
            return
        self._events.append(event)
        self._bytes += _size(event)
        if len(self._events) > self._max_changes:
            self._overflow("watch_queue", self._max_changes, "changes")
        elif self._bytes > self._max_bytes:
            self._overflow("watch_queue_bytes", self._max_bytes, "bytes")
        self._filled.set()

    def end(self, error: TrunklineError) -> None:
        """The watcher hears nothing more but this error."""
        self._error = error
        self._filled.set()

    async def take(self, timeout: float) -> Entry | Left | None:
        """The next event; None when there was none for `timeout` seconds."""
        if not self._events and self._error is None:
            self._filled.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._filled.wait()
            except TimeoutError:
                return None
        if self._error is not None:
            raise self._error
        event = self._events.popleft()
        self._bytes -= _size(event)
        return event

    def _overflow(self, limit: str, maximum: int, what: str) -> None:
        self._events.clear()
        self._bytes = 0
        self.end(
            OverloadedError(
                f"the watcher was too slow: over {maximum} {what} waited; resume after the last revision it saw",
                details={"limit": limit, "maximum": maximum},
            )
        )


class Watchers:
    """Everybody who watches a store.

    Args:
        engine: where records and past changes are read.
        max_changes, max_bytes: what may wait for one watcher.
        progress_seconds: after such a time without an event, a watcher is told how far it is.
    """

    def __init__(self, engine: Engine, *, max_changes: int, max_bytes: int, progress_seconds: float) -> None:
        self._engine = engine
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._progress_seconds = progress_seconds
        self._watchers: set[Watcher] = set()
        self._ended: Callable[[], TrunklineError] | None = None

    def __len__(self) -> int:
        return len(self._watchers)

    def publish(self, changes: Sequence[Change]) -> None:
        """Tells all of them what was committed."""
        for watcher in self._watchers:
            for change in changes:
                watcher.offer(change)

    def end(self, error: Callable[[], TrunklineError]) -> None:
        """Ends every watch, now and later, with such an error."""
        self._ended = error
        for watcher in self._watchers:
            watcher.end(error())

    async def watch(self, filter: WatchFilter, after: int | None) -> AsyncGenerator[Event, None]:
        """What was there, or the changes after a revision; then `Synced`, then each change.

        The watcher listens from the first moment on, so that nothing falls between what is read and what comes: what is
        read is told as far as it is not newer than that moment, and what is newer comes as a change.
        """
        if self._ended is not None:
            raise self._ended()
        watcher = Watcher(filter, self._max_changes, self._max_bytes)
        revision = self._engine.holdings.revision
        self._watchers.add(watcher)
        try:
            past = self._records(filter, revision) if after is None else self._history(filter, after, revision)
            async for event in past:
                yield event
            yield Synced(revision)
            while True:
                event_or_none = await watcher.take(self._progress_seconds)
                yield Progress(self._engine.holdings.revision) if event_or_none is None else event_or_none
        finally:
            self._watchers.discard(watcher)

    async def _records(self, filter: WatchFilter, revision: int) -> AsyncGenerator[Event, None]:
        if filter.id is not None:
            kind, id = filter.kinds[0], filter.id
            head = await self._engine.head(kind, id)
            if head is not None and matches(filter.facets, head.facets):
                entry = await self._engine.read(kind, id)
                if entry is not None and entry.revision <= revision:
                    yield entry
            return
        for kind in filter.kinds:
            after: str | None = None
            while True:
                page = await self._engine.page(kind, filter.facets, after, PAGE)
                for entry in page.entries:
                    if entry.revision <= revision:
                        yield entry
                if not page.more:
                    break
                after = page.entries[-1].id

    async def _history(self, filter: WatchFilter, after: int, revision: int) -> AsyncGenerator[Event, None]:
        if after > revision:
            raise compacted(after, self._engine.holdings.oldest)
        while after < revision:
            changes = await self._engine.changes(after, PAGE)
            for change in changes:
                if change.revision > revision:
                    return
                event = filter.event(change)
                if event is not None:
                    yield event
                after = change.revision


def _size(event: Entry | Left) -> int:
    return len(event.body) if isinstance(event, Entry) else 0
