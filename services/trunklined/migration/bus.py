"""The rows of a journal: those of the file, which Redis has as they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from trunkline.errors import StorageError
from trunklined.bus.engines.redis import ROOM, TYPES, VERSION
from trunklined.bus.engines.sqlite_schema import FORMAT
from trunklined.bus.engines.working_copy import TABLES as NAMES
from trunklined.migration.files import transaction
from trunklined.migration.rooms import Room
from trunklined.migration.rows import PAGE_BYTES, PAGE_ROWS, Row, paged
from trunklined.redis.link import SyncLink

TABLES: Final = tuple(NAMES)
JOURNAL_FORMAT: Final = FORMAT
JOURNAL_ROOM: Final = Room(ROOM, "journal", VERSION, TYPES, "owner")
_COMMITS: Final = 4
"""Where a row of `journal` has the number of commits."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode


class JournalFile:
    """See `FileSide`."""

    def __init__(self, connection: sqlite3.Connection, place: str) -> None:
        self.place = place
        self._connection = connection

    def count(self, table: str) -> int:
        """See `Side`."""
        return int(self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def pages(self, table: str) -> Iterator[list[Row]]:
        """See `FileSide`."""
        names, columns = NAMES[table], self._columns(table)
        order = ", ".join(names)
        rows = self._connection.execute(f"SELECT {order}, {', '.join(columns)} FROM {table} ORDER BY {order}")
        width = len(names)
        return paged(Row(":".join(map(str, row[:width])), _encode(row[width:])) for row in rows)

    def put(self, table: str, rows: Sequence[Row]) -> None:
        """See `Side`."""
        columns = self._columns(table)
        marks = ", ".join("?" * len(columns))
        with transaction(self._connection):
            self._connection.executemany(
                f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})",
                [_decode(row.value) for row in rows],
            )

    def _columns(self, table: str) -> tuple[str, ...]:
        named = tuple(row[1] for row in self._connection.execute(f"PRAGMA table_info({table})"))
        return ("rowid", *named) if NAMES[table] == ("rowid",) else named


class JournalRoom:
    """See `RoomSide`."""

    def __init__(self, link: SyncLink, place: str) -> None:
        self.place = place
        self._link = link

    def check(self) -> None:
        """Raises `StorageError` if the rows are not those of the last commit."""
        commit = int(self._link.call("HGET", self._link.key("head"), "commit") or 0)
        found = max((_decode(row.value)[_COMMITS] for page in self.pages("journal") for row in page), default=0)
        if found != commit:
            raise StorageError(
                f"the journal in Redis is damaged: its last commit is {commit}, and its rows are those of {found}"
            )

    def count(self, table: str) -> int:
        """See `Side`."""
        return int(self._link.call("HLEN", self._link.key(table), idempotent=True))

    def pages(self, table: str) -> Iterator[list[Row]]:
        """See `RoomSide`."""
        cursor, rows = 0, 128
        while True:
            cursor, found = self._link.call("HSCAN", self._link.key(table), cursor, "COUNT", rows, idempotent=True)
            if found:
                yield [Row(name.decode(), value) for name, value in found.items()]
                row_bytes = sum(map(len, found.values())) // len(found) + 1
                rows = max(1, min(PAGE_ROWS, PAGE_BYTES // row_bytes))
            cursor = int(cursor)
            if not cursor:
                return

    def put(self, table: str, rows: Sequence[Row]) -> None:
        """See `Side`."""
        pairs = [part for row in rows for part in row]
        self._link.call("HSET", self._link.key(table), *pairs, idempotent=True)
        if table == "journal":
            commit = max(_decode(row.value)[_COMMITS] for row in rows)
            self._link.call("HSET", self._link.key("head"), "commit", commit, idempotent=True)

    def fetch(self, table: str, names: Sequence[str]) -> list[bytes | None]:
        """See `RoomSide`."""
        found: list[bytes | None] = self._link.call("HMGET", self._link.key(table), *names, idempotent=True)
        return found
