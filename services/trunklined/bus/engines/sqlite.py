"""The sqlite engine: one file, in which every commit is synced. Without a path it is in memory, and keeps nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from trunkline.errors import OverloadedError, StorageError
from trunklined.bus.engines.sqlite_reads import ParcelReads, RunReads, TaskReads
from trunklined.bus.engines.sqlite_rows import (
    batch_row,
    channel_of,
    dead_letter_row,
    durable_of,
    durable_row,
    held_back_row,
    pending_row,
    sealed,
    task_of,
    task_row,
    unsealed,
)
from trunklined.bus.engines.sqlite_schema import FORMAT, SCHEMA
from trunklined.bus.records import Contents
from trunklined.bus.write_batch import WriteBatch
from trunklined.sqlite.file import roll_back, translate
from trunklined.sqlite.synced_file import SyncedFile, bound

_PUT_CHANNEL: Final = (
    "INSERT INTO channels VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
    " compacted = excluded.compacted, compacted_time = excluded.compacted_time,"
    " messages = excluded.messages, bytes = excluded.bytes, checksum = excluded.checksum"
)
_PUT_DURABLE: Final = f"INSERT OR REPLACE INTO durables VALUES ({', '.join('?' * 24)})"
_PUT_PARCEL: Final = f"INSERT OR REPLACE INTO parcels VALUES ({', '.join('?' * 15)})"
_PUT_RUN: Final = f"INSERT INTO runs VALUES ({', '.join('?' * 15)})"
_PUT_NUMBERS: Final = (
    "INSERT OR REPLACE INTO journal (rowid, last_sequence, last_dead_letter, last_durable, commits, checksum)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
_PUT_HELD_BACK: Final = "INSERT INTO held_back VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_DEAD_LETTER: Final = f"INSERT INTO dead_letters VALUES ({', '.join('?' * 18)})"
_PUT_TASK: Final = f"INSERT OR REPLACE INTO tasks VALUES ({', '.join('?' * 26)})"
_PUT_TASK_EVENT: Final = "INSERT OR REPLACE INTO task_events VALUES (?, ?, ?, ?)"

LOG_BYTES: Final = 8 * 1024 * 1024
"""To which SQLite's log is cut back after a commit that made it larger."""
FREE_PAGES: Final = 1_024
FREE_SHARE: Final = 5
"""Pages that are free, and their part of the file, which are left for what comes next."""


class Numbers(NamedTuple):
    """Numbers that were given out, and are never given again; and how many commits there were."""

    last_sequence: int
    last_dead_letter: int
    last_durable: int
    commits: int


