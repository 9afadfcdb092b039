"""Format: a kind of database file, and what makes a file one of it: created whole, checked, migrated.

Nothing here repairs, replaces or empties a file that is there. A file of an older version is migrated step by step,
each step in one transaction; a copy of the older file stays beside it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from trunkline.errors import StorageError
from trunklined.sqlite.copying import copy_whole, sync
from trunklined.sqlite.file import connect, roll_back

log = logging.getLogger(__name__)

CHECKED_BYTES: Final = 64 * 1024 * 1024
"""A file up to this size is checked whole when it is opened (about a tenth of a second); in a larger file, damage is
noticed when the damaged part is read."""

UNFINISHED: Final = 0x54524E55  # `TRNU`
"""The application id of a file that is being filled with a copy: of no format, until it is whole."""

RESTORING: Final = ".restoring"
"""What the name of a file ends in while it is restored: meanwhile no new one is made in its place."""

Migration = str | Callable[[sqlite3.Connection], None]
"""SQL, or a function, that migrates a file from one version to the next; it runs in a transaction."""


def _nothing_wrong(_: sqlite3.Connection) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of database file.

    Args:
        noun: its name for people, such as "state store".
        service: the name of its holder, such as "state service".
        application_id: in the file's header (https://www.sqlite.org/pragma.html#pragma_application_id).
        schema: SQL that makes an empty file of the newest version.
        version: the newest, from 1.
        migrations: the migration from version n to n + 1, by n.
        auto_vacuum: free pages can be returned to the disk, some at a time.
        verify: returns what is wrong with the contents, beyond SQLite's own checks, or None.
        last_commit: SQL that returns the number of the last commit, of a file of any version; see `Tail`.
    """

    noun: str
    service: str
    application_id: int
    schema: str
    version: int
    migrations: Mapping[int, Migration] = field(default_factory=dict)
    auto_vacuum: bool = False
    verify: Callable[[sqlite3.Connection], str | None] = _nothing_wrong
    last_commit: str = "SELECT 0"

    def commit_of(self, connection: sqlite3.Connection) -> int:
        """Returns the number of the last commit of a file."""
        return int(connection.execute(self.last_commit).fetchone()[0])


def prepare(path: Path, format: Format) -> None:
    """Creates the file if there is none; else checks and migrates it. Call it under the `FileLock`, with an absolute
    path.

    Raises:
        StorageError: the file is not of this format, is of a newer version, is damaged, or could not be migrated; it is
            unchanged.
        sqlite3.Error, OSError: see `translate`.
    """
    _create_if_absent(path, format)
    connection = connect(path)
    try:
        _check(connection, path, format)
        _migrate(connection, path, format)
        _verify(connection, path, format)
    finally:
        connection.close()


def _create_if_absent(path: Path, format: Format) -> None:
    """Creates an empty file if there is none, whole or not at all."""
    if path.exists():
        return
    journal = path.with_name(path.name + "-wal")
    if journal.exists():
        raise StorageError(
            f"{path} is missing, but its journal {journal.name} is there: restore the file, or remove the journal",
            details={"path": str(path)},
        )
    if path.with_name(path.name + RESTORING).exists():
        raise StorageError(
            f"{path} is being restored, or that was cut off: wait for its end, or empty {path.parent} and run "
            "`trunkline backup restore` again",
            details={"path": str(path)},
        )
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(draft, isolation_level=None)
    try:
        connection.executescript(
            f"PRAGMA auto_vacuum = {'INCREMENTAL' if format.auto_vacuum else 'NONE'};"
            f" PRAGMA application_id = {format.application_id}; PRAGMA user_version = {format.version};"
            f" BEGIN; {format.schema} COMMIT; PRAGMA journal_mode = WAL;"
        )
    finally:
        connection.close()
    os.rename(draft, path)
    sync(path.parent)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_whole(connection: sqlite3.Connection, path: Path, format: Format) -> int:
    """Checks all of a file, however large it is, and returns its version.

    Raises:
        StorageError: the file is not of this format, is of a newer version, or is damaged.
        sqlite3.Error, OSError: see `translate`.
    """
    _check(connection, path, format, up_to=None)
    version = _version(connection)
    if version == format.version:  # of an older one it is not known how to
        _verify(connection, path, format)
    return version


