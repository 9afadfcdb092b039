"""SyncedFile: a database file that this process has for itself, and whose commits are synced and noted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trunkline.errors import StorageError
from trunklined.sqlite.file import FileLock, Format, connect, prepare, translate
from trunklined.sqlite.tail import Tail


class SyncedFile:
    """One SQLite file (WAL, synchronous=FULL) and the connection that writes it. Used by one thread at a time.

    Args:
        path: the file; made where there is none, its directories too.
        format: what it must be. A table with one row has the number of the last commit.
        number: that table and its column, such as ("journal", "commits").
    """

    def __init__(self, path: Path, format: Format, number: tuple[str, str]) -> None:
        self.path = path
        self._format = format
        self._table, self._column = number
        self._lock: FileLock | None = None
        self._tail: Tail | None = None
        self._commits = 0
        self.connection: sqlite3.Connection

    def open(self) -> None:
        """Raises StorageError: another process has the file, or it cannot be opened or trusted."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path = self.path.resolve()  # so that two names of one file are one lock
            self._lock = FileLock(self.path, self._format)
            self._lock.acquire()
            prepare(self.path, self._format)
            self.connection = connect(self.path)
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")
            self._commits = self.connection.execute(f"SELECT {self._column} FROM {self._table}").fetchone()[0]
            self._tail = Tail(self.path, self._format.noun)
            self._tail.open(self._commits)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StorageError(
                translate(error, self.path, self._format).message, details={"path": str(self.path)}
            ) from error
        except StorageError:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What is done within is durable when it ends, or undone when it raises.

        Raises:
            OverloadedError: no room on the disk. StorageError: any other error of the database.
        """
        run = self.connection.execute
        try:
            run("BEGIN IMMEDIATE")
            yield self.connection
            run(f"UPDATE {self._table} SET {self._column} = ?", (self._commits + 1,))
            run("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):  # the first error is the one to tell
                if self.connection.in_transaction:
                    run("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise translate(error, self.path, self._format) from error
            raise
        self._commits += 1
        if self._tail is not None:
            self._tail.write(self._commits)

    def close(self) -> None:
        """Idempotent."""
        if hasattr(self, "connection"):
            with suppress(sqlite3.Error):  # a damaged file cannot be tidied up; it is left as it is
                self.connection.close()
        if self._tail is not None:
            self._tail.close()
            self._tail = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