class SqliteJournal(RunReads, ParcelReads, TaskReads):
    """Keeps a journal in one SQLite file (WAL, synchronous=FULL); see `JournalEngine`.

    Args:
        path: the file; made where there is none, its directories too. None: in memory.
        max_bytes: the file's size at the most, beyond which what needs room is refused with OVERLOADED; None: the disk
            decides.
    """

    def __init__(self, path: Path | None, *, max_bytes: int | None = None) -> None:
        super().__init__(self._errors)
        self._file = None if path is None else SyncedFile(path, FORMAT, max_bytes=max_bytes)
        self._memory: sqlite3.Connection | None = None
        self._max_bytes = max_bytes
        self._commits = 0
        self._channel_ids: dict[str, int] = {}
        self.name = "memory" if path is None else "sqlite"
        self.durability = "memory" if path is None else "stored"
        self.writes_beside_reads = path is not None
        self.waits_for_network = False

    def is_owned(self) -> bool:
        return True

    def open(self) -> Contents:
        if self._file is None:
            self._memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._memory.executescript(SCHEMA)
            bound(self._memory, self._max_bytes)
            self._writer = self._reader = self._counter = self._scanner = self._memory
            return self._contents()
        with self._file.opening() as self._writer:
            self._writer.execute("PRAGMA cache_size = -16384")
            self._writer.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            self._reader = self._file.connect()
            self._counter = self._file.connect()
            self._scanner = self._file.connect()
            for each in (self._reader, self._counter, self._scanner):
                each.execute("PRAGMA query_only = 1")
            return self._contents()

    def _contents(self) -> Contents:
        execute = self._writer.execute
        numbers = execute("SELECT * FROM journal").fetchone()
        self._numbers = Numbers._make(unsealed(numbers, "the journal's sequence")) if numbers else Numbers(0, 0, 0, 0)
        if self._file is not None:
            self._file.check(self._numbers.commits)
        self._commits = self._numbers.commits
        channels = [channel_of(row) for row in execute("SELECT * FROM channels")]
        self._channel_ids = {channel.name: channel.id for channel in channels}
        return Contents(
            last_sequence=self._numbers.last_sequence,
            last_pending_id=execute("SELECT coalesce(max(id), 0) FROM parcels").fetchone()[0],
            last_dead_letter=self._numbers.last_dead_letter,
            last_durable=self._numbers.last_durable,
            dead_letters=execute("SELECT count(*) FROM dead_letters").fetchone()[0],
            held_back=execute("SELECT count(*) FROM held_back").fetchone()[0],
            channels=channels,
            durables=[durable_of(row) for row in execute("SELECT * FROM durables ORDER BY name")],
            tasks=[task_of(row) for row in execute("SELECT * FROM tasks WHERE ended_at IS NULL OR is_withdrawn = 1")],
            last_task=execute("SELECT coalesce(max(number), 0) FROM tasks").fetchone()[0],
            task_count=execute("SELECT count(*) FROM tasks").fetchone()[0],
        )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._memory is not None:
            self._memory.close()

    def apply(self, writes: WriteBatch) -> None:
        with self._translated():
            self._writer.execute("BEGIN IMMEDIATE")
            self._apply(self._writer, writes)

    def _apply(self, connection: sqlite3.Connection, writes: WriteBatch) -> None:
        def many(statement: str, rows: Iterable[Any]) -> None:
            if rows:  # an empty call costs as much as a short one
                connection.executemany(statement, rows)

        for table in ("parcels", "skipped_keys", "cancelled"):
            many(f"DELETE FROM {table} WHERE durable = ?", [(id,) for id in (*writes.wiped, *writes.deleted)])
        many("DELETE FROM durables WHERE id = ?", [(id,) for id in writes.deleted])
        many(_PUT_CHANNEL, [sealed(*channel) for channel in writes.channels])
        for channel in writes.channels:
            self._channel_ids[channel.name] = channel.id
        many(_PUT_RUN, [batch_row(batch, self._channel_ids[batch.channel]) for batch in writes.batches])
        many(_PUT_HELD_BACK, [held_back_row(held) for held in writes.held_back])
        many("DELETE FROM held_back WHERE sequence = ?", [(sequence,) for sequence in writes.released])
        many(_PUT_DURABLE, [durable_row(durable) for durable in writes.durables])
        many(_PUT_PARCEL, [pending_row(pending) for pending in writes.pending_messages])
        many("DELETE FROM parcels WHERE id = ?", [(id,) for id in writes.settled])
        many("INSERT OR REPLACE INTO skipped_keys VALUES (?, ?, ?)", writes.skipped_keys)
        many("DELETE FROM skipped_keys WHERE durable = ? AND key = ?", writes.free_keys)
        many("INSERT OR REPLACE INTO cancelled VALUES (?, ?, ?, ?)", writes.cancelled)
        many("DELETE FROM cancelled WHERE durable = ? AND lane = ? AND sequence + count <= ?", writes.passed)
        many(_PUT_DEAD_LETTER, [dead_letter_row(letter) for letter in writes.dead_letters])
        many("DELETE FROM dead_letters WHERE id = ?", [(id,) for id in writes.forgotten_letters])
        many("UPDATE runs SET swept = 1 WHERE sequence = ?", [(sequence,) for sequence in writes.swept])
        many("DELETE FROM runs WHERE sequence = ?", [(sequence,) for sequence in writes.removed])
        many(_PUT_TASK, [task_row(task) for task in writes.tasks])
        many(_PUT_TASK_EVENT, [sealed(*event) for event in writes.task_events])
        many("DELETE FROM task_events WHERE task = ? AND number < ?", writes.forgotten_events)
        for table, column in (("tasks", "number"), ("task_events", "task")):
            many(f"DELETE FROM {table} WHERE {column} = ?", [(number,) for number in writes.forgotten_tasks])
        last_dead_letter = writes.dead_letters[-1].id if writes.dead_letters else 0
        self._numbers = Numbers(
            max(self._numbers.last_sequence, writes.last_sequence),
            max(self._numbers.last_dead_letter, last_dead_letter),
            max(self._numbers.last_durable, writes.last_durable),
            self._commits + 1,
        )
        connection.execute(_PUT_NUMBERS, (1, *sealed(*self._numbers)))

    def commit(self) -> None:
        if self._file is not None:
            self._file.check_place()
        with self._translated():
            self._writer.execute("COMMIT")
        self._commits += 1
        if self._file is not None:
            self._file.note(self._commits)

    def rollback(self) -> None:
        roll_back(self._writer)

    def file_bytes(self) -> int:
        if self._file is None:
            return int(self._value("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"))
        path = self._file.path
        names = (path, path.with_name(path.name + "-wal"))
        return sum(each.stat().st_size for each in names if each.exists())

    def has_free_space(self) -> bool:
        if self._file is None:
            return False
        free, pages = self._value("PRAGMA freelist_count"), self._value("PRAGMA page_count")
        return bool(free > FREE_PAGES and free > pages // FREE_SHARE)

    def tidy(self, pages: int) -> None:
        with self._translated():
            # A plain `execute` would free one page; and the file itself shrinks when the log is written back.
            self._writer.executescript(f"PRAGMA incremental_vacuum({pages}); PRAGMA wal_checkpoint(PASSIVE);")

    def _translate(self, error: sqlite3.Error) -> OverloadedError | StorageError:
        return translate(error, Path(":memory:"), FORMAT.noun) if self._file is None else self._file.translate(error)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._translate(error) from error