def _verify(connection: sqlite3.Connection, path: Path, format: Format) -> None:
    if (wrong := format.verify(connection)) is not None:
        raise StorageError(f"{path} is damaged: {wrong}", details={"path": str(path)})


def _check(connection: sqlite3.Connection, path: Path, format: Format, *, up_to: int | None = CHECKED_BYTES) -> None:
    """Raises `StorageError` if the file is not of this format, is of a newer version, or is damaged; damage is looked
    for in a file of `up_to` bytes at the most, None: in any."""
    if path.stat().st_size == 0:
        raise StorageError(
            f"{path} is empty and so no {format.noun}; remove it if a new one shall be made",
            details={"path": str(path)},
        )
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    if application_id == UNFINISHED != format.application_id:
        raise StorageError(
            f"{path} holds a copy that is not finished: run `trunkline migrate` again, to its end, or remove it",
            details={"path": str(path)},
        )
    if application_id != format.application_id:
        raise StorageError(f"{path} is a database of another program", details={"path": str(path)})
    version = _version(connection)
    if not 1 <= version <= format.version:
        raise StorageError(
            f"{path} has version {version} of the format, this program knows {format.version}: use a newer program",
            details={"path": str(path), "found": version, "supported": format.version},
        )
    if up_to is None or path.stat().st_size <= up_to:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise StorageError(f"{path} is damaged: {verdict}", details={"path": str(path)})


def _migrate(connection: sqlite3.Connection, path: Path, format: Format) -> None:
    """Migrates the file to the newest version. If the process is killed, the file is whole, of the version reached."""
    version = _version(connection)
    if version == format.version:
        return
    _copy(connection, path, version, format)
    connection.execute("PRAGMA synchronous = FULL")
    while (version := _version(connection)) < format.version:
        log.info("%s: from version %d of the format to %d", path, version, version + 1)
        step = format.migrations[version]
        connection.execute("BEGIN IMMEDIATE")
        try:
            if isinstance(step, str):
                for statement in statements(step):
                    connection.execute(statement)
            else:
                step(connection)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except Exception as error:  # whatever a step raises, the file stays as it was
            roll_back(connection)
            raise StorageError(
                f"{path} could not be brought from version {version} of the format to {version + 1}: {error}; it "
                "is as it was",
                details={"path": str(path), "found": version, "supported": format.version},
            ) from error


def _copy(connection: sqlite3.Connection, path: Path, version: int, format: Format) -> None:
    """Copies the file to `<name>.v<version>` beside it, whole or not at all."""
    kept = path.with_name(f"{path.name}.v{version}")
    if kept.exists():
        return  # of a migration that was cut off: that copy is the older one
    draft = kept.with_name(kept.name + ".new")
    draft.unlink(missing_ok=True)
    try:
        copy_whole(connection, draft)
        os.rename(draft, kept)
        sync(kept.parent)
    except (sqlite3.Error, OSError) as error:
        draft.unlink(missing_ok=True)
        raise StorageError(
            f"{path} has version {version} of the format; before it is brought to {format.version}, a copy is kept as "
            f"{kept.name}, and that failed: {error}",
            details={"path": str(path), "found": version, "supported": format.version},
        ) from error
    log.info("%s: kept as %s before it is brought to version %d", path, kept.name, format.version)


def statements(script: str) -> list[str]:
    """Splits a script into statements; `executescript` would commit the transaction."""
    found, statement = [], ""
    for part in script.split(";")[:-1]:
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            found.append(statement)
            statement = ""
    statement += script.rpartition(";")[2]
    if statement.strip():
        found.append(statement)
    return found
