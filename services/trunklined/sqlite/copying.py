"""Copies of a database file: made while others write it, and on the disk when they are there."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

PAGES: Final = 2_048
"""Of a database, copied in one piece (8 MiB of the usual pages): between two of them a signal is heard."""


def copy_whole(
    source: sqlite3.Connection, target: Path, on_pages: Callable[[int, int], object] = lambda copied, pages: None
) -> None:
    """Copies a database into a new file that its owner alone can read, and syncs it. A source that is in a read
    transaction is copied as it was at its begin, whatever others write meanwhile.

    Args:
        source: a connection to the database.
        target: the file to make.
        on_pages: called with the number of pages that were copied and of all, after each piece.

    Raises:
        FileExistsError: there is one.
        sqlite3.Error, OSError: see `translate`.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        copy.execute("PRAGMA synchronous = OFF")  # once at the end is enough
        source.backup(copy, pages=PAGES, progress=lambda _, left, pages: on_pages(pages - left, pages))
    finally:
        copy.close()
    sync(target)


def sync(path: Path) -> None:
    """Makes durable what is in a file, or which files are in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
