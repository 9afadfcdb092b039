"""The file's side: the source under its lock, and the target, which is no store until it is whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from trunklined.migration.rows import RefusedError
from trunklined.sqlite.file import FileLock, connect, translate
from trunklined.sqlite.format import UNFINISHED, Format, prepare
from trunklined.sqlite.synced_file import SyncedFile

_MARK = "\nCREATE TABLE unfinished (source TEXT NOT NULL);\nINSERT INTO unfinished VALUES ({});\n"


@contextmanager
def source_file(path: Path, format: Format) -> Iterator[sqlite3.Connection]:
    """Holds a file, which no service may have open, and yields a connection to it.

    Args:
        path: the file.
        format: what it is.

    Raises:
        RefusedError: there is none.
        StorageError: it is held by a service, or cannot be trusted.
    """
    if not path.is_file():
        raise RefusedError(f"there is no {format.noun} at {path}")
    file = SyncedFile(path, format)
    try:
        with file.opening() as connection:
            file.check(format.commit_of(connection))
        try:
            yield connection
        except sqlite3.Error as error:
            raise file.translate(error) from error
    finally:
        file.close()


@contextmanager
def target_file(path: Path, format: Format, source: str) -> Iterator[tuple[sqlite3.Connection, Callable[[], None]]]:
    """Makes a file that says of itself that it is unfinished, instead of one that was left so by a copy of the same
    source; yields a connection to it, and what makes it a store.

    Raises:
        RefusedError: there is something else.
        StorageError: it is held by a service, or cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.resolve()
    lock = FileLock(path, format.service)
    lock.acquire()
    connection: sqlite3.Connection | None = None
    try:
        _clear(path, format, source)
        quoted = "'" + source.replace("'", "''") + "'"
        prepare(path, replace(format, application_id=UNFINISHED, schema=format.schema + _MARK.format(quoted)))
        connection = writer = connect(path)
        writer.execute("PRAGMA synchronous = FULL")

        def finish() -> None:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("DROP TABLE unfinished")
            writer.execute(f"PRAGMA application_id = {format.application_id}")
            writer.execute("COMMIT")

        yield writer, finish
    except (sqlite3.Error, OSError) as error:
        raise translate(error, path, format.noun) from error
    finally:
        if connection is not None:
            with suppress(sqlite3.Error):  # what was committed is there
                connection.close()
        lock.release()


def _clear(path: Path, format: Format, source: str) -> None:
    """Removes what is left of an unfinished copy of this source."""
    if not path.exists():
        for name in (f"{path.name}-tail", f"{path.name}-wal"):
            if path.with_name(name).exists():
                raise RefusedError(f"{path} is missing, but {name} is beside it: remove that, or name another file")
        return
    found = _source_of(path)
    if found is None:
        raise RefusedError(f"{path} is there already: name a file that is not, or move it away")
    if found != source:
        raise RefusedError(f"{path} holds an unfinished copy of {found}, not of {source}: remove it, or name another")
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def _source_of(path: Path) -> str | None:
    """Returns of what a file is an unfinished copy; None: it is none."""
    connection = connect(path)
    try:
        if connection.execute("PRAGMA application_id").fetchone()[0] != UNFINISHED:
            return None
        return str(connection.execute("SELECT source FROM unfinished").fetchone()[0])
    except sqlite3.Error:
        return None
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Writes a page in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
