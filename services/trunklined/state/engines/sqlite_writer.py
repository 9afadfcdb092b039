"""SqliteWriter: writes changes to the sqlite engine's file, and removes versions that no read can reach."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from trunkline.records import RecordKind
from trunklined.sqlite.file import roll_back
from trunklined.state.records import Change, Facets, Head, History, Holdings, Read, RecordKey, Transaction

TRIM_CHANGES: Final = 256
"""The history is cut by about so many at a time, which is cheaper than one by one and holds no commit up."""

HEADS_AT_ONCE: Final = (1, 8, 64)
"""Records that one statement looks up: 64 at once cost a third of 64 lookups. Few sizes, so that statements are kept
prepared; what a size has too many is NULL, which no id equals."""
_HEADS: Final = {
    size: "SELECT id, revision, status, type, phase, agent_id FROM records WHERE kind = ? AND id IN"
    f" ({', '.join('?' * size)})"
    for size in HEADS_AT_ONCE
}

_ADD_VERSION: Final = "INSERT INTO versions VALUES (?, ?, ?, ?, ?)"
_SET_RECORD: Final = (
    "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (kind, id) DO UPDATE SET revision = excluded.revision,"
    " status = excluded.status, type = excluded.type, phase = excluded.phase, agent_id = excluded.agent_id"
)
_DROP_RECORD: Final = "DELETE FROM records WHERE kind = ? AND id = ?"
_DROP_VERSION: Final = "DELETE FROM versions WHERE revision = ?"
_SET_STORE: Final = (
    "UPDATE store SET revision = ?, oldest = ?, history_bytes = ?,"
    " agent_states = ?, workflow_states = ?, task_results = ?"
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
        self._connection = connection
        self._note = note
        self._limits = limits
        self._trim_changes = max(1, min(TRIM_CHANGES, limits.changes // 4))
        revision, oldest, history_bytes, *counts = connection.execute("SELECT * FROM store").fetchone()
        self.holdings = Holdings(revision, oldest, dict(zip(RecordKind, counts, strict=True)))
        self._history_bytes = int(history_bytes)
        self._pending = self.holdings, self._history_bytes

    def begin(self, transactions: Sequence[Transaction]) -> dict[RecordKey, Head]:
        """Begins to write, and returns the heads of all records that the transactions write; where they write none,
        nothing is begun. They are read on this connection, whose page cache stays valid, and under the lock that the
        writes need anyway; a reader's cache is void after each commit."""
        ids_by_kind: dict[RecordKind, dict[str, None]] = {}
        for transaction in transactions:
            for operation in transaction:
                if not isinstance(operation, Read):
                    ids_by_kind.setdefault(operation[0], {})[operation[1]] = None
        found: dict[RecordKey, Head] = {}
        if ids_by_kind:
            self._connection.execute("BEGIN IMMEDIATE")
        for kind, ids in ids_by_kind.items():
            for chunk in _chunks(list(ids)):
                query = _HEADS[len(chunk)]
                for id, revision, *facets in self._connection.execute(query, (kind, *chunk)):
                    found[kind, id] = Head(revision, Facets(*facets))
        return found

    def apply(self, changes: Sequence[Change]) -> None:
        """Writes changes in order, after `begin`."""
        run = self._connection
        counts = dict(self.holdings.records)
        size = self._history_bytes
        oldest = self.holdings.oldest
        records: dict[RecordKey, Change] = {}
        superseded: list[tuple[int]] = []
        versions: list[tuple[int, int, str, bytes | None, bytes]] = []
        for change in changes:
            revision, kind, id, body, facets, before = change
            number = int(kind)  # sqlite3 looks for an adapter of an enum each time
            versions.append((revision, number, id, body, _pack_facets((facets, before))))
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
        run.executemany(_SET_RECORD, [(int(c.kind), c.id, c.revision, *c.facets) for c in records.values() if c.facets])
        if dropped := [key for key, change in records.items() if change.facets is None]:
            run.executemany(_DROP_RECORD, dropped)  # an empty call costs as much as a short one
        if superseded:
            run.executemany(_DROP_VERSION, superseded)
        self._trim(Holdings(changes[-1].revision, oldest, counts), size)

    def _trim(self, holdings: Holdings, size: int) -> None:
        oldest, freed = self._cut(holdings, size)
        if oldest > holdings.oldest:
            self._connection.execute(_TRIM, (holdings.oldest, oldest))
            holdings = Holdings(holdings.revision, oldest, holdings.records)
            size -= freed
        self._connection.execute(_SET_STORE, (holdings.revision, oldest, size, *holdings.records.values()))
        self._pending = holdings, size

    def _cut(self, holdings: Holdings, size: int) -> tuple[int, int]:
        """Returns the new oldest revision of the history, and the bytes of bodies that it frees."""
        oldest, freed = holdings.oldest, 0
        by_count = holdings.revision - self._limits.changes
        if by_count - oldest < self._trim_changes:
            by_count = oldest
        while oldest < by_count or size - freed > self._limits.bytes:
            rows = self._connection.execute(_EACH_BYTES, (oldest, TRIM_CHANGES)).fetchall()
            for revision, length in rows:
                if revision > by_count and size - freed <= self._limits.bytes:
                    break
                oldest, freed = revision, freed + length
            if len(rows) < TRIM_CHANGES:
                break
        return oldest, freed

    def commit(self) -> None:
        """Commits; returns when the transaction is on the disk."""
        self._connection.execute("COMMIT")
        self.holdings, self._history_bytes = self._pending
        self._note(self.holdings.revision)

    def rollback(self) -> None:
        """Undoes what was begun; SQLite may have done so itself."""
        roll_back(self._connection)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Facets | None, Head | None]).decode


def _pack_facets(both: tuple[Facets | None, Head | None]) -> bytes:
    return _encode(both)


def unpack_facets(packed: bytes) -> tuple[Facets | None, Head | None]:
    """Returns a version's facets, and the head of the version before; None for no record."""
    return _decode(packed)


def _chunks(ids: list[str]) -> Iterator[list[str | None]]:
    """Yields ids in lists of the sizes that statements are prepared for, padded with None."""
    largest = HEADS_AT_ONCE[-1]
    for start in range(0, len(ids), largest):
        chunk: list[str | None] = [*ids[start : start + largest]]
        size = next(size for size in HEADS_AT_ONCE if size >= len(chunk))
        yield chunk + [None] * (size - len(chunk))
