"""SqliteWriter: writes changes to the sqlite engine's file, and removes versions that no read can reach."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from trunkline.records import RecordKind
from trunklined.relay import tables
from trunklined.relay.journal import Arrival
from trunklined.sqlite.file import roll_back
from trunklined.state.records import (
    CARRIERS,
    FOR_EVER,
    Change,
    Facets,
    Head,
    History,
    Holdings,
    Put,
    Read,
    Reason,
    RecordKey,
    Term,
    Transaction,
)

_T = TypeVar("_T")

TRIM_CHANGES: Final = 256
"""The history is cut by about so many at a time, which is cheaper than one by one and holds no commit up."""

HEADS_AT_ONCE: Final = (1, 8, 64)
"""Records that one statement looks up: 64 at once cost a third of 64 lookups. Few sizes, so that statements are kept
prepared; what a size has too many is NULL, which no id equals."""
FIELDS: Final = "revision, status, type, phase, agent_id, capability, lease, ttl_ms, expires_at_ms"
"""The columns of a head; see `head_of`."""
_HEADS: Final = {
    size: f"SELECT id, {FIELDS} FROM records WHERE kind = ? AND id IN ({', '.join('?' * size)})"
    for size in HEADS_AT_ONCE
}

_ADD_VERSION: Final = "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)"
_SET_RECORD: Final = (
    f"INSERT INTO records (kind, id, {FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (kind, id) DO UPDATE SET"
    f" {', '.join(f'{name} = excluded.{name}' for name in FIELDS.split(', '))}"
)
_SET_TERM: Final = "UPDATE records SET ttl_ms = ?, expires_at_ms = ? WHERE kind = ? AND id = ?"
_DROP_RECORD: Final = "DELETE FROM records WHERE kind = ? AND id = ?"
_DROP_VERSION: Final = "DELETE FROM versions WHERE revision = ?"
_SET_STORE: Final = (
    "UPDATE store SET revision = ?, oldest = ?, history_bytes = ?,"
    " agent_states = ?, workflow_states = ?, task_results = ?, leases = ?, agent_presences = ?"
)
_EACH_BYTES: Final = (
    "SELECT revision, coalesce(length(body), 0) FROM versions WHERE revision > ? ORDER BY revision LIMIT ?"
)
# A version that has left the history stays only while it is a record's last.
_TRIM: Final = (
    "DELETE FROM versions WHERE revision > ? AND revision <= ? AND NOT EXISTS (SELECT 1 FROM records"
    " WHERE records.kind = versions.kind AND records.id = versions.id AND records.revision = versions.revision)"
)


class SqliteWriter:
    """The only writer of the file: `begin`, `apply`, then `commit` (which waits for the disk) or `rollback`."""

    def __init__(self, connection: sqlite3.Connection, limits: History, note: Callable[[int], None]) -> None:
        self.connection = connection
        self._note = note
        self._limits = limits
        self._trim_changes = max(1, min(TRIM_CHANGES, limits.changes // 4))
        revision, oldest, history_bytes, *counts = connection.execute("SELECT * FROM store").fetchone()
        self.holdings = Holdings(revision, oldest, dict(zip(RecordKind, counts, strict=True)))
        self._history_bytes = int(history_bytes)
        self._pending = self.holdings, self._history_bytes

    def begin(self, transactions: Sequence[Transaction]) -> dict[RecordKey, Head | None]:
        """Begins to write, and returns the heads of all records that the transactions name, but for reads; None where
        there is none. Where they only read, nothing is begun. The heads are read on this connection, whose page cache
        stays valid, and under the lock that the writes need anyway; a reader's cache is void after each commit."""
        ids_by_kind: dict[RecordKind, dict[str, None]] = {}
        for transaction in transactions:
            for operation in transaction:
                if not isinstance(operation, Read):
                    ids_by_kind.setdefault(operation[0], {})[operation[1]] = None
                if isinstance(operation, CARRIERS) and operation.fence is not None:
                    ids_by_kind.setdefault(RecordKind.LEASE, {})[operation.fence.name] = None
                if isinstance(operation, Put) and operation.lease is not None:
                    ids_by_kind.setdefault(RecordKind.LEASE, {})[operation.lease.name] = None
        found: dict[RecordKey, Head | None] = {}
        if ids_by_kind:
            self.connection.execute("BEGIN IMMEDIATE")
        for kind, ids in ids_by_kind.items():
            for id in ids:
                found[kind, id] = None
            for chunk in _chunks(list(ids)):
                query = _HEADS[len(chunk)]
                for id, *head in self.connection.execute(query, (kind, *chunk)):
                    found[kind, id] = head_of(head)
        return found

    def apply(self, changes: Sequence[Change], published: Sequence[Arrival], touched: Mapping[RecordKey, Head]) -> None:
        """Writes changes in order, messages into the outbox, and the terms of what was touched, after `begin`."""
        run = self.connection
        counts = dict(self.holdings.records)
        size = self._history_bytes
        oldest = self.holdings.oldest
        records: dict[RecordKey, Change] = {}
        superseded: list[tuple[int]] = []
        versions: list[tuple[int, int, str, bytes | None, bytes, str, int]] = []
        for change in changes:
            revision, kind, id, body, facets, before, _, reason, written = change
            number = int(kind)  # sqlite3 looks for an adapter of an enum each time
            versions.append((revision, number, id, body, pack_meta(facets, before, reason), *written))
            records[kind, id] = change
            if before is None:
                counts[kind] += 1
            elif before.revision <= oldest:
                superseded.append((before.revision,))
            if body is None:
                counts[kind] -= 1
            else:
                size += len(body)
        run.executemany(_ADD_VERSION, versions)
        run.executemany(
            _SET_RECORD, [(int(c.kind), c.id, c.revision, *c.facets, *c.term) for c in records.values() if c.facets]
        )
        if dropped := [key for key, change in records.items() if change.facets is None]:
            run.executemany(_DROP_RECORD, dropped)  # an empty call costs as much as a short one
        if superseded:
            run.executemany(_DROP_VERSION, superseded)
        if published:
            tables.add(run, published)
        if touched:
            run.executemany(_SET_TERM, [(*head.term[1:], *key) for key, head in touched.items()])
        if changes:
            self._trim(Holdings(changes[-1].revision, oldest, counts), size)
        else:
            self._pending = self.holdings, size

    def _trim(self, holdings: Holdings, size: int) -> None:
        oldest, freed = self._cut(holdings, size)
        if oldest > holdings.oldest:
            self.connection.execute(_TRIM, (holdings.oldest, oldest))
            holdings = Holdings(holdings.revision, oldest, holdings.records)
            size -= freed
        self.connection.execute(_SET_STORE, (holdings.revision, oldest, size, *holdings.records.values()))
        self._pending = holdings, size

    def _cut(self, holdings: Holdings, size: int) -> tuple[int, int]:
        """Returns the new oldest revision of the history, and the bytes of bodies that it frees."""
        oldest, freed = holdings.oldest, 0
        by_count = holdings.revision - self._limits.changes
        if by_count - oldest < self._trim_changes:
            by_count = oldest
        while oldest < by_count or size - freed > self._limits.bytes:
            rows = self.connection.execute(_EACH_BYTES, (oldest, TRIM_CHANGES)).fetchall()
            for revision, length in rows:
                if revision > by_count and size - freed <= self._limits.bytes:
                    break
                oldest, freed = revision, freed + length
            if len(rows) < TRIM_CHANGES:
                break
        return oldest, freed

    def commit(self) -> None:
        """Commits; returns when the transaction is on the disk."""
        self.connection.execute("COMMIT")
        self.holdings, self._history_bytes = self._pending
        self._note(self.holdings.revision)

    def run(self, step: Callable[[sqlite3.Connection], _T]) -> _T:
        """Does a step of the outbox in a transaction of its own, which is on the disk when it returns."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = step(self.connection)
            self.connection.execute("COMMIT")
        except BaseException:
            self.rollback()
            raise
        return result

    def rollback(self) -> None:
        """Undoes what was begun; SQLite may have done so itself."""
        roll_back(self.connection)


class _Meta(NamedTuple):
    """What is kept of a version beside its body: its facets and the head of the version before, None for no record; and
    why the record ended, where it did."""

    facets: Facets | None
    before: Head | None
    reason: int = Reason.DELETED


_encode = msgspec.msgpack.Encoder().encode
unpack_facets = msgspec.msgpack.Decoder(_Meta).decode


def pack_meta(facets: Facets | None, before: Head | None, reason: int = Reason.DELETED) -> bytes:
    """Returns what is kept of a version beside its body."""
    return _encode(_Meta(facets, before, reason))


def head_of(columns: Sequence[Any]) -> Head:
    """Returns the head in a row of `FIELDS`."""
    term = Term(*columns[6:]) if columns[6] or columns[7] else FOR_EVER
    return Head(columns[0], Facets(*columns[1:6]), term)


def _chunks(ids: list[str]) -> Iterator[list[str | None]]:
    """Yields ids in lists of the sizes that statements are prepared for, padded with None."""
    largest = HEADS_AT_ONCE[-1]
    for start in range(0, len(ids), largest):
        chunk: list[str | None] = [*ids[start : start + largest]]
        size = next(size for size in HEADS_AT_ONCE if size >= len(chunk))
        yield chunk + [None] * (size - len(chunk))
