"""The sqlite engine: one file, in which every answered write is synced.

Statements run on the event loop's thread, because each takes a few microseconds, less than handing it to another
thread; the commit, which waits for the disk, runs in a thread. One connection writes, one reads single records, one
reads pages and history in a thread of its own, so that a long list holds nothing up.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from trunkline.errors import OverloadedError, StorageError
from trunkline.records import RecordKind
from trunklined.relay.journal import Stock
from trunklined.relay.tables import TableJournal, contents_of
from trunklined.sqlite.synced_file import SyncedFile
from trunklined.sqlite.work_thread import WorkThread
from trunklined.state.engines.engine import SILENT, Commit, Listener, News, compacted, ttl_of
from trunklined.state.engines.entry_cache import EntryCache
from trunklined.state.engines.sqlite_schema import FORMAT
from trunklined.state.engines.sqlite_writer import FIELDS, SqliteWriter, head_of, unpack_facets
from trunklined.state.planning import Bound, Planner, TransactionOutcome, none_bound
from trunklined.state.records import (
    Change,
    Entry,
    Facets,
    Head,
    History,
    Holdings,
    Page,
    Reason,
    RecordKey,
    Transaction,
    Written,
)

_T = TypeVar("_T")

CACHED_BYTES: Final = 8 * 1024 * 1024
"""Memory for the records that were written or read last. A read from the file releases the interpreter's lock several
times, which costs more than the read."""

LARGE: Final = 1_024
"""Operations of a write beyond which all of it is done in the commits' thread. (The store gives so many only where one
transaction has them.)"""

RETRY_SECONDS: Final = 0.25
"""How long after a write that failed it is tried whether the file can be written to again."""

_HEAD: Final = f"SELECT {FIELDS} FROM records WHERE kind = ? AND id = ?"
_TERMS: Final = f"SELECT kind, id, {FIELDS} FROM records WHERE lease > 0 OR ttl_ms > 0"
_READ: Final = (
    "SELECT records.revision, body, written_by, written_at_ms FROM records JOIN versions USING (revision)"
    " WHERE records.kind = ? AND records.id = ?"
)
_PAGE: Final = (
    "SELECT records.id, records.revision, body, written_by, written_at_ms FROM records JOIN versions USING (revision)"
    " WHERE records.kind = ? AND records.id > ?{conditions} ORDER BY records.id LIMIT ?"
)
_CHANGES: Final = (
    "SELECT revision, kind, id, body, facets, written_by, written_at_ms FROM versions"
    " WHERE revision > ? ORDER BY revision LIMIT ?"
)


class SqliteEngine:
    """Keeps records in one SQLite file (WAL, synchronous=FULL).

    Args:
        path: the file; made where there is none, its directories too.
        history: bounds of the changes that are stored for watches that resume.
        page_bytes: bodies of one page or of one read of changes; it ends before the record that would exceed it.
        answer_bytes: bodies that one transaction may read.
        outbox: counts the messages of the outbox.
        max_bytes: the file's size at the most, beyond which writes are refused with OVERLOADED; None: the disk decides.
    """

    name = "sqlite"
    reads_wait = False

    def __init__(
        self,
        path: Path,
        *,
        history: History,
        page_bytes: int,
        answer_bytes: int,
        outbox: Stock,
        max_bytes: int | None = None,
    ) -> None:
        self.outbox = TableJournal(outbox, self._step)
        self._writing = asyncio.Lock()
        """Held by whoever has a transaction open on the connection that writes."""
        self._file = SyncedFile(path, FORMAT, max_bytes=max_bytes)
        self._limits = history
        self._page_bytes = page_bytes
        self._answer_bytes = answer_bytes
        self._holdings = Holdings(0, 0, dict.fromkeys(RecordKind, 0))
        self._cache = EntryCache(CACHED_BYTES)
        self._threads: list[WorkThread] = []
        self._listener = SILENT
        self._trying: asyncio.Task[None] | None = None
        """While the file fails: tries it again."""

    async def open(self, listener: Listener = SILENT) -> None:
        """Opens the file, or creates it."""
        self._listener = listener
        with self._file.opening() as connection:
            self._writer = SqliteWriter(connection, self._limits, self._file.note)
            self._file.check(self._writer.holdings.revision)
            self._holdings = self._writer.holdings
            self.outbox.stock.open(contents_of(connection))
            self._reader = self._file.connect()
            self._scanner = self._file.connect()
        self._commits = self._thread("state-commit")
        self._scans = self._thread("state-scan")

    def _thread(self, name: str) -> WorkThread:
        thread = WorkThread(name)
        self._threads.append(thread)
        return thread

    async def close(self) -> None:
        """Closes the file, after a commit and a step of the outbox that run; idempotent."""
        if self._trying is not None:
            self._trying.cancel()
        async with self._writing:
            pass
        while self._threads:
            await self._threads.pop().close()
        self._file.close()

    @property
    def holdings(self) -> Holdings:
        """The committed revisions and counts."""
        return self._holdings

    async def catch_up(self) -> None:
        """Does nothing: the listener is told in each write."""

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

    async def terms(self) -> list[tuple[RecordKey, Head]]:
        """Returns the records that end by themselves, read in the scan thread."""

        def read() -> list[tuple[RecordKey, Head]]:
            rows = self._scanner.execute(_TERMS)
            return [((RecordKind(kind), id), head_of(head)) for kind, id, *head in rows]

        return await self._scan(read)

    async def extend(self, key: RecordKey, revision: int) -> float | None:
        """Returns the TTL of a record: nothing else keeps when it ends."""
        return ttl_of(self._head(*key), revision)

    async def write(self, transactions: Sequence[Transaction], bound: Bound = none_bound) -> Commit:
        """Plans, writes and syncs transactions."""
        async with self._writing:
            try:
                planner, outcomes = await self._write(transactions, bound)
            except StorageError as error:
                self._report(error)
                raise
            if planner.changes or planner.touched:
                self._holdings = self._writer.holdings
                self._cache.apply(planner.changes)
                self._listener.heard(News(planner.changes, planner.touched, bool(planner.published)))
            return Commit(outcomes, planner.changes, planner.published)

    async def _write(
        self, transactions: Sequence[Transaction], bound: Bound
    ) -> tuple[Planner, list[TransactionOutcome]]:
        if sum(map(len, transactions)) > LARGE:
            return await self._commits.run(lambda: self._write_at_once(transactions, bound))
        planner, outcomes = self._begin(transactions, self._reader, self._read, bound)
        if planner.changes or planner.touched:
            await self._commits.run(self._commit)
        return planner, outcomes

    def _report(self, trouble: StorageError) -> None:
        """Reports that the file fails, and tries it until it does not: who is told so may send nothing to write."""
        if self._trying is None:
            self._listener.reachable(trouble)
            self._trying = asyncio.create_task(self._try_again(), name="state-try-again")

    async def _try_again(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self._step(lambda connection: connection.execute("UPDATE store SET revision = revision"))
            except StorageError:
                continue  # it was said
            except OverloadedError:
                pass  # it is full, of which each write is told
            break
        self._trying = None
        self._listener.reachable(None)

    async def _step(self, step: Callable[[sqlite3.Connection], _T]) -> _T:
        """Does a step of the outbox in the commit thread. Shielded, as a commit is: it keeps the lock to its end, also
        when the caller is cancelled."""
        return await asyncio.shield(asyncio.ensure_future(self._step_alone(step)))

    async def _step_alone(self, step: Callable[[sqlite3.Connection], _T]) -> _T:
        async with self._writing:
            self._file.check_place()
            try:
                return await self._commits.run(lambda: self._writer.run(step))
            except sqlite3.Error as error:
                raise self._file.translate(error) from error

    def _write_at_once(
        self, transactions: Sequence[Transaction], bound: Bound
    ) -> tuple[Planner, list[TransactionOutcome]]:
        """Does all of a write in the commits' thread: so nothing is read by what the loop's thread reads with."""
        planner, outcomes = self._begin(transactions, self._writer.connection, self._writer_read, bound)
        if planner.changes or planner.touched:
            self._commit()
        return planner, outcomes

    def _begin(
        self,
        transactions: Sequence[Transaction],
        connection: sqlite3.Connection,
        read: Callable[[RecordKind, str], Entry | None],
        bound: Bound,
    ) -> tuple[Planner, list[TransactionOutcome]]:
        """Plans a write, and writes what it changes. That is open then, where there is anything."""
        with self._undone():
            heads = self._writer.begin(transactions)

            def head(key: RecordKey) -> Head | None:
                return heads[key] if key in heads else self._head_with(connection, *key)

            planner = Planner(self._holdings.revision, head, read, self._answer_bytes, bound)
            outcomes = [planner.add(transaction) for transaction in transactions]
            if planner.changes or planner.touched:
                self._file.check_place()
                self._writer.apply(planner.changes, planner.published, planner.touched)
            else:
                self._writer.rollback()
            return planner, outcomes

    def _commit(self) -> None:
        with self._undone():
            self._writer.commit()

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Undoes what was begun where it fails."""
        try:
            yield
        except sqlite3.Error as error:
            self._writer.rollback()
            raise self._file.translate(error) from error
        except BaseException:
            self._writer.rollback()
            raise

    def _head(self, kind: RecordKind, id: str) -> Head | None:
        return self._head_with(self._reader, kind, id)

    def _head_with(self, connection: sqlite3.Connection, kind: RecordKind, id: str) -> Head | None:
        try:
            row = connection.execute(_HEAD, (kind, id)).fetchone()
        except sqlite3.Error as error:
            raise self._file.translate(error) from error
        return None if row is None else head_of(row)

    def _read(self, kind: RecordKind, id: str) -> Entry | None:
        cached = self._cache.get(kind, id)
        if cached is not None:
            return cached
        entry = self._read_with(self._reader, kind, id)
        if entry is not None:
            self._cache.put(entry)
        return entry

    def _writer_read(self, kind: RecordKind, id: str) -> Entry | None:
        return self._read_with(self._writer.connection, kind, id)

    def _read_with(self, connection: sqlite3.Connection, kind: RecordKind, id: str) -> Entry | None:
        try:
            row = connection.execute(_READ, (kind, id)).fetchone()
        except sqlite3.Error as error:
            raise self._file.translate(error) from error
        return None if row is None else Entry(kind, id, row[0], row[1], Written(*row[2:]))

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
        conditions = "".join(
            " AND instr(capability, ?)" if name == "capability" else f" AND {name} = ?" for name in fields
        )
        rows = self._scanner.execute(
            _PAGE.format(conditions=conditions), (kind, after or "", *fields.values(), limit + 1)
        )
        revision = self._scanner.execute("SELECT revision FROM store").fetchone()[0]
        found: list[Entry] = []
        room = self._page_bytes
        for id, at, body, *written in rows:
            entry = Entry(kind, id, at, body, Written(*written))
            room -= entry.size
            if len(found) == limit or (room < 0 and found):
                return Page(found, True, revision)
            found.append(entry)
        return Page(found, False, revision)

    def _changes(self, after: int, limit: int) -> list[Change]:
        oldest = self._scanner.execute("SELECT oldest FROM store").fetchone()[0]
        if after < oldest:
            raise compacted(after, oldest)
        found: list[Change] = []
        room = self._page_bytes
        for revision, kind, id, body, facets, *written in self._scanner.execute(_CHANGES, (after, limit)):
            room -= len(body or b"")
            if room < 0 and found:
                break
            meta = unpack_facets(facets)
            kept = Change(revision, RecordKind(kind), id, body, meta.facets, meta.before)
            found.append(kept._replace(reason=Reason(meta.reason), written=Written(*written)))
        return found
