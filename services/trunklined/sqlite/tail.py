"""Tail: a note beside a database file of how far its answered commits go.

SQLite takes its write-ahead log up to the last commit whose checksums are right, and silently forgets what follows.
For what was being written when the machine stopped that is right: it was never answered. For a commit that was
answered, and whose bytes were cut off or changed since, it is not: the file would come up shorter, and nobody would
know.

So each commit counts up a number in the database, and when it is durable, and before it is answered, the same number is
noted in a small file beside it. The note is not synced by itself, which would cost a commit as much again: it can be
older than the database after a power cut, and then proves less; it can never be newer, unless commits were lost.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final
from zlib import crc32

from trunkline.errors import StorageError

_NOTE: Final = Struct("<QI")
_NUMBER: Final = Struct("<Q")

READS: Final = 10
"""Of a note that is torn, as one is that is being written; then it is damaged."""


class Tail:
    """The note beside one database file, open as long as the database.

    Args:
        path: the database's file; the note is `<name>-tail`.
        noun: what the database is called, for people.
    """

    def __init__(self, path: Path, noun: str) -> None:
        self._database = path
        self._noun = noun
        self._path = path.with_name(path.name + "-tail")
        self._descriptor: int | None = None

    def open(self, number: int) -> None:
        """Compares the number of the last commit in the database with the note.

        Raises:
            StorageError: the database is older than what was answered, or the note cannot be read.
        """
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.compare(os.pread(self._descriptor, _NOTE.size, 0), number)
        self.write(number)

    def read(self) -> bytes:
        """Returns what is noted, which the program that has the database open may be writing; see `compare`."""
        for _ in range(READS):
            note = self._path.read_bytes() if self._path.exists() else b""
            if not note or _read(note) is not None:
                break
        return note

    def compare(self, note: bytes, number: int) -> None:
        """Compares the number of the last commit in the database, or in a copy of it, with what was noted before.

        Raises:
            StorageError: the copy is older than what was answered, or the note cannot be read.
        """
        if not note:
            return
        noted = _read(note)
        if noted is None:
            raise StorageError(
                f"{self._path.name}, which says how far {self._database} must go, is damaged; remove it to start with "
                f"what the {self._noun} has",
                details={"path": str(self._path)},
            )
        if noted > number:
            raise StorageError(
                f"{self._database} has lost its end: commit {noted} was answered, and it ends at {number}; restore the "
                f"file, or remove {self._path.name} to start without what is lost",
                details={"path": str(self._database), "answered": noted, "found": number},
            )

    def write(self, number: int) -> None:
        """Notes the number of a durable commit. If the note cannot be written (a full disk), the older one stays, and
        proves less."""
        if self._descriptor is not None:
            body = _NUMBER.pack(number)
            with suppress(OSError):
                os.pwrite(self._descriptor, _NOTE.pack(number, crc32(body)), 0)

    def close(self) -> None:
        """Closes the note; idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _read(note: bytes) -> int | None:
    if len(note) < _NOTE.size:
        return None
    number, checksum = _NOTE.unpack(note)
    return int(number) if crc32(_NUMBER.pack(number)) == checksum else None
