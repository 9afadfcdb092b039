"""WorkingCopy: a journal's tables in a file without a name, and which of their rows a transaction changed.

It is what answers reads where the journal itself is kept elsewhere. Nothing of it outlives the process.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from trunklined.bus.engines.sqlite_schema import SCHEMA
from trunklined.sqlite.file import connect
from trunklined.sqlite.synced_file import bound

TABLES: Final[dict[str, tuple[str, ...]]] = {
    "journal": ("rowid",),
    "channels": ("id",),
    "runs": ("sequence",),
    "held_back": ("sequence",),
    "durables": ("id",),
    "parcels": ("id",),
    "skipped_keys": ("durable", "key"),
    "cancelled": ("durable", "lane", "sequence"),
    "dead_letters": ("id",),
    "tasks": ("number",),
    "task_events": ("task", "number"),
}
"""The tables, and what names a row of each."""

_NAMES: Final = ("a", "b", "c")
"""Of the columns that hold what names a row."""


class Changes(NamedTuple):
    """What changed in one table: rows that are there now, by their names; and the names of those that are gone."""

    table: str
    put: list[tuple[str, tuple[Any, ...]]]
    gone: list[str]


class WorkingCopy:
    """SQLite without a sync, whose reads see what is committed, also while a transaction is open.

    Its file has no name any more once it is open: so it takes memory only as far as the machine has it to spare, and
    goes with the process, however that ends.

    Args:
        max_bytes: its largest size, beyond which writes fail; None: the disk decides.
    """

    def __init__(self, max_bytes: int | None) -> None:
        directory = Path(tempfile.mkdtemp(prefix="trunkline-journal-"))
        self._connections: list[sqlite3.Connection] = []
        try:
            path = directory / "copy.db"
            path.touch(mode=0o600)
            self.writer = self._connect(path)
            self.writer.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self.writer.execute("PRAGMA journal_mode = WAL")
            self.writer.execute("PRAGMA synchronous = OFF")
            self.writer.execute("PRAGMA temp_store = MEMORY")
            self.writer.execute("PRAGMA recursive_triggers = ON")  # so that what REPLACE deletes counts as deleted
            self.writer.executescript(SCHEMA)
            bound(self.writer, max_bytes)
            self.readers = [self._connect(path) for _ in range(3)]
            for each in self.readers:
                each.execute("PRAGMA query_only = 1")
                each.execute("SELECT count(*) FROM journal").fetchone()  # opens all files
        except BaseException:
            self.close()
            raise
        finally:
            shutil.rmtree(directory)
        self._columns = {name: self._columns_of(name) for name in TABLES}

    def _connect(self, path: Path) -> sqlite3.Connection:
        connection = connect(path)
        self._connections.append(connection)
        return connection

    def _columns_of(self, table: str) -> tuple[str, ...]:
        named = tuple(row[1] for row in self.writer.execute(f"PRAGMA table_info({table})"))
        return ("rowid", *named) if TABLES[table] == ("rowid",) else named

    def fill(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Puts rows into a table, as `changes` returned them; before `watch`."""
        columns = self._columns[table]
        marks = ", ".join("?" * len(columns))
        self.writer.executemany(f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    def watch(self) -> None:
        """Notes from now on which rows change."""
        self.writer.execute(
            f"CREATE TEMP TABLE changed (kind INTEGER, {', '.join(_NAMES)}, PRIMARY KEY (kind, {', '.join(_NAMES)}))"
            " WITHOUT ROWID"
        )
        for kind, (table, names) in enumerate(TABLES.items()):
            for event, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old")):
                values = [f"{row}.{name}" for name in names]
                values += ["0"] * (len(_NAMES) - len(names))
                self.writer.execute(
                    f"CREATE TEMP TRIGGER {table}_{event} AFTER {event} ON main.{table} BEGIN"
                    f" INSERT OR IGNORE INTO changed VALUES ({kind}, {', '.join(values)}); END"
                )

    def changes(self) -> list[Changes]:
        """Returns what the open transaction changed, as it is now, and notes anew from here on."""
        execute = self.writer.execute
        tables = list(TABLES.items())
        found = []
        for (kind,) in execute("SELECT DISTINCT kind FROM changed").fetchall():
            table, names = tables[kind]
            columns = ", ".join(f"t.{column}" for column in self._columns[table])
            same = " AND ".join(f"t.{name} = changed.{own}" for name, own in zip(names, _NAMES, strict=False))
            rows = execute(
                f"SELECT {', '.join(_NAMES[: len(names)])}, {columns} FROM changed LEFT JOIN {table} t ON {same}"
                " WHERE kind = ?",
                (kind,),
            )
            put: list[tuple[str, tuple[Any, ...]]] = []
            gone: list[str] = []
            width = len(names)
            for row in rows:
                name = ":".join(map(str, row[:width]))
                if row[width] is None:
                    gone.append(name)
                else:
                    put.append((name, row[width:]))
            found.append(Changes(table, put, gone))
        execute("DELETE FROM changed")
        return found

    def close(self) -> None:
        """Closes it, and so removes it; idempotent."""
        while self._connections:
            with suppress(sqlite3.Error):  # nothing of it is needed any more
                self._connections.pop().close()
