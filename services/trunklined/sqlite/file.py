"""A database file that is there: its lock, connections to it, and the meaning of its errors."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from trunkline.errors import OverloadedError, StorageError

MIN_FREE_BYTES: Final = 64 * 1024
"""Free bytes on the disk below which a failed write counts as a full disk, whatever SQLite calls it."""

BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait for a process that holds the database, such as the sqlite3 shell."""

HOLDER_BYTES: Final = 300
"""The most that is read of who holds a lock: a pid, and the longest name that a host may have."""

Identity = tuple[int, int]
"""Device and inode of a file: what it is, whatever it is called."""

_held: set[Identity] = set()
"""The files that this process holds. A second descriptor of one must not be closed while SQLite has it open: that would
take the locks of SQLite away (https://www.sqlite.org/howtocorrupt.html, 2.2)."""


def identity(path: Path | str) -> Identity | None:
    """Returns what a path leads to; None: nothing."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class FileLock:
    """The lock on a file, held by this process: on its name through a file beside it, and on the file itself, which may
    have several names. The end of a process releases both.

    Args:
        path: the file.
        service: the holder's name for people, such as "state service".
    """

    def __init__(self, path: Path, service: str) -> None:
        self._held = path
        self._service = service
        self._path = path.with_name(path.name + ".lock")
        self._descriptor: int | None = None
        self._file: tuple[int, Identity] | None = None

    def acquire(self) -> None:
        """Takes the lock on the name, and on the file if there is one.

        Raises:
            StorageError: another process holds it; details path and pid.
        """
        self._acquire_name()
        if self._held.exists():
            self.acquire_file()

    def acquire_file(self) -> None:
        """Takes the lock on the file, which is there; idempotent.

        Raises:
            StorageError: another service holds it, by another name; details path.
        """
        if self._file is not None:
            return
        held = identity(self._held)
        descriptor = None if held is None or held in _held else os.open(self._held, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if held is None or descriptor is None:
                raise BlockingIOError
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if descriptor is not None:
                os.close(descriptor)
            self.release()
            raise StorageError(
                f"{self._held} is in use by another {self._service}, under another name of the same file (a hard "
                f"link); one file serves one {self._service.split()[-1]}",
                details={"path": str(self._held)},
            ) from None
        _held.add(held)
        self._file = descriptor, held

    def _acquire_name(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, HOLDER_BYTES).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            service = self._service
            raise StorageError(
                f"{self._held} is in use by another {service} (pid {holder}); one file serves one "
                f"{service.split()[-1]}",
                details={"path": str(self._held), "pid": holder.partition(" ")[0]},
            ) from None
        os.ftruncate(descriptor, 0)
        try:
            # In a container the pid is mostly 1; its host is the pod's name.
            os.write(descriptor, f"{os.getpid()} on {platform.node()}\n".encode("ascii", "replace"))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                os.close(descriptor)
                raise
            # A full disk costs the next caller this name, not this one the file: reads must go on.
        self._descriptor = descriptor

    def release(self) -> None:
        """Gives the lock back; idempotent. The lock's file stays: removing it could take away the lock that another
        process has just got. Call it when no connection to the file is open any more."""
        if self._file is not None:
            descriptor, held = self._file
            self._file = None
            _held.discard(held)
            os.close(descriptor)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def connect(path: Path) -> sqlite3.Connection:
    """Opens a connection to a file that is there. It is usable in any thread; transactions are begun by hand."""
    uri = f"{path.as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT)
    connection.text_factory = _text
    return connection


def connect_to_copy(path: Path) -> sqlite3.Connection:
    """Opens a connection to a file that nobody writes, to read it; no other file is made beside it."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
    connection.text_factory = _text
    return connection


def _text(raw: bytes) -> str:
    """Decodes text of a file that may be damaged: its checksum, or SQLite, reports what is no UTF-8."""
    return raw.decode("utf-8", "backslashreplace")


def roll_back(connection: sqlite3.Connection) -> None:
    """Undoes a transaction that failed; SQLite may have done so itself."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):  # the first error is the one to tell
            connection.execute("ROLLBACK")


def translate(error: sqlite3.Error | OSError, path: Path, noun: str) -> OverloadedError | StorageError:
    """Returns the error of ours for an error of the database.

    Args:
        error: of SQLite or of the file system.
        path: the database's file.
        noun: the database's name for people, such as "state store".
    """
    if _is_full(error, path):
        return OverloadedError(
            f"there is no room on the disk of the {noun}; reads go on, writes resume when there is room",
            details={"limit": "disk"},
        )
    return StorageError(f"the {noun}'s file {path.name}: {error}", details={"path": str(path)})


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
