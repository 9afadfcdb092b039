"""BacklogFile: what is held, in one SQLite file. All of it runs in one thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from trunklined.relay import tables
from trunklined.relay.journal import Contents
from trunklined.sqlite.file import roll_back
from trunklined.sqlite.format import Format
from trunklined.sqlite.synced_file import SyncedFile

T = TypeVar("T")

SCHEMA: Final = f"""{tables.SCHEMA}
-- One row.
CREATE TABLE backlog (commits INTEGER NOT NULL);
INSERT INTO backlog VALUES (0);
"""


def _verify(connection: sqlite3.Connection) -> str | None:
    if connection.execute("SELECT count(*) FROM backlog").fetchone()[0] != 1:
        return "it has lost its count of commits"
    return None


FORMAT: Final = Format(
    noun="sidecar's backlog",
    service="sidecar",
    application_id=0x54524E53,  # `TRNS`
    schema=SCHEMA,
    version=1,
    auto_vacuum=True,
    verify=_verify,
    last_commit="SELECT commits FROM backlog",
)


class BacklogFile:
    """Keeps messages in one SQLite file, each commit of which is synced.

    Args:
        path: the file; made where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._file = SyncedFile(path, FORMAT)
        self._connection: sqlite3.Connection
        self._commits = 0

    def open(self) -> Contents:
        """Opens the file, made where there is none, and returns what it holds.

        Raises:
            StorageError: see `SyncedFile.opening`.
        """
        with self._file.opening() as connection:
            self._connection = connection
            self._commits = FORMAT.commit_of(connection)
            self._file.check(self._commits)
            return tables.contents_of(connection)

    def close(self) -> None:
        """Closes the file; idempotent."""
        self._file.close()

    def run(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Does a step, makes it durable, and returns its result; undoes it when it raises.

        Raises:
            OverloadedError: no room on the disk. StorageError: any other error of the database.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            result = step(self._connection)
            self._connection.execute("UPDATE backlog SET commits = ?", (self._commits + 1,))
            self._file.check_place()
            self._connection.execute("COMMIT")
        except BaseException as error:
            roll_back(self._connection)
            if isinstance(error, sqlite3.Error):
                raise self._file.translate(error) from error
            raise
        self._commits += 1
        self._file.note(self._commits)
        return result

    def read(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Does a step that only reads, and returns its result.

        Raises:
            StorageError: an error of the database.
        """
        try:
            return step(self._connection)
        except sqlite3.Error as error:
            raise self._file.translate(error) from error

    def tidy(self) -> None:
        """Gives unused room of the file back to the disk."""
        # A script, because `execute` would step the first of them once, which frees one page.
        self._connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
