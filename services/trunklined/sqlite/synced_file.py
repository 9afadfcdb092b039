"""SyncedFile: a database file that this process owns, whose answered commits are synced and noted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trunkline.errors import OverloadedError, StorageError
from trunklined.sqlite.file import FileLock, Identity, connect, identity, translate
from trunklined.sqlite.format import Format, prepare
from trunklined.sqlite.tail import Tail


class SyncedFile:
    """One SQLite file (WAL, synchronous=FULL), its lock, its connections, and its note of the last answered commit.

    Args:
        path: the file; created with its directories if there is none.
        format: the format that it must have.
        max_bytes: its largest size, beyond which writes fail with OVERLOADED; None: as large as the disk allows.
    """

    def __init__(self, path: Path, format: Format, *, max_bytes: int | None = None) -> None:
        self.path = path
        self._format = format
        self._max_bytes = max_bytes
        self._lock: FileLock | None = None
        self._tail: Tail | None = None
        self._connections: list[sqlite3.Connection] = []
        self._names = "", ""
        """Of the file and its log, as text: they are looked at before each commit."""
        self._place: Identity | None = None
        self._log_place: Identity | None = None

    @contextmanager
    def opening(self) -> Iterator[sqlite3.Connection]:
        """Opens the file and yields the connection that writes, for what must be read first. If that fails, the file is
        closed.

        Raises:
            StorageError: another process holds the file, or it cannot be opened or trusted.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path = self.path.resolve()  # so that two names of one file are one lock
            self._lock = FileLock(self.path, self._format.service)
            self._lock.acquire()
            prepare(self.path, self._format)
            self._lock.acquire_file()
            self._names = str(self.path), f"{self.path}-wal"
            self._place = identity(self.path)
            connection = self.connect()
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            bound(connection, self._max_bytes)
            yield connection
        except OSError as error:
            self.close()
            why = f"cannot be opened: {error.strerror or error}"
            raise StorageError(
                f"the {self._format.noun}'s file {self.path.absolute()} {why}", details={"path": str(self.path)}
            ) from error
        except sqlite3.Error as error:
            self.close()
            raise StorageError(self.translate(error).message, details={"path": str(self.path)}) from error
        except BaseException:
            self.close()
            raise

    def connect(self) -> sqlite3.Connection:
        """Opens one more connection, which is closed with the file."""
        connection = connect(self.path)
        self._connections.append(connection)
        return connection

    def check(self, commit: int) -> None:
        """Compares the number of the last commit in the file with the note.

        Raises:
            StorageError: commits that were answered are lost.
        """
        self._tail = Tail(self.path, self._format.noun)
        self._tail.open(commit)

    def check_place(self) -> None:
        """Makes sure, before a commit, that the file and its log are still where they were opened: what is written into
        files that have no name any more is lost with the end of the process.

        Raises:
            StorageError: they were removed, moved or replaced.
        """
        name, log_name = self._names
        log = identity(log_name)
        if self._log_place is None:
            self._log_place = log
        if identity(name) != self._place or log != self._log_place:
            raise StorageError(
                f"the {self._format.noun}'s file {self.path} was removed, moved or replaced while it was open: nothing "
                "more is stored; put it back, or start the service anew",
                details={"path": str(self.path)},
            )

    def note(self, commit: int) -> None:
        """Notes the number of a durable commit."""
        if self._tail is not None:
            self._tail.write(commit)

    def translate(self, error: sqlite3.Error | OSError) -> OverloadedError | StorageError:
        """Returns the error of ours for an error of the database."""
        return translate(error, self.path, self._format.noun)

    def close(self) -> None:
        """Closes connections and note, and releases the lock; idempotent."""
        while self._connections:
            with suppress(sqlite3.Error):  # a damaged file cannot be tidied up; it is left as it is
                self._connections.pop().close()
        if self._tail is not None:
            self._tail.close()
            self._tail = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def bound(connection: sqlite3.Connection, max_bytes: int | None) -> None:
    """Bounds the size of a database to `max_bytes`; None: no bound."""
    if max_bytes is not None:
        page_size = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page_size)}")
