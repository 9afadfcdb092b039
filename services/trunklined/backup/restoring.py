"""A backup into an empty data directory."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from trunkline.errors import StorageError
from trunklined.backup.checks import digest_of, verify
from trunklined.backup.manifest import Contents, Copied
from trunklined.backup.stores import FORMATS
from trunklined.sqlite.copying import sync
from trunklined.sqlite.file import FileLock
from trunklined.sqlite.format import RESTORING

_NOTHING: Final = {"lost+found"}
"""What an empty file system may have."""


def restore(backup: Path, data: Path) -> Contents:
    """Verifies a backup, and copies it into a data directory that is empty or not there.

    Until all of it is on the disk, no file has its name; and where a file is missing then, since this was killed just
    there, its service does not start.

    Raises:
        StorageError: the backup cannot be trusted, the directory is not empty, or a file cannot be written.
    """
    contents = verify(backup)
    is_new = _require_empty(data)
    drafts = {copied: data / f"{copied.file}{RESTORING}" for copied in contents.stores}
    begun: list[Path] = []
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for draft in drafts.values():
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            begun.append(draft)
        sync(data)
        for copied, draft in drafts.items():
            _copy(backup / copied.file, draft, copied)
    except BaseException as error:
        with suppress(OSError):  # the first error is the one to tell
            for draft in begun:
                draft.unlink()
            if is_new:
                data.rmdir()
        if isinstance(error, OSError):
            raise StorageError(f"{data} could not be filled: {error}", details={"path": str(data)}) from error
        raise
    for copied, draft in drafts.items():
        _put(draft, data.resolve() / copied.file, copied)
    sync(data)
    return contents


def _require_empty(data: Path) -> bool:
    """Returns whether there is none."""
    try:
        found = sorted({each.name for each in data.iterdir()} - _NOTHING)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise StorageError(f"{data} cannot be restored into: {error.strerror}", details={"path": str(data)}) from error
    if found:
        shown = ", ".join(found[:3]) + (" ..." if len(found) > 3 else "")
        raise StorageError(
            f"{data} is not empty, it has {shown}: restore into an empty directory, or one that is not there",
            details={"path": str(data), "found": found},
        )
    return False


def _copy(path: Path, draft: Path, copied: Copied) -> None:
    shutil.copyfile(path, draft)
    if (digest := digest_of(draft)) != copied.sha256:
        raise StorageError(
            f"{path} changed while it was restored: sha256 is {digest}, and was {copied.sha256}",
            details={"path": str(path), "field": "sha256"},
        )
    sync(draft)


def _put(draft: Path, path: Path, copied: Copied) -> None:
    """Gives a file its name, under the lock of the service that would else make a new one."""
    lock = FileLock(path, FORMATS[copied.program].service)
    lock.acquire()
    try:
        if path.exists():
            raise StorageError(
                f"{path} was made while it was restored: empty the directory, and restore again",
                details={"path": str(path)},
            )
        os.rename(draft, path)
    finally:
        lock.release()
