"""Opens the database file of the sqlite engine, or says clearly why not; and what its errors mean.

Nothing here ever repairs, replaces or empties a file that is there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

from trunkline.errors import OverloadedError, StateError, StorageError

APPLICATION_ID: Final = 0x54524E4B
"""`TRNK`, in the file's header (https://www.sqlite.org/pragma.html#pragma_application_id)."""

SCHEMA_VERSION: Final = 1

SCHEMA: Final = """
-- One row for each record that there is: where its body stands, and what filters ask for.
CREATE TABLE records (
    kind INTEGER NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    status TEXT,
    type TEXT,
    phase TEXT,
    agent_id TEXT,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
-- One row for each write: the log that watches resume from, and the only place of the bodies. A version stays while it
-- is a record's last or within the history. `facets`: what filters ask for, now and before, as MessagePack.
CREATE TABLE versions (
    revision INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    id TEXT NOT NULL,
    body BLOB,
    facets BLOB NOT NULL
);
-- One row. Every change after `oldest` is in `versions`; the bodies of those are `history_bytes` together.
CREATE TABLE store (
    revision INTEGER NOT NULL,
    oldest INTEGER NOT NULL,
    history_bytes INTEGER NOT NULL,
    agent_states INTEGER NOT NULL,
    workflow_states INTEGER NOT NULL,
    task_results INTEGER NOT NULL
);
INSERT INTO store VALUES (0, 0, 0, 0, 0, 0);
"""

CHECKED_BYTES: Final = 64 * 1024 * 1024
"""A file up to this size is checked whole when it is opened (about a tenth of a second); in a larger one, damage is
noticed when it is read."""

MIN_FREE_BYTES: Final = 64 * 1024
"""With less room than this, a write that failed failed for want of room, whatever SQLite calls it."""

BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait for another process that reads the file by hand, such as the sqlite3 shell."""


class FileLock:
    """Holds a store's file for this process, by a lock on a file beside it; a killed process holds it no more."""

    def __init__(self, path: Path) -> None:
        self._store = path
        self._path = path.with_name(path.name + ".lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises `StorageError` with the holder's pid where another process holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StorageError(
                f"{self._store} is in use by another state service (pid {holder}); one file serves one service",
                details={"path": str(self._store), "pid": holder},
            ) from None
        os.ftruncate(descriptor, 0)
        try:
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                os.close(descriptor)
                raise
            # A full disk costs the next caller the pid, not this one the store: reads must go on.
        self._descriptor = descriptor

    def release(self) -> None:
        """Idempotent. The file stays: removing it could take away a lock that another process has just got."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def create_if_absent(path: Path) -> None:
    """Makes an empty store where there is no file, whole or not at all."""
    if path.exists():
        return
    journal = path.with_name(path.name + "-wal")
    if journal.exists():
        raise StorageError(
            f"{path} is missing, but its journal {journal.name} is there: restore the file, or remove the journal",
            details={"path": str(path)},
        )
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(draft, isolation_level=None)
    try:
        connection.executescript(
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
            f" BEGIN; {SCHEMA} COMMIT; PRAGMA journal_mode = WAL;"
        )
    finally:
        connection.close()
    os.rename(draft, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises `StorageError` where the file is not a store of this version, or is damaged."""
    if path.stat().st_size == 0:
        raise StorageError(
            f"{path} is empty and so no state store; remove it if a new one shall be made", details={"path": str(path)}
        )
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise StorageError(f"{path} is a database of another program", details={"path": str(path)})
    if version != SCHEMA_VERSION:
        raise StorageError(
            f"{path} has version {version} of the format, this program knows {SCHEMA_VERSION}: use a newer program",
            details={"path": str(path), "found": version, "supported": SCHEMA_VERSION},
        )
    if path.stat().st_size <= CHECKED_BYTES:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise StorageError(f"{path} is damaged: {verdict}", details={"path": str(path)})
    if connection.execute("SELECT count(*) FROM store").fetchone()[0] != 1:
        raise StorageError(f"{path} is damaged: it has lost its revision", details={"path": str(path)})


def translate(error: sqlite3.Error | OSError, path: Path) -> StateError:
    """What an error of the database means to a caller."""
    if _is_full(error, path):
        return OverloadedError(
            "there is no room on the disk of the state store; reads go on, writes resume when there is room",
            details={"limit": "disk"},
        )
    return StorageError(f"the state store's file {path.name}: {error}", details={"path": str(path)})


def _is_full(error: sqlite3.Error | OSError, path: Path) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_FULL:
        return True
    if code & 0xFF not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return False
    room = os.statvfs(path.parent)
    return room.f_bavail * room.f_frsize < MIN_FREE_BYTES
