"""What makes a copy one that can be trusted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from trunkline.errors import StorageError
from trunklined.backup.manifest import NAME, Contents, Copied, read
from trunklined.backup.stores import FORMATS
from trunklined.sqlite.file import connect_to_copy, translate
from trunklined.sqlite.format import Format, check_whole

_CHUNK: Final = 1024 * 1024


def verify(backup: Path) -> Contents:
    """Checks a backup: its manifest, and of each copy size, SHA-256 and what is in it. Returns the manifest's contents.

    Raises:
        StorageError: it is none, is not whole, or is of a newer program.
    """
    contents = read(backup)
    for copied in contents.stores:
        known = FORMATS[copied.program].version
        if copied.schema_version > known:
            raise StorageError(
                f"{backup / NAME}: schema_version of {copied.file} is {copied.schema_version}, this program knows "
                f"{known}: use a newer program",
                details={"path": str(backup / NAME), "found": copied.schema_version, "supported": known},
            )
    for copied in contents.stores:
        _verify(backup / copied.file, copied)
    return contents


def _verify(path: Path, copied: Copied) -> None:
    try:
        size = path.stat().st_size
        if size != copied.bytes:
            raise _differs(path, "bytes", size, copied.bytes)
        if (digest := digest_of(path)) != copied.sha256:
            raise _differs(path, "sha256", digest, copied.sha256)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", details={"path": str(path)}) from error
    version, commit = contents_of(path, FORMATS[copied.program])
    if version != copied.schema_version:
        raise _differs(path, "schema_version", version, copied.schema_version)
    if commit != copied.last_commit:
        raise _differs(path, "last_commit", commit, copied.last_commit)


def contents_of(path: Path, format: Format) -> tuple[int, int]:
    """Checks what is in a copy, and returns its version and the number of its last commit.

    Raises:
        StorageError: it is damaged.
    """
    try:
        with closing(connect_to_copy(path)) as connection:
            return check_whole(connection, path, format), format.commit_of(connection)
    except sqlite3.Error as error:
        raise translate(error, path, format.noun) from error


def digest_of(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _differs(path: Path, field: str, found: Any, said: Any) -> StorageError:
    return StorageError(
        f"{path} is damaged: {field} is {found}, and {NAME} says {said}", details={"path": str(path), "field": field}
    )
