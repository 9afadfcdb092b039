"""The sqlite engine: one file, in which every answered write is synced.

Statements run on the event loop's thread, because each takes a few microseconds, less than handing it to another
thread; the commit, which waits for the disk, runs in a thread. One connection writes, one reads single records, one
reads pages and history in a thread of its own, so that a long list holds nothing up.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from trunkline.records import RecordKind
from trunklined.sqlite.synced_file import SyncedFile
from trunklined.sqlite.work_thread import WorkThread
from trunklined.state.engines.engine import Commit, compacted
from trunklined.state.engines.entry_cache import EntryCache
from trunklined.state.engines.sqlite_schema import FORMAT
from trunklined.state.engines.sqlite_writer import SqliteWriter, unpack_facets
from trunklined.state.planning import Planner
from trunklined.state.records import Change, Entry, Facets, Head, History, Holdings, Page, Transaction

_T = TypeVar("_T")

CACHED_BYTES: Final = 8 * 1024 * 1024
"""Memory for the records that were written or read last. A read from the file releases the interpreter's lock several
times, which costs more than the read."""

_HEAD: Final = "SELECT revision, status, type, phase, agent_id FROM records WHERE kind = ? AND id = ?"
_READ: Final = (
    "SELECT records.revision, body FROM records JOIN versions USING (revision)"
    " WHERE records.kind = ? AND records.id = ?"
)
_PAGE: Final = (
    "SELECT records.id, records.revision, body FROM records JOIN versions USING (revision)"
    " WHERE records.kind = ? AND records.id > ?{conditions} ORDER BY records.id LIMIT ?"
)
_CHANGES: Final = "SELECT revision, kind, id, body, facets FROM versions WHERE revision > ? ORDER BY revision LIMIT ?"


class SqliteEngine:
    """Keeps records in one SQLite file (WAL, synchronous=FULL).

    Args:
        path: the file; made where there is none, its directories too.
        history: bounds of the changes that are stored for watches that resume.
        page_bytes: bodies of one page or of one read of changes; it ends before the record that would exceed it.
        answer_bytes: bodies that one transaction may read.
        max_bytes: the file's size at the most, beyond which writes are refused with OVERLOADED; None: the disk decides.
    """

    name = "sqlite"

    def __init__(
        self, path: Path, *, history: History, page_bytes: int, answer_bytes: int, max_bytes: int | None = None
    ) -> None:
        self._file = SyncedFile(path, FORMAT, max_bytes=max_bytes)
        self._limits = history
        self._page_bytes = page_bytes
        self._answer_bytes = answer_bytes
        self._holdings = Holdings(0, 0, dict.fromkeys(RecordKind, 0))
        self._cache = EntryCache(CACHED_BYTES)
        self._threads: list[WorkThread] = []

    async def open(self) -> None:
        """Opens the file, or creates it."""
        with self._file.opening() as connection:
            self._writer = SqliteWriter(connection, self._limits, self._file.note)
            self._file.check(self._writer.holdings.revision)
            self._holdings = self._writer.holdings
            self._reader = self._file.connect()
            self._scanner = self._file.connect()
        self._commits = self._thread("state-commit")
        self._scans = self._thread("state-scan")

    def _thread(self, name: str) -> WorkThread:
        thread = WorkThread(name)
        self._threads.append(thread)
        return thread

    async def close(self) -> None:
        """Closes the file, after a commit that runs; idempotent."""
        while self._threads:
            await self._threads.pop().close()
        self._file.close()

    @property
    def holdings(self) -> Holdings:
        """The committed revisions and counts."""
        return self._holdings

    async def read(self, kind: RecordKind, id: str) -> Entry | None:
        """Returns one record, or None, read in the loop's thread."""
        return self._read(kind, id)

    async def head(self, kind: RecordKind, id: str) -> Head | None:
        """Returns one record without its body, or None."""
        return self._head(kind, id)

    async def page(self, kind: RecordKind, filter: Facets, after: str | None, limit: int) -> Page:
        """Returns records that match, read in the scan thread."""
        return await self._scan(lambda: self._page(kind, filter, after, limit))

    async def changes(self, after: int, limit: int) -> list[Change]:
        """Returns the changes after a revision, read in the scan thread."""
        return await self._scan(lambda: self._changes(after, limit))

    async def write(self, transactions: Sequence[Transaction]) -> Commit:
        """Plans, writes and syncs transactions."""
        writer = self._writer
        try:
            heads = writer.begin(transactions)
            planner = Planner(self._holdings.revision, heads.get, self._read, self._answer_bytes)
            outcomes = [planner.add(transaction) for transaction in transactions]
            if planner.changes:
                self._file.check_place()
                writer.apply(planner.changes)
                await self._commits.run(writer.commit)
            else:
                writer.rollback()
        except asyncio.CancelledError:
            raise  # the commit runs to its end; `close` waits for it
        except sqlite3.Error as error:
            writer.rollback()
            raise self._file.translate(error) from error
        except BaseException:
            writer.rollback()
            raise
        if planner.changes:
            self._holdings = writer.holdings
            self._cache.apply(planner.changes)
        return Commit(outcomes, planner.changes)

    def _head(self, kind: RecordKind, id: str) -> Head | None:
        try:
            row = self._reader.execute(_HEAD, (kind, id)).fetchone()
        except sqlite3.Error as error:
            raise self._file.translate(error) from error
        return None if row is None else Head(row[0], Facets(*row[1:]))

    def _read(self, kind: RecordKind, id: str) -> Entry | None:
        cached = self._cache.get(kind, id)
        if cached is not None:
            return cached
        try:
            row = self._reader.execute(_READ, (kind, id)).fetchone()
        except sqlite3.Error as error:
            raise self._file.translate(error) from error
        if row is None:
            return None
        entry = Entry(kind, id, row[0], row[1])
        self._cache.put(entry)
        return entry

    async def _scan(self, scan: Callable[[], _T]) -> _T:
        try:
            return await self._scans.run(lambda: self._in_snapshot(scan))
        except sqlite3.Error as error:
            raise self._file.translate(error) from error

    def _in_snapshot(self, scan: Callable[[], _T]) -> _T:
        self._scanner.execute("BEGIN")
        try:
            return scan()
        finally:
            self._scanner.execute("ROLLBACK")

    def _page(self, kind: RecordKind, filter: Facets, after: str | None, limit: int) -> Page:
        fields = {name: value for name, value in filter._asdict().items() if value is not None}
        conditions = "".join(f" AND {name} = ?" for name in fields)
        rows = self._scanner.execute(
            _PAGE.format(conditions=conditions), (kind, after or "", *fields.values(), limit + 1)
        )
        revision = self._scanner.execute("SELECT revision FROM store").fetchone()[0]
        found: list[Entry] = []
        room = self._page_bytes
        for id, at, body in rows:
            room -= len(body)
            if len(found) == limit or (room < 0 and found):
                return Page(found, True, revision)
            found.append(Entry(kind, id, at, body))
        return Page(found, False, revision)

    def _changes(self, after: int, limit: int) -> list[Change]:
        oldest = self._scanner.execute("SELECT oldest FROM store").fetchone()[0]
        if after < oldest:
            raise compacted(after, oldest)
        found: list[Change] = []
        room = self._page_bytes
        for revision, kind, id, body, facets in self._scanner.execute(_CHANGES, (after, limit)):
            room -= len(body or b"")
            if room < 0 and found:
                break
            found.append(Change(revision, RecordKind(kind), id, body, *unpack_facets(facets)))
        return found
