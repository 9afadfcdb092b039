"""The memory engine: records live as long as the program."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

from trunkline.records import RecordKind
from trunklined.relay import tables
from trunklined.relay.journal import Stock
from trunklined.relay.tables import TableJournal
from trunklined.state.engines.engine import SILENT, Commit, Listener, News, compacted, ttl_of
from trunklined.state.planning import Bound, Planner, none_bound
from trunklined.state.records import (
    ANY,
    FOR_EVER,
    Change,
    Entry,
    Facets,
    Head,
    History,
    Holdings,
    Page,
    RecordKey,
    Term,
    Transaction,
    matches,
)

_T = TypeVar("_T")


class MemoryEngine:
    """Keeps records in dictionaries, and their ids in sorted lists for pages.

    Args:
        history: bounds of the changes that are stored for watches that resume.
        page_bytes: bodies of one page or of one read of changes; it ends before the record that would exceed it.
        answer_bytes: bodies that one transaction may read.
        outbox: counts the messages of the outbox.
    """

    name = "memory"
    reads_wait = False

    def __init__(self, *, history: History, page_bytes: int, answer_bytes: int, outbox: Stock) -> None:
        self.outbox = TableJournal(outbox, self._step)
        # The outbox of the sqlite engine, in memory: one meaning, and one way to say it.
        self._tables = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._tables.executescript(tables.SCHEMA)
        self._limits = history
        self._page_bytes = page_bytes
        self._answer_bytes = answer_bytes
        self._records: dict[RecordKind, dict[str, tuple[Entry, Facets, Term]]] = {kind: {} for kind in RecordKind}
        self._ids: dict[RecordKind, list[str]] = {kind: [] for kind in RecordKind}
        self._history: deque[Change] = deque()
        self._history_bytes = 0
        self._revision = 0
        self._listener = SILENT
        self._oldest = 0

    async def open(self, listener: Listener = SILENT) -> None:
        """Begins to tell the listener."""
        self._listener = listener

    async def close(self) -> None:
        """Frees the outbox; idempotent."""
        self._tables.close()

    @property
    def holdings(self) -> Holdings:
        """The committed revisions and counts."""
        return Holdings(self._revision, self._oldest, {kind: len(kept) for kind, kept in self._records.items()})

    async def catch_up(self) -> None:
        """Does nothing: the listener is told in each write."""

    async def read(self, kind: RecordKind, id: str) -> Entry | None:
        """Returns one record, or None."""
        return self._read(kind, id)

    async def head(self, kind: RecordKind, id: str) -> Head | None:
        """Returns one record without its body, or None."""
        return self._head(kind, id)

    async def page(self, kind: RecordKind, filter: Facets, after: str | None, limit: int) -> Page:
        """Returns records that match, in order of ids."""
        ids, records = self._ids[kind], self._records[kind]
        start = 0 if after is None else bisect_right(ids, after)
        found: list[Entry] = []
        room = self._page_bytes
        for index in range(start, len(ids)):
            entry, facets, _ = records[ids[index]]
            if filter is ANY or matches(filter, facets):
                room -= entry.size
                if len(found) == limit or (room < 0 and found):
                    return Page(found, True, self._revision)
                found.append(entry)
        return Page(found, False, self._revision)

    async def changes(self, after: int, limit: int) -> list[Change]:
        """Returns the changes after a revision."""
        if after < self._oldest:
            raise compacted(after, self._oldest)
        found: list[Change] = []
        room = self._page_bytes
        for change in islice(self._history, after - self._oldest, after - self._oldest + limit):
            room -= len(change.body or b"")
            if room < 0 and found:
                break
            found.append(change)
        return found

    async def terms(self) -> list[tuple[RecordKey, Head]]:
        """Returns the records that end by themselves."""
        return [
            ((kind, id), Head(entry.revision, facets, term))
            for kind, records in self._records.items()
            for id, (entry, facets, term) in records.items()
            if term != FOR_EVER
        ]

    async def extend(self, key: RecordKey, revision: int) -> float | None:
        """Returns the TTL of a record: nothing else keeps when it ends."""
        return ttl_of(self._head(*key), revision)

    async def write(self, transactions: Sequence[Transaction], bound: Bound = none_bound) -> Commit:
        """Applies transactions; each takes effect at once."""
        planner = Planner(self._revision, lambda key: self._head(*key), self._read, self._answer_bytes, bound)
        outcomes = [planner.add(transaction) for transaction in transactions]
        for change in planner.changes:
            self._apply(change)
        tables.add(self._tables, planner.published)
        for (kind, id), head in planner.touched.items():
            entry, facets, _ = self._records[kind][id]
            self._records[kind][id] = entry, facets, head.term
        self._revision = planner.revision
        self._trim()
        if planner.changes or planner.touched:
            self._listener.heard(News(planner.changes, planner.touched, bool(planner.published)))
        return Commit(outcomes, planner.changes, planner.published)

    async def _step(self, step: Callable[[sqlite3.Connection], _T]) -> _T:
        return step(self._tables)

    def _head(self, kind: RecordKind, id: str) -> Head | None:
        found = self._records[kind].get(id)
        return None if found is None else Head(found[0].revision, found[1], found[2])

    def _read(self, kind: RecordKind, id: str) -> Entry | None:
        found = self._records[kind].get(id)
        return None if found is None else found[0]

    def _apply(self, change: Change) -> None:
        revision, kind, id, body, facets, before, term, _, written = change
        records, ids = self._records[kind], self._ids[kind]
        if body is None or facets is None:
            del records[id]
            del ids[bisect_left(ids, id)]
        else:
            if before is None:
                insort(ids, id)
            records[id] = Entry(kind, id, revision, body, written), facets, term
            self._history_bytes += len(body)
        self._history.append(change)

    def _trim(self) -> None:
        while len(self._history) > self._limits.changes or self._history_bytes > self._limits.bytes:
            gone = self._history.popleft()
            self._history_bytes -= len(gone.body or b"")
            self._oldest = gone.revision
