"""Watches: the matching records, then each matching change in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from trunkline.errors import OverloadedError, TrunklineError
from trunkline.records import WATCHED_KINDS, RecordKind
from trunklined.state.engines.engine import Engine, compacted
from trunklined.state.records import ANY, UNKNOWN, Change, Entry, Facets, Reason, Written, matches

PAGE: Final = 256
"""Records or changes that are read at once."""


@dataclass(frozen=True, slots=True)
class Left:
    """A record that is no more (`deleted`, and why), or was saved and no longer matches; and whose write that was."""

    kind: RecordKind
    id: str
    revision: int
    deleted: bool
    reason: int = Reason.DELETED
    written: Written = UNKNOWN


@dataclass(frozen=True, slots=True)
class Synced:
    """The end of the records that were there; changes follow."""

    revision: int


@dataclass(frozen=True, slots=True)
class Progress:
    """A revision up to which the watcher has missed nothing."""

    revision: int


Event = Entry | Left | Synced | Progress


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """Which records a watcher gets the changes of. `id` None: every record of the kinds."""

    kinds: Sequence[RecordKind] = WATCHED_KINDS
    id: str | None = None
    facets: Facets = ANY

    def event(self, change: Change) -> Entry | Left | None:
        """Returns what a change is to the watcher; None where it does not concern the filter."""
        revision, kind, id, body, facets, before, _, reason, written = change
        if kind not in self.kinds or (self.id is not None and id != self.id):
            return None
        if body is not None and facets is not None and matches(self.facets, facets):
            return Entry(kind, id, revision, body, written)
        if before is not None and matches(self.facets, before.facets):
            return Left(kind, id, revision, body is None, reason, written)
        return None


class Watcher:
    """The queue of one watcher's events. Beyond either bound the watch ends with OVERLOADED."""

    def __init__(self, filter: WatchFilter, max_changes: int, max_bytes: int) -> None:
        self._filter = filter
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._events: deque[Entry | Left] = deque()
        self._bytes = 0
        self._error: TrunklineError | None = None
        self._filled = asyncio.Event()

    def offer(self, change: Change) -> None:
        """Queues the event of a change, if the change concerns the watcher."""
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
        """Ends the watch: `take` raises this error from now on."""
        self._error = error
        self._filled.set()

    async def take(self, timeout: float) -> Entry | Left | None:
        """Returns the next event; None if there was none for `timeout` seconds."""
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
    """All watches of a store.

    Args:
        engine: the source of records and past changes.
        max_changes, max_bytes: bounds of one watcher's queue, in events and in bytes of their bodies.
        progress_seconds: a watcher without an event for this time gets a `Progress`.
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
        """Offers committed changes to all watchers."""
        for watcher in self._watchers:
            for change in changes:
                watcher.offer(change)

    def restart(self) -> None:
        """Ends every watch there is now: what it would go on from is lost."""
        for watcher in self._watchers:
            watcher.end(compacted(self._engine.holdings.revision, self._engine.holdings.oldest))

    def end(self, error: Callable[[], TrunklineError]) -> None:
        """Ends every watch, also those that start later, with the error that `error` makes."""
        self._ended = error
        for watcher in self._watchers:
            watcher.end(error())

    async def watch(self, filter: WatchFilter, after: int | None) -> AsyncGenerator[Event, None]:
        """Yields the records that match, or the changes after a revision; then `Synced`, then each change.

        Changes are queued from the start, so that none is lost between reading and listening: of what is read, only
        records not newer than the start are yielded; the newer ones come as changes.

        Raises:
            CompactedError: the changes after `after` are not all stored.
            OverloadedError: the watcher was too slow.
        """
        await self._engine.catch_up()
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
