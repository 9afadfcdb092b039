"""The stores of a data directory, and their state at one moment."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from trunkline.errors import StorageError
from trunklined.backup.manifest import Program
from trunklined.bus.engines.sqlite_schema import FORMAT as JOURNAL
from trunklined.sidecar.offline.backlog_file import FORMAT as BACKLOG
from trunklined.sqlite.file import connect, translate
from trunklined.sqlite.format import Format
from trunklined.state.engines.sqlite_schema import FORMAT as STORE

FORMATS: Final[dict[Program, Format]] = {"bus": JOURNAL, "state": STORE, "sidecar": BACKLOG}
"""What a store is, by the program that keeps it."""
_PROGRAMS: Final = {format.application_id: program for program, format in FORMATS.items()}

PATIENCE: Final = 30.0
"""Seconds to wait for a moment in which no store is written."""

_OF_NO_STORE: Final = re.compile(r"\.v\d+$|\.new$|\.restoring$")
"""How files are called that are copies: of an older version, or not finished."""
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
_APPLICATION_ID: Final = slice(68, 72)
"""Where a database's header has it (https://www.sqlite.org/fileformat.html#the_database_header)."""


class Store(NamedTuple):
    """A store's file."""

    path: Path
    program: Program

    @property
    def format(self) -> Format:
        """What the file is."""
        return FORMATS[self.program]


def stores_in(directory: Path) -> list[Store]:
    """Returns the stores of a data directory, by what the files say of themselves, not by how they are called."""
    found = []
    for path in sorted(directory.iterdir()):
        if path.is_file() and not _OF_NO_STORE.search(path.name):
            program = _program_of(path)
            if program is not None:
                found.append(Store(path, program))
    return found


def _program_of(path: Path) -> Program | None:
    """Call it before the file is connected to: to close another descriptor of it takes SQLite's locks away."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    return _PROGRAMS.get(int.from_bytes(header[_APPLICATION_ID])) if header.startswith(_MAGIC) else None


class _Held:
    """A store's file, with the transaction that holds it as it was at one moment, and a look at how it goes on."""

    def __init__(self, store: Store, opened: ExitStack) -> None:
        self._path = store.path.resolve()
        self.reader = opened.enter_context(closing(connect(self._path)))
        self._look = opened.enter_context(closing(connect(self._path)))
        for each in (self.reader, self._look):
            each.execute("PRAGMA query_only = 1")

    def version(self) -> int:
        """Returns a number that is another one after each commit of others."""
        return int(self._look.execute("PRAGMA data_version").fetchone()[0])

    def hold(self) -> None:
        self.reader.execute("BEGIN")
        self.reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the transaction begins here

    def release(self) -> None:
        self.reader.execute("ROLLBACK")


@contextmanager
def held(stores: Sequence[Store]) -> Iterator[list[sqlite3.Connection]]:
    """Yields a connection to each store, in a read transaction: all of them as they were at one moment, in which none
    was written. Their services go on meanwhile, and what they write is not seen. Roll a transaction back when its
    store is done with: until then its service's log grows.

    Raises:
        StorageError: a file cannot be opened, or there was no such moment.
    """
    with ExitStack() as opened:
        files = []
        for store in stores:
            try:
                files.append(_Held(store, opened))
            except sqlite3.Error as error:
                raise translate(error, store.path, store.format.noun) from error
        deadline = time.monotonic() + PATIENCE
        while True:
            before = [file.version() for file in files]
            for file in files:
                file.hold()
            if before == [file.version() for file in files]:
                break
            for file in files:
                file.release()
            if time.monotonic() > deadline:
                raise StorageError(
                    f"for {PATIENCE:.0f} s there was no moment in which none of {len(stores)} stores was written: try "
                    "again when there is less to do, or each in a data directory of its own"
                )
        yield [file.reader for file in files]
